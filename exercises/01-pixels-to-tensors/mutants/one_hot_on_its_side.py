# /// mutant
# wrong = "has classes in rows and samples in columns"
# points = [6, 6]
# ///

# %% one-hot
def one_hot(labels, classes):
    return torch.eye(classes)[labels].T
