# /// mutant
# wrong = "converts to float and adds the channel, but leaves 0-255"
# points = [7, 7]
# ///

# %% normalise
def normalise(images):
    return images[:, None].float()
