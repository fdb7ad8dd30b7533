# /// variant
# right = "goes through NumPy and scatter_"
# ///

# %% normalise
import numpy as np


def normalise(images):
    return torch.from_numpy(np.asarray(images, dtype=np.float32) / np.float32(255)).unsqueeze(1)

# %% one-hot
def one_hot(labels, classes):
    return torch.zeros(labels.shape[0], classes).scatter_(1, labels.unsqueeze(1), 1.0)
