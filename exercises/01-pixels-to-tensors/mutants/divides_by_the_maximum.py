# /// mutant
# wrong = "divides by the batch's own maximum: right only where a white pixel is in it"
# points = [7, 7]
# ///

# %% normalise
def normalise(images):
    return images[:, None].float() / images.max()
