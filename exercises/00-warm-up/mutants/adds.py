# /// mutant
# wrong = "adds the sides instead of multiplying them"
# points = [0, 0]
# ///

# %% pixels
def pixels(width, height):
    return width + height
