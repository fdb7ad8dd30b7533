"""Files by content: each is kept once, under its SHA-256, and never changes.

A file is written beside, synced, renamed, and its folder synced; only then is it kept. A process killed at any point
leaves at most files in a folder of its own, which the next start removes. Several processes may share it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gpuclass.exchange.records import DiskFull

READ_ONLY = 0o440


@dataclass(frozen=True)
class Blob:
    """What one file holds: its SHA-256 and, because ngshare's clients compare it, MD5; its size in bytes."""

    sha256: str
    md5: str
    size: int


class Blobs:
    """The files below one folder: ``objects/`` and, while they are written, ``incoming/``.

    Args:
        folder: made when it is not there.
        reserve: bytes of the disk that drafts leave free for what else is on it.
    """

    def __init__(self, folder: Path, reserve: int = 0) -> None:
        self._objects = folder / "objects"
        self._reserve = reserve
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

    def check_room(self, size: int) -> None:
        """Refuse what would go below the reserve.

        Raises:
            DiskFull: ``size`` more bytes would leave less free than the reserve.
        """
        disk = os.statvfs(self._incoming)
        free = disk.f_bavail * disk.f_frsize
        if free - size < self._reserve:
            raise DiskFull(free, self._reserve)

    def draft(self) -> Draft:
        """A file to be written piece by piece."""
        return Draft(self)

    def keep(self, drafts: Iterable[Draft]) -> None:
        """Put finished drafts in their places; when this returns they survive a kill and a power cut.

        Raises:
            OSError: the disk is full or broken.
        """
        folders = set()
        for draft in drafts:
            path = self.path(draft.finish().sha256)
            draft.place(path)
            folders.add(path.parent)
        for folder in folders:  # also of a file that was there: who renamed it may not have come this far yet
            sync_folder(folder)

    def has(self, blob: Blob) -> bool:
        """Whether this content is here, as long as it should be."""
        try:
            return self.path(blob.sha256).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def intact(self, blob: Blob) -> bool:
        """Whether this content is here, read and found to be it: a disk may have changed a bit since."""
        try:
            with self.path(blob.sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == blob.sha256
        except OSError:
            return False

    def path(self, sha256: str) -> Path:
        """Where the file with this hash lies."""
        return self._objects / sha256[:2] / sha256

    def read(self, sha256: str) -> bytes:
        """The content with this hash."""
        return self.path(sha256).read_bytes()

    def __iter__(self) -> Iterator[str]:
        """The hashes of all files that are kept."""
        for folder in sorted(self._objects.iterdir()):
            yield from sorted(path.name for path in folder.iterdir())


class Draft:
    """A file in the making, hashed while it is written. Used as a context, nothing of it is left unless it was kept.

    Not for several threads at once.
    """

    def __init__(self, blobs: Blobs) -> None:
        blobs.check_room(0)
        self.size = 0
        self._blobs = blobs
        self._blob: Blob | None = None
        self._synced = False
        self._hashes = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        handle, name = tempfile.mkstemp(dir=blobs.incoming)
        self._file = os.fdopen(handle, "wb")
        self._path = Path(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    def write(self, chunk: bytes) -> None:
        """Add a piece at the end.

        Raises:
            DiskFull: it would go below the reserve.
            OSError: the disk is full or broken.
        """
        self._blobs.check_room(len(chunk))
        for each in self._hashes:
            each.update(chunk)
        self._file.write(chunk)
        self.size += len(chunk)

    def finish(self) -> Blob:
        """End the file; when this first returns its content is on disk. It has no name yet: see ``Blobs.keep``.

        Raises:
            OSError: the disk is full or broken.
        """
        if self._blob is None:
            sha256, md5 = (each.hexdigest() for each in self._hashes)
            blob = Blob(sha256, md5, self.size)
            self._file.flush()
            os.fchmod(self._file.fileno(), READ_ONLY)
            if not self._blobs.intact(blob):
                os.fsync(self._file.fileno())
                self._synced = True
            self._file.close()
            self._blob = blob
        return self._blob

    def place(self, path: Path) -> None:
        """Give the finished file its name; the name is on disk once its folder was synced."""
        blob = self.finish()
        if self._synced:
            self._path.replace(path)  # of two who bring the same at once the second replaces like by like
        elif not self._blobs.has(blob):
            raise OSError(errno.EIO, f"{path} was there a moment ago")

    def drop(self) -> None:
        """Remove what is left of it; nothing if it was kept, or dropped before."""
        self._path.unlink(missing_ok=True)
        with suppress(OSError):  # what did not fit on the disk is not missed
            self._file.close()


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
        with suppress(FileNotFoundError):  # a start beside this one took it for a leftover before it was locked
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
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
