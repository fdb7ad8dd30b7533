"""Whether everything the exchange keeps is still what it was: each byte, each list, each reference.

It only looks. What is damaged is named with whose it is and what to do; nothing is repaired, moved or removed.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from gpuclass.exchange.names import UnsafeName, file_paths
from gpuclass.exchange.operating.hashing import Count, nothing, read_through
from gpuclass.exchange.operating.looking import DATABASE, OBJECTS, OLDER, WHO, CannotLook
from gpuclass.exchange.store.blobs import Blob
from gpuclass.exchange.store.trees import Tree

Kind = Literal["missing", "changed", "unreadable", "permissions", "list", "row", "database"]
HOWTO = "docs/howto/exchange.md"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNUSED = "Nobody refers to it: move it away."
_RESTORE = (
    "Move it away and put the file of the same name from a backup in its place; any file whose SHA-256 is its name is "
    "the right one. Sent again by the student (or released again), the same file heals it, too."
)
_BRING = (
    "Put the file of the same name from a backup there; any file whose SHA-256 is its name is the right one. Sent "
    "again by the student (or released again), the same file heals it, too."
)
_ROWS = f"The files are in {OBJECTS}/ as before: bring {DATABASE} back from a backup as {HOWTO} says."
_OWNER = "`chown` it to the owner of the folder and `chmod 440` it."


@dataclass(frozen=True)
class Holder:
    """A submission, a release or feedback that refers to something damaged."""

    kind: Literal["submission", "release", "feedback"]
    number: int
    course: str
    assignment: str
    student: str
    received: str
    version: int | None

    def __str__(self) -> str:
        if self.kind == "release":
            return f"version {self.version} of {self.course}/{self.assignment} as released"
        of = "feedback on " if self.kind == "feedback" else ""
        return (
            f"{of}{self.student}'s submission {self.number} to {self.course}/{self.assignment} of {self.received} UTC"
        )


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was.

    Attributes:
        kind: what happened to it.
        subject: a file below the folder, or a row of the database.
        what: it as a sentence.
        do: what to do about it.
        holders: whose it is; nobody's if empty.
    """

    kind: Kind
    subject: str
    what: str
    do: str
    holders: tuple[Holder, ...] = ()


@dataclass
class Report:
    """What was looked at and what was found.

    ``unused`` are files that nobody refers to: of submissions that were refused or cut short. They are harmless.
    """

    files: int = 0
    bytes: int = 0
    submissions: int = 0
    releases: int = 0
    feedback: int = 0
    unused: int = 0
    unused_bytes: int = 0
    damages: list[Damage] = field(default_factory=list)


@dataclass(frozen=True)
class _Kept:
    """A file below ``objects/``."""

    path: Path
    status: os.stat_result


def files_kept(folder: Path) -> tuple[dict[str, _Kept], list[Path]]:
    """The files below ``objects/`` by the hash that names them, and what else lies there."""
    found, strange = {}, []
    for path in sorted((folder / OBJECTS).glob("*/*")):
        status = path.stat(follow_symlinks=False)
        if _SHA256.fullmatch(path.name) and path.name[:2] == path.parent.name and stat.S_ISREG(status.st_mode):
            found[path.name] = _Kept(path, status)
        else:
            strange.append(path)
    return found, strange


def verify(folder: Path, tell: Count = nothing) -> Report:
    """Look at everything below ``folder``; reads every file in full, with bounded memory.

    The service may run: what comes while this looks counts as unused at most.

    Args:
        folder: the exchange's folder, or a backup of it.
        tell: is told how many bytes more have been read.

    Raises:
        CannotLook: there is nothing to look at.
    """
    report = Report()
    kept, strange = files_kept(folder)  # before the database: what comes meanwhile is not taken for unused
    if not (folder / DATABASE).is_file():
        if not kept:
            raise CannotLook(f"There is no {folder / DATABASE}: the exchange has not kept anything yet.")
        report.damages.append(
            Damage("database", DATABASE, f"{DATABASE} is missing; {len(kept)} files are there.", _ROWS)
        )
        return report
    rows = _Rows(folder / DATABASE)
    report.damages += rows.damages
    report.submissions, report.releases, report.feedback = rows.submissions, rows.releases, rows.feedback
    for path in strange:
        what = f"{path.relative_to(folder)} is not one of the exchange's files."
        report.damages.append(Damage("row", str(path.relative_to(folder)), what, "See who put it there; move it away."))
    owner = folder.stat().st_uid
    kept |= _came_since(folder, rows.expected.keys() - kept.keys())
    for sha256, file in kept.items():
        expected = rows.expected.pop(sha256, None)
        report.files += 1
        report.bytes += file.status.st_size
        if expected is None and not rows.damages:  # a list that cannot be read may have named it
            report.unused += 1
            report.unused_bytes += file.status.st_size
        report.damages += _file_damages(file, sha256, expected, owner, rows, folder, tell)
    for sha256 in rows.expected:
        subject = f"{OBJECTS}/{sha256[:2]}/{sha256}"
        report.damages.append(Damage("missing", subject, f"{subject} is missing.", _BRING, rows.holders(sha256)))
    return report


def _came_since(folder: Path, hashes: Iterable[str]) -> dict[str, _Kept]:
    """Those of these files that are there now."""
    found = {}
    for sha256 in hashes:
        path = folder / OBJECTS / sha256[:2] / sha256
        with suppress(FileNotFoundError):
            found[sha256] = _Kept(path, path.stat(follow_symlinks=False))
    return found


def _file_damages(
    file: _Kept, sha256: str, expected: Blob | None, owner: int, rows: _Rows, folder: Path, tell: Count
) -> Iterator[Damage]:
    subject = str(file.path.relative_to(folder))
    do = _UNUSED if expected is None and not rows.damages else _RESTORE
    try:
        handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            found = read_through(handle, lambda piece: None, tell)
        finally:
            os.close(handle)
    except OSError as error:
        what = f"{subject} cannot be read: {error.strerror}."
        yield Damage("unreadable", subject, what, do, rows.holders(sha256))
        return
    if found.sha256 != sha256:
        length = (
            "" if expected is None or found.size == expected.size else f" {expected.size} bytes became {found.size}."
        )
        yield Damage("changed", subject, f"{subject} is not what it was.{length}", do, rows.holders(sha256))
    elif expected is not None and (found.md5, found.size) != (expected.md5, expected.size):
        what = f"The lists that name {subject} have another size or MD5 of it; the file itself is right."
        yield Damage("list", subject, what, _ROWS, rows.holders(sha256))
    mode = stat.S_IMODE(file.status.st_mode)
    if mode & 0o227 or not mode & 0o400 or file.status.st_uid != owner:
        what = (
            f"{subject} has mode {mode:03o} and belongs to user {file.status.st_uid}; it should be 440 and {owner}'s."
        )
        yield Damage("permissions", subject, what, _OWNER, rows.holders(sha256))


class _Rows:
    """What the database says, as far as it can be read, and what is wrong with it.

    Attributes:
        expected: the files that lists name, by SHA-256.
    """

    def __init__(self, path: Path) -> None:
        self.expected: dict[str, Blob] = {}
        self.damages: list[Damage] = []
        self.submissions = self.releases = self.feedback = 0
        self._trees_of: dict[str, list[str]] = defaultdict(list)
        self._holders: dict[str, list[Holder]] = defaultdict(list)
        self._sizes: dict[str, int] = {}
        try:
            with closing(
                sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
            ) as database:
                database.execute("BEGIN")
                self._whole(database)
                self._lists(database)
                self._references(database)
        except sqlite3.OperationalError as error:
            raise CannotLook(f"{path} cannot be read: {error}. {WHO} {OLDER}") from error
        except sqlite3.DatabaseError as error:
            self._add("database", DATABASE, f"{DATABASE} is damaged: {error}.")

    def holders(self, sha256: str) -> tuple[Holder, ...]:
        """Who refers to a file."""
        return tuple(holder for tree in self._trees_of[sha256] for holder in self._holders[tree])

    def _add(self, kind: Kind, subject: str, what: str, holders: Iterable[Holder] = ()) -> None:
        self.damages.append(Damage(kind, subject, what, _ROWS, tuple(holders)))

    def _whole(self, database: sqlite3.Connection) -> None:
        for (text,) in database.execute("PRAGMA integrity_check"):
            if text != "ok":
                self._add("database", DATABASE, f"{DATABASE} is damaged: {text}.")
        for table, row, parent, _ in database.execute("PRAGMA foreign_key_check"):
            self._add("row", f"{table} {row}", f"Row {row} of {table} refers to a row of {parent} that is not there.")

    def _lists(self, database: sqlite3.Connection) -> None:
        wrong = []
        for sha256, text in database.execute("SELECT sha256, files FROM trees"):
            try:
                tree = _tree(text)
            except (ValueError, TypeError, RecursionError) as error:
                wrong.append((sha256, f"List {sha256} of files cannot be read: {error}."))
                continue
            if tree.sha256 != sha256:
                wrong.append((sha256, f"List {sha256} of files is not what it was."))
            self._sizes[sha256] = tree.size
            for _, file, md5, size in tree.entries:
                self.expected[file] = Blob(file, md5, size)
                self._trees_of[file].append(sha256)
        self._wrong_lists = wrong

    def _references(self, database: sqlite3.Connection) -> None:
        releases = {}
        for number, course, assignment, version, tree in database.execute(
            "SELECT id, course, assignment, version, tree FROM releases"
        ):
            self.releases += 1
            releases[number] = course, assignment
            holder = Holder("release", number, course, assignment, "", "", version)
            self._refers(holder, tree)
        for number, course, assignment, student, received, release, tree, size in database.execute(
            "SELECT id, course, assignment, student, received, release, tree, size FROM submissions"
        ):
            self.submissions += 1
            holder = Holder("submission", number, course, assignment, student, str(received), None)
            self._refers(holder, tree)
            if self._sizes.get(tree, size) != size:
                self._add("row", f"submissions {number}", f"The size of {holder} is not that of its files.", [holder])
            if release in releases and releases[release] != (course, assignment):
                what = f"{holder} answers a release of {'/'.join(releases[release])}."
                self._add("row", f"submissions {number}", what, [holder])
        for number, tree, submission, course, assignment, student, received in database.execute(
            "SELECT f.id, f.tree, s.id, s.course, s.assignment, s.student, s.received"
            " FROM feedback f LEFT JOIN submissions s ON s.id = f.submission"
        ):
            self.feedback += 1
            self._refers(
                Holder("feedback", submission or number, course, assignment, student, str(received), None), tree
            )
        for sha256, what in self._wrong_lists:
            self._add("list", f"trees {sha256}", what, self._holders[sha256])

    def _refers(self, holder: Holder, tree: str) -> None:
        self._holders[tree].append(holder)


def _tree(text: Any) -> Tree:
    """A list of files as the database has it.

    Raises:
        ValueError, TypeError: it is none.
    """
    entries = json.loads(text)
    for path, sha256, md5, size in entries:
        if not (isinstance(path, str) and isinstance(md5, str) and isinstance(size, int) and _SHA256.fullmatch(sha256)):
            raise ValueError(f"{path!r} is not a file")
    try:
        file_paths(entry[0] for entry in entries)
    except UnsafeName as error:
        raise ValueError(f"{error.name!r} is no name that the exchange gives") from None
    return Tree(entries)
