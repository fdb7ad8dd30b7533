# /// mutant
# wrong = "forgets the channel"
# points = [9, 9]
# ///

# %% normalise
def normalise(images):
    return images.float() / 255
