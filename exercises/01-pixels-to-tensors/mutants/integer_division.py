# /// mutant
# wrong = "divides before it converts, so that all but 255 becomes 0"
# points = [7, 7]
# ///

# %% normalise
def normalise(images):
    return (images[:, None] // 255).float()
