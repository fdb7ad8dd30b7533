# /// mutant
# wrong = "leaves the integers of F.one_hot"
# points = [9, 9]
# ///

# %% one-hot
def one_hot(labels, classes):
    return torch.nn.functional.one_hot(labels, classes)
