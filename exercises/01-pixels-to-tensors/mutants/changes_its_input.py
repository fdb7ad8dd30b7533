# /// mutant
# wrong = "works in place on what it was given"
# points = [9, 9]
# ///

# %% normalise
def normalise(images):
    images[images < 8] = 0
    return images[:, None].float() / 255
