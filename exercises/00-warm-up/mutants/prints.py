# /// mutant
# wrong = "prints the answer instead of returning it"
# points = [0, 0]
# ///

# %% pixels
def pixels(width, height):
    print(width * height)
