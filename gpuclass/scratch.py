"""Temporary folders of commands that may be killed: the next run of the command removes what a killed one left.

Who works in a folder holds a lock on it, which the kernel takes back however the process ends. Another user's folder, a
link, and one that is not held yet because it was only just made are left alone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

YOUNG_S = 60.0  # from making a folder to holding it is far less


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A folder of this process's own for all its temporary files; gone at the end, or when the next run begins.

    Args:
        prefix: what the names of this command's folders begin with, of no other command's.
    """
    remove_left(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix) as made:
        held = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            with _temporary_files_in(made):
                yield Path(made)
        finally:
            os.close(held)


@contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    """Have this process and those that it starts make their temporary files in this folder, so that they go with it."""
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
        if variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = variable


def remove_left(prefix: str) -> int:
    """Remove what killed processes left; returns how many folders there were."""
    left = [folder for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*") if _is_left(folder)]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return len(left)


def _is_left(folder: Path) -> bool:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        about = os.fstat(handle)
        if about.st_uid != os.geteuid() or time.time() - about.st_mtime < YOUNG_S:
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
