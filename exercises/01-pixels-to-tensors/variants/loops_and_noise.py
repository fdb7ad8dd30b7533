# /// variant
# right = "fills tensors in loops, prints, warns on stderr, uses names of its own"
# ///

# %% normalise
import sys
import warnings


def normalise(images):
    print("normalise", images.shape)
    warnings.warn("느린 방법이에요")
    number, height, width = images.shape
    answer = torch.zeros(number, 1, height, width)
    for i, picture in enumerate(images):
        print(i, file=sys.stderr)
        answer[i, 0] = picture
    answer /= 255.0
    return answer

# %% one-hot
def one_hot(labels, classes):
    table = torch.zeros(len(labels), classes)
    for row, label in enumerate(labels.tolist()):
        table[row, label] = 1
    return table
