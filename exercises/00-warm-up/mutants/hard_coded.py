# /// mutant
# wrong = "returns the visible answer"
# points = [0, 0]
# ///

# %% pixels
def pixels(width, height):
    return 12
