# /// mutant
# wrong = "ignores the argument: wrong where the last class does not occur"
# points = [7, 7]
# ///

# %% one-hot
def one_hot(labels, classes):
    return torch.nn.functional.one_hot(labels).float()
