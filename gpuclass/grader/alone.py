"""One grading worker a class: two would grade the same submission in the same folders.

The lock is held by the process and ends with it, however that ends: nobody has to remove anything after a crash.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from gpuclass.errors import PlainError

LOCK_FILE = "grading.lock"


class AnotherWorker(PlainError):  # noqa: N818  # what there is
    """A worker of this class is at work already."""


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Hold the class's lock.

    Args:
        data: the class's data folder.

    Raises:
        AnotherWorker: somebody else holds it; the text says who, since when, and what to do.
    """
    handle = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 1000, 0).decode(errors="replace").strip() or "another process"
            raise AnotherWorker(
                f"A grading worker of this class is at work already: {holder}. Nothing was started. `gpuclass grading "
                "status` shows how far it is; stop it first to start another one. An open class (`gpuclass up`) starts "
                "its worker again by itself."
            ) from None
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}, since {now}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
