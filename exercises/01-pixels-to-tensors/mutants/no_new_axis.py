# /// mutant
# wrong = "compares without a new axis: an error, or a broadcast along the wrong one"
# points = [5, 5]
# ///

# %% one-hot
def one_hot(labels, classes):
    return (labels == torch.arange(classes)).float()
