# /// variant
# right = "prints, warns on stderr, and counts one by one"
# ///

# %% pixels
import sys
import warnings


def pixels(width, height):
    warnings.warn("세는 중이에요")
    print("세는 중…", file=sys.stderr)
    total = 0
    for _ in range(height):
        total += width
    print(total)
    return total
