# /// mutant
# wrong = "comes out as float64"
# points = [9, 9]
# ///

# %% normalise
def normalise(images):
    return images[:, None].double() / 255
