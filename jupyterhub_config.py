"""JupyterHub reads this file: settings in, configuration out. What is decided, and why, stands in gpuclass/hub.py."""

from gpuclass.hub import begin, configure
from gpuclass.settings import load

settings = load()
configure(c, settings)  # type: ignore[name-defined]  # noqa: F821  # JupyterHub puts c here
begin(settings)
