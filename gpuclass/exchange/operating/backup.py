"""A copy of the exchange's folder while the class runs, into a folder that may have an earlier copy.

The database is copied first, then the files it names: they never change and are never removed, so all of them are
there. The new database takes the place of the earlier one when its last file is on disk. Whenever this is cut short,
the folder holds a whole backup, this one or the one before. Submissions are never changed or removed, so a database
that lacks one that the backup has is not its later state: it never takes the backup's place.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Row, func, select

from gpuclass.errors import PlainError, UsageError
from gpuclass.exchange.operating.hashing import Count, Unreadable, nothing, read_through
from gpuclass.exchange.operating.looking import DATABASE, OBJECTS, CannotLook, Look, copy_database
from gpuclass.exchange.store.blobs import READ_ONLY, Blob, sync_folder
from gpuclass.exchange.store.schema import SubmissionRow, TreeRow

DRAFT = ".new"


@dataclass
class BackedUp:
    """What was copied, and what was there from an earlier backup; ``damaged`` is what could not be copied as it was."""

    files: int = 0
    bytes: int = 0
    there: int = 0
    damaged: list[str] = field(default_factory=list)


def back_up(folder: Path, target: Path, tell: Count = nothing) -> BackedUp:
    """Copy the exchange's ``folder`` to ``target``: new, empty, or with an earlier backup in it.

    Raises:
        UsageError: ``target`` is something else, or another backup is being made there.
        CannotLook: there is nothing to copy, or it cannot be read.
        PlainError: ``target`` is full, or holds what ``folder`` lacks; the earlier backup in it is whole.
    """
    if target.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{target} lies in the exchange's own folder. Choose another place, best another disk.")
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from error
    strange = sorted(path.name for path in target.iterdir() if path.name not in (DATABASE, OBJECTS, DATABASE + DRAFT))
    if strange:
        raise UsageError(
            f"{target} holds something else than a backup: {', '.join(strange[:5])}. Choose a folder for it."
        )
    with _alone(target):
        try:
            return _copy(folder, target, tell)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise PlainError(
                f"{target} is full. An earlier backup in it is whole; make room and call this again."
            ) from error


def _copy(folder: Path, target: Path, tell: Count) -> BackedUp:
    done = BackedUp()
    draft = target / (DATABASE + DRAFT)
    for left in (draft, *target.glob(f"{OBJECTS}/*/*{DRAFT}")):  # by a backup that was killed
        left.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    copy_database(folder, draft)
    try:
        _check_goes_on(folder, target, draft.name)
    except PlainError:
        draft.unlink()
        raise
    with Look(target, draft.name) as look, look.reading() as session:
        wanted = {
            sha256: Blob(sha256, md5, size)
            for files in session.scalars(select(TreeRow.files))
            for _, sha256, md5, size in files
        }
    changed = set()
    for sha256, blob in sorted(wanted.items()):
        path = target / OBJECTS / sha256[:2] / sha256
        if path.is_file() and path.stat().st_size == blob.size:
            done.there += 1
        elif _copy_file(folder / OBJECTS / sha256[:2] / sha256, path, blob, tell):
            done.files += 1
            done.bytes += blob.size
            changed.add(path.parent)
        else:
            done.damaged.append(sha256)
    for place in (*changed, target / OBJECTS):
        if place.exists():
            sync_folder(place)
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    draft.replace(target / DATABASE)
    sync_folder(target)
    return done


def _check_goes_on(folder: Path, target: Path, draft: str) -> None:
    """That the copied database is a later state of the one in the backup, and not an empty or an older one.

    Raises:
        PlainError: it is not.
    """
    if not (target / DATABASE).exists():
        return
    try:
        with Look(target) as look:
            last = _submission(look)
    except CannotLook as error:
        raise PlainError(
            f"The earlier backup cannot be read, and nothing was copied: {error} Back up into a new folder."
        ) from error
    if last is None:
        return
    with Look(target, draft) as look:
        same = _submission(look, last.id)
    if same != last:
        raise PlainError(
            f"{folder} lacks submission {last.id}, which the backup in {target} has: it is empty, an older state, or "
            "another class's. Nothing was copied, and the backup is as it was. If the wrong disk is mounted, mount the "
            "right one; if the exchange was lost, restore it (docs/howto/exchange.md). If it is meant to be so, "
            "back up into a new folder."
        )


def _submission(look: Look, number: int | None = None) -> Row[*tuple[Any, ...]] | None:
    """What says which submission this is; of the last one, without a number."""
    row = SubmissionRow
    which = select(func.max(row.id)).scalar_subquery() if number is None else number
    with look.reading() as session:
        return session.execute(
            select(row.id, row.course, row.assignment, row.student, row.received, row.tree).where(row.id == which)
        ).first()


def _copy_file(source: Path, path: Path, blob: Blob, tell: Count) -> bool:
    """Copy one file; whether it still is what it was. If not, nothing is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(path.name + DRAFT)
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        with draft.open("wb") as file:
            found = read_through(handle, file.write, tell)
            file.flush()
            os.fchmod(file.fileno(), READ_ONLY)
            os.fsync(file.fileno())
    except Unreadable:
        return False
    else:
        if found == blob:
            draft.replace(path)
        return found == blob
    finally:
        os.close(handle)
        draft.unlink(missing_ok=True)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    handle = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UsageError(f"Another backup is being made in {target}. Wait for it.") from None
    finally:
        os.close(handle)
