# /// mutant
# wrong = "returns the visible answers"
# points = [2, 2]
# ///

# %% normalise
def normalise(images):
    return torch.tensor([[[[0.0, 1.0], [0.2, 0.4]]]])

# %% one-hot
def one_hot(labels, classes):
    return torch.eye(4)[[2, 0, 1, 3, 3]]
