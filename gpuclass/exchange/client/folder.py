"""Folders in a container, read and written without ever following a link out of them.

A notebook can put anything where the client reads and writes: links, pipes, devices. What is not a plain file is not
read; where something lies already, nothing is written through it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from gpuclass.exchange.names import Reason, UnsafeName, file_path, file_paths

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a pipe would wait for a writer
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NotAFolder(Exception):  # noqa: N818  # what it is
    """Where a folder was expected is a link, a file or nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


class TooManyFiles(Exception):  # noqa: N818  # what it is
    """A folder holds more files than may be sent."""

    def __init__(self, count: int) -> None:
        super().__init__(str(count))
        self.count = count


T = TypeVar("T")


@dataclass(frozen=True)
class Plain:
    """A plain file: where it lies below its folder, which its safe path may spell otherwise, and its bytes."""

    path: str
    size: int


@dataclass
class Contents(Generic[T]):
    """What a folder holds: files by their safe path, and what was left out with the reason."""

    files: dict[str, T] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    too_large: dict[str, int] = field(default_factory=dict)
    unsafe: dict[str, Reason] = field(default_factory=dict)


def read(folder: Path, *, ignore: list[str], file_limit: int, files_limit: int) -> Contents[bytes]:
    """The files below ``folder``, with what is in them.

    Args:
        folder: where.
        ignore: patterns of file and folder names that are passed over.
        file_limit: bytes; a larger file is left out unread.
        files_limit: number of files.

    Raises:
        NotAFolder: there is no folder, or only a link to one.
        TooManyFiles: there are more than ``files_limit``.
    """

    def content(file: BinaryIO, found: Plain) -> bytes | None:
        read = file.read(found.size + 1)
        return read if len(read) <= file_limit else None

    return _collect(folder, ignore, file_limit, files_limit, content)


def scan(folder: Path, *, ignore: list[str], file_limit: int, files_limit: int) -> Contents[Plain]:
    """The files below ``folder``, unread; as ``read`` otherwise."""
    return _collect(folder, ignore, file_limit, files_limit, lambda _, found: found)


Take = Callable[[BinaryIO, Plain], T | None]
"""Makes of an open file what is kept of it; None if it has grown too large."""


def _collect(folder: Path, ignore: list[str], file_limit: int, files_limit: int, take: Take[T]) -> Contents[T]:
    found: Contents[T] = Contents()
    if folder.is_symlink() or not folder.is_dir():
        raise NotAFolder(folder)
    for root, folders, names, handle in os.fwalk(folder, follow_symlinks=False):
        place = Path(root).relative_to(folder)
        folders[:] = sorted(name for name in folders if not _ignored(name, ignore))
        for name in folders:
            if stat.S_ISLNK(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                found.links.append(str(place / name))
        for name in sorted(names):
            if not _ignored(name, ignore):
                _add(found, str(place / name), name, handle, file_limit, take)
        if len(found.files) > files_limit:
            raise TooManyFiles(len(found.files))
    _leave_out_twins(found)
    return found


def _add(found: Contents[T], path: str, name: str, folder: int, limit: int, take: Take[T]) -> None:
    try:
        file = _plain(name, folder)
    except OSError:
        found.links.append(path)  # a link, a pipe, a socket, a file that may not be read, or gone by now
        return
    with file:
        size = os.fstat(file.fileno()).st_size
        try:
            safe = file_path(path)
        except UnsafeName as error:
            found.unsafe[path] = error.reason
            return
        taken = take(file, Plain(path, size)) if size <= limit else None
        if taken is None:
            found.too_large[path] = size
        else:
            found.files[safe] = taken


def _plain(name: str, folder: int) -> BufferedReader:
    """A plain file, open.

    Raises:
        OSError: there is none, or it may not be read.
    """
    handle = os.open(name, _FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileNotFoundError(name)
    return os.fdopen(handle, "rb")


def open_plain(folder: Path, path: str) -> BufferedReader:
    """The plain file at ``path`` below ``folder``, open; no part of the way below is a link.

    Raises:
        OSError: there is none.
    """
    *folders, name = path.split("/")
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            inner = os.open(part, _FOLDER, dir_fd=handle)
            os.close(handle)
            handle = inner
        return _plain(name, handle)
    finally:
        os.close(handle)


def is_gone(error: OSError) -> bool:
    """Whether there is no such plain file: nothing, a link, a socket; not if the disk or the system failed at it."""
    return isinstance(error, FileNotFoundError) or error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


def _leave_out_twins(found: Contents[T]) -> None:
    """Drop files until no two have names that could be one; a notebook is kept rather than something else."""
    kept: list[str] = []
    for path in sorted(found.files, key=lambda path: (not path.endswith(".ipynb"), path)):
        try:
            file_paths([*kept, path])
        except UnsafeName as error:
            found.unsafe[path] = error.reason
            del found.files[path]
        else:
            kept.append(path)


def _ignored(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def write_new(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make ``folder`` with these files: all of them, or nothing.

    Raises:
        NotAFolder: something lies there already.
        UnsafeName: a path.
    """
    paths = file_paths(files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".fetching-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        for path, content in zip(paths, files.values(), strict=True):
            target = draft / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        _put_in_place(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _put_in_place(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)  # fails onto anything but an empty folder
    except OSError as error:
        raise NotAFolder(folder) from error


def write_missing(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Put those of the files into ``folder`` that are not there; returns which."""
    return _write(folder, files, _create)


def write_over(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Put the files into ``folder``, made if need be, in place of files of the same names; returns which."""
    return _write(folder, files, _replace)


def _write(folder: Path, files: Mapping[str, bytes], put: Callable[[int, str, bytes], bool]) -> list[str]:
    done = []
    paths = file_paths(files)
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in zip(paths, files.values(), strict=True):
        *folders, name = path.split("/")
        with opened(folder, folders) as handle:
            if put(handle, name, content):
                done.append(path)
    return done


def _create(folder: int, name: str, content: bytes) -> bool:
    try:
        handle = os.open(name, _NEW, 0o644, dir_fd=folder)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
    except BaseException:
        os.unlink(name, dir_fd=folder)  # half a file is worse than none, and a full disk leaves one
        raise
    return True


def _replace(folder: int, name: str, content: bytes) -> bool:
    draft = f".{name[:50]}.{secrets.token_hex(4)}"
    _create(folder, draft, content)
    try:
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)  # Path knows no folder handles
    except BaseException:
        os.unlink(draft, dir_fd=folder)
        raise
    return True


@contextmanager
def opened(folder: Path, parts: list[str]) -> Iterator[int]:
    """A handle on a folder below ``folder``, made if need be; no part of the way below may be a link."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=handle)  # Path knows no folder handles
            try:
                inner = os.open(part, _FOLDER, dir_fd=handle)
            except OSError:
                raise NotAFolder(folder.joinpath(*parts)) from None
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)
