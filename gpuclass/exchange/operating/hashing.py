"""Files of any size read in pieces: hashed and copied with bounded memory, beside a class that runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress

from gpuclass.exchange.store.blobs import Blob

PIECE = 2**20  # bytes in memory at a time

Count = Callable[[int], None]
"""Is told how many bytes more are done."""


def nothing(count: int) -> None:
    """Who is told nothing wants to know nothing."""


class Unreadable(OSError):  # noqa: N818  # what it is
    """The disk does not give a file back."""


def read_through(handle: int, write: Callable[[bytes], object], tell: Count = nothing) -> Blob:
    """Read an open file to its end, hand each piece to ``write``; returns what it held.

    The pages it took of the system's cache are given back: what the class reads now should stay there.

    Raises:
        Unreadable: reading failed; what ``write`` raises is its own.
    """
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    while piece := _read(handle):
        sha256.update(piece)
        md5.update(piece)
        write(piece)
        size += len(piece)
        tell(len(piece))
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    return Blob(sha256.hexdigest(), md5.hexdigest(), size)


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, PIECE)
    except OSError as error:
        raise Unreadable(error.errno, error.strerror) from error


def go_gently() -> None:
    """Let everybody else go first from now on, at the processor and at the disk: a class may be running."""
    os.nice(19)
    with suppress(OSError):  # without util-linux at least the processor is left alone
        subprocess.run(["ionice", "-c", "3", "-p", str(os.getpid())], check=False, capture_output=True)  # noqa: S603, S607  # no input of anybody's
