"""JupyterHub reads this file: settings in, configuration out. What is decided, and why, stands in gpuclass/hub.py."""

from gpuclass.hub import configure
from gpuclass.settings import load

configure(c, load())  # type: ignore[name-defined]  # noqa: F821  # JupyterHub puts c here
