"""gpuclass: the GPU classroom a university lends to schools.

The way data flows is the way to read: settings → hub → spawner → mounts, exchange → grader. Nothing imports ``hub``
or ``cli``.
"""

from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where images/, notebooks/, exercises/ and grading/ are found."""
