"""``python -m gpuclass`` is the command ``gpuclass``."""

from gpuclass.cli import main

main()
