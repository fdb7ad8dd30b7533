"""Files by content: each is kept once, under its SHA-256, and never changes.

A file that ``keep`` returned is on disk: written beside, synced, renamed, and the folder synced. A process killed at
any point leaves at most files in a folder of its own, which the next start removes. Several processes may share it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

READ_ONLY = 0o440


@dataclass(frozen=True)
class Blob:
    """What one file holds: its SHA-256 and, because ngshare's clients compare it, MD5; its size in bytes."""

    sha256: str
    md5: str
    size: int


class Blobs:
    """The files below one folder: ``objects/`` and, while they are written, ``incoming/``."""

    def __init__(self, folder: Path) -> None:
        self._objects = folder / "objects"
        incoming = folder / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        self._objects.mkdir(exist_ok=True)
        for first_byte in range(256):
            (self._objects / f"{first_byte:02x}").mkdir(exist_ok=True)
        for path in (self._objects, folder, folder.parent):
            sync_folder(path)
        _remove_leftovers(incoming)
        self._incoming, self._lock = _own_folder(incoming)

    def close(self) -> None:
        """Give the folder for files in the making back."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        os.close(self._lock)

    @property
    def incoming(self) -> Path:
        """A folder on the same disk for this process's files in the making; gone after it."""
        return self._incoming

    def keep(self, content: bytes) -> Blob:
        """Put ``content`` on disk; when this returns it survives a kill and a power cut.

        Raises:
            OSError: the disk is full or broken; nothing was kept.
        """
        sha256, md5 = hashlib.sha256(content), hashlib.md5(content, usedforsecurity=False)
        blob = Blob(sha256.hexdigest(), md5.hexdigest(), len(content))
        path = self.path(blob.sha256)
        if not (path.is_file() and path.stat().st_size == blob.size):
            self._write(path, content)
        sync_folder(path.parent)  # also when it was there: the process that renamed it may not have come this far
        return blob

    def path(self, sha256: str) -> Path:
        """Where the file with this hash lies."""
        return self._objects / sha256[:2] / sha256

    def read(self, sha256: str) -> bytes:
        """The content with this hash."""
        return self.path(sha256).read_bytes()

    def _write(self, path: Path, content: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=self._incoming)
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(handle, READ_ONLY)
                os.fsync(handle)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def sync_folder(folder: Path) -> None:
    """Put the names in ``folder`` on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _own_folder(incoming: Path) -> tuple[Path, int]:
    """A new folder and the lock that says its owner lives; the kernel drops the lock when the process dies."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=incoming))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():  # else a start beside this one took it for a leftover before it was locked
            return folder, lock
        os.close(lock)


def _remove_leftovers(incoming: Path) -> None:
    """Remove the folders of processes that are gone."""
    for folder in incoming.iterdir():
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its owner lives
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
