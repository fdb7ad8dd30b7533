"""A course as plain folders that nbgrader's own exchange takes, so that nobody is locked in.

Beside them is one file with what such folders cannot hold, and the bytes they have no place for: with these
``importing`` makes the same course again. An export is whole, or it is not there.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from gpuclass import __version__
from gpuclass.errors import PlainError, UsageError
from gpuclass.exchange.names import COMPONENT_LIMIT
from gpuclass.exchange.operating.exportfile import (
    SECRET_FILE,
    TIMESTAMP_FILE,
    AssignmentLine,
    CourseLine,
    DeadlineLine,
    EndLine,
    FeedbackLine,
    FileLine,
    JobLine,
    MemberLine,
    ReleaseLine,
    SubmissionLine,
    file_name,
    write_line,
)
from gpuclass.exchange.operating.hashing import Count, Unreadable, nothing, read_through
from gpuclass.exchange.operating.looking import Look
from gpuclass.exchange.store.blobs import Blob, sync_folder
from gpuclass.exchange.store.schema import (
    AssignmentRow,
    CourseRow,
    DeadlineRow,
    FeedbackRow,
    JobRow,
    MemberRow,
    ReleaseRow,
    SubmissionRow,
    TreeRow,
)
from gpuclass.exchange.wire import show_time
from gpuclass.units import show_size

DRAFT = ".exporting"
NBGRADERS_OWN = frozenset({TIMESTAMP_FILE, SECRET_FILE})
INBOUND_MODE = 0o2733  # nbgrader's own: everybody may hand in, nobody may look around
FEEDBACK_MODE = 0o711  # as well: who knows a name may read it
MARGIN = 64 * 2**20  # bytes of the disk that stay free


@dataclass
class Exported:
    """What was, or would be, written.

    ``damaged`` are files that are not what they were, ``apart`` submissions that nbgrader's folders cannot hold.
    """

    assignments: int = 0
    submissions: int = 0
    students: int = 0
    feedback: int = 0
    files: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)


def export(
    folder: Path, course: str, target: Path, now: datetime, *, dry_run: bool = False, tell: Count = nothing
) -> Exported:
    """Write ``course`` to ``target``, a new or empty folder.

    Args:
        folder: the exchange's folder; the service may run.
        course: which.
        target: where; made, for its owner only, when it is not there.
        now: the time.
        dry_run: only say what would be written.
        tell: is told how many bytes more are written.

    Raises:
        UsageError: no such course; ``target`` has something in it or lies inside the exchange's folder.
        PlainError: there is no room.
    """
    if target.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{target} lies in the exchange's own folder. Choose another place.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        hint = f" An export that was cut short left {DRAFT} there; remove it." if (target / DRAFT).exists() else ""
        raise UsageError(f"{target} is there and is not an empty folder. Nothing was written.{hint}")
    with Look(folder) as look:
        with look.reading() as session:
            rows = _Course(session, course)
        found = rows.counted()
        if dry_run:
            return found
        draft = target / DRAFT
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _check_room(target if target.exists() else target.parent, found.bytes)
            target.mkdir(mode=0o700, exist_ok=True)
            draft.mkdir(mode=0o700)
        except OSError as error:
            raise PlainError(f"{target} cannot be written: {error.strerror}.") from error
        umask = os.umask(0o022)  # as nbgrader has it; around all of it is a folder for its owner only
        try:
            _Writer(look, rows, draft, found, tell).write(now)
            for path in sorted(draft.iterdir(), key=lambda path: path.is_file()):  # the file that names all: last
                path.rename(target / path.name)
            draft.rmdir()
            sync_folder(target)
        except OSError as error:
            why = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"cannot be written: {error.strerror}"
            raise PlainError(f"{target} {why}; nothing was left there.") from error
        finally:
            os.umask(umask)
            shutil.rmtree(draft, ignore_errors=True)
    return found


def _check_room(place: Path, size: int) -> None:
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    if free < size + MARGIN:
        raise PlainError(
            f"{show_size(size)} are to be written and {place} has {show_size(free)} free. Choose another disk."
        )


@dataclass(frozen=True)
class _File:
    path: str
    sha256: str
    md5: str
    size: int


class _Course:
    """A course's rows, in the order they were made."""

    def __init__(self, session: Session, name: str) -> None:
        course = session.get(CourseRow, name)
        if course is None:
            known = ", ".join(session.scalars(select(CourseRow.name).order_by(CourseRow.name))) or "none"
            raise UsageError(f"There is no course {name!r}. Courses: {known}.")
        self.course = course
        self.members = _all(session, MemberRow, MemberRow.course == name, MemberRow.login)
        self.assignments = _all(session, AssignmentRow, AssignmentRow.course == name, AssignmentRow.name)
        self.releases = _grouped(_all(session, ReleaseRow, ReleaseRow.course == name, ReleaseRow.version), "assignment")
        self.deadlines = _grouped(_all(session, DeadlineRow, DeadlineRow.course == name, DeadlineRow.id), "assignment")
        self.submissions = _all(session, SubmissionRow, SubmissionRow.course == name, SubmissionRow.id)
        ours = select(SubmissionRow.id).where(SubmissionRow.course == name)
        self.feedback = _grouped(
            _all(session, FeedbackRow, FeedbackRow.submission.in_(ours), FeedbackRow.id), "submission"
        )
        self.jobs = _grouped(
            _all(session, JobRow, JobRow.submission.in_(ours) & (JobRow.kind == "grade"), JobRow.id), "submission"
        )
        wanted = {row.tree for rows in (*self.releases.values(), *self.feedback.values()) for row in rows}
        wanted |= {row.tree for row in self.submissions}
        self.files = {
            row.sha256: tuple(_File(*entry) for entry in row.files)
            for row in session.scalars(select(TreeRow))
            if row.sha256 in wanted
        }

    def counted(self) -> Exported:
        """How much it is."""
        trees = [row.tree for rows in (*self.releases.values(), *self.feedback.values()) for row in rows]
        trees += [row.tree for row in self.submissions]
        return Exported(
            assignments=len(self.assignments),
            submissions=len(self.submissions),
            students=len({row.student for row in self.submissions}),
            feedback=sum(map(len, self.feedback.values())),
            files=sum(len(self.files[tree]) for tree in trees),
            bytes=sum(file.size for tree in trees for file in self.files[tree]),
        )


def _all(session: Session, table: type[Any], condition: Any, order: Any) -> Sequence[Any]:
    return session.scalars(select(table).where(condition).order_by(order)).all()


def _grouped(rows: Iterable[Any], column: str) -> dict[Any, list[Any]]:
    groups = defaultdict(list)
    for row in rows:
        groups[getattr(row, column)].append(row)
    return groups


class _Writer:
    """Writes the folders and the file beside them into ``root``."""

    def __init__(self, look: Look, rows: _Course, root: Path, found: Exported, tell: Count) -> None:
        self._look = look
        self._rows = rows
        self._root = root
        self._found = found
        self._tell = tell
        name = rows.course.name
        self._outbound, self._inbound, self._feedback = (
            root / name / kind for kind in ("outbound", "inbound", "feedback")
        )
        self._apart = root / f"gpuclass-{name}"

    def write(self, now: datetime) -> None:
        """Write all of it."""
        rows, course = self._rows, self._rows.course
        for folder in (self._outbound, self._inbound, self._feedback):
            folder.mkdir(parents=True)
        with (self._root / file_name(course.name)).open("xb") as file:
            lines = 0
            head = CourseLine(
                software=__version__,
                course=course.name,
                created=course.created,
                hidden=course.hidden,
                exported=now,
            )
            members = (
                MemberLine(
                    login=row.login,
                    role=row.role,
                    first_name=row.first_name,
                    last_name=row.last_name,
                    email=row.email,
                )
                for row in rows.members
            )
            for part in (
                [head],
                members,
                map(self._assignment, rows.assignments),
                map(self._submission, rows.submissions),
            ):
                for line in part:
                    write_line(file, cast("Any", line))
                    lines += 1
            write_line(file, EndLine(lines=lines))
            file.flush()
            os.fsync(file.fileno())
        self._inbound.chmod(INBOUND_MODE)
        self._feedback.chmod(FEEDBACK_MODE)

    def _assignment(self, row: AssignmentRow) -> AssignmentLine:
        releases: list[ReleaseRow] = self._rows.releases[row.name]
        shown = releases[-1] if releases and row.hidden is None else None
        lines = []
        for release in releases:
            files = self._folder(release.tree, self._outbound / row.name if release is shown else None, {})
            if lost := [file.path for file in files if file.place is None]:
                self._found.damaged.append(f"version {release.version} of {row.name} as released: {', '.join(lost)}")
            lines.append(
                ReleaseLine(version=release.version, released=release.released, by=release.released_by, files=files)
            )
        return AssignmentLine(
            name=row.name,
            hidden=row.hidden,
            releases=tuple(lines),
            deadlines=tuple(
                DeadlineLine(student=each.student, due=each.due, made=each.made, by=each.made_by)
                for each in self._rows.deadlines[row.name]
            ),
        )

    def _submission(self, row: SubmissionRow) -> SubmissionLine:
        secret = secrets.token_hex(64)
        stamp = show_time(row.received)
        suffix = base64.urlsafe_b64encode(os.urandom(9)).decode()
        name: str | None = f"{row.student}+{row.assignment}+{stamp}+{suffix}"
        if len(str(name).encode()) > COMPONENT_LIMIT:
            self._found.apart.append(f"{row.student}'s submission {row.id} to {row.assignment}: its names are too long")
            name = None
        place = self._inbound / name if name else None
        files = self._folder(row.tree, place, {TIMESTAMP_FILE: stamp, SECRET_FILE: secret})
        if any(file.place is None for file in files):
            name = None
            what = ", ".join(file.path for file in files if file.place is None)
            self._found.damaged.append(f"{row.student}'s submission {row.id} to {row.assignment}: {what}")
        feedback: list[FeedbackRow] = self._rows.feedback[row.id]
        return SubmissionLine(
            number=row.id,
            assignment=row.assignment,
            student=row.student,
            received=row.received,
            version=row.answered.version,
            key=row.key,
            queued=row.queued,
            folder=name,
            files=files,
            feedback=tuple(
                FeedbackLine(
                    created=note.created,
                    released=note.released,
                    score=note.score,
                    max_score=note.max_score,
                    files=self._notes(note, secret, shown=note is feedback[-1] and note.released and name is not None),
                )
                for note in feedback
            ),
            jobs=tuple(
                JobLine(
                    requested_by=job.requested_by,
                    state=cast("Any", job.state),
                    error=job.error,
                    attempts=job.attempts,
                    queued=job.queued,
                    started=job.started,
                    finished=job.finished,
                )
                for job in self._rows.jobs[row.id]
            ),
        )

    def _folder(self, tree: str, place: Path | None, more: dict[str, str]) -> tuple[FileLine, ...]:
        """Write a list's files to ``place``, whole or not at all; what has no place there is kept apart."""
        files = self._rows.files[tree]
        inside = {file.path for file in files if place is not None and file.path.split("/")[0] not in NBGRADERS_OWN}
        if place is not None:
            draft = self._root / ".folder"
            draft.mkdir()
            well = all(self._copy(file, draft / file.path) for file in files if file.path in inside)
            if well:
                for name, text in more.items():
                    (draft / name).write_text(text, encoding="utf-8")
                draft.chmod(0o755)
                draft.rename(place)
            else:
                shutil.rmtree(draft)
                inside = set()
        return tuple(
            FileLine(
                path=file.path,
                sha256=file.sha256,
                size=file.size,
                place=str((cast("Path", place) / file.path).relative_to(self._root))
                if file.path in inside
                else self._aside(file),
            )
            for file in files
        )

    def _notes(self, note: FeedbackRow, secret: str, *, shown: bool) -> tuple[FileLine, ...]:
        """Write feedback under the name by which nbgrader finds it."""
        lines = []
        for file in self._rows.files[note.tree]:
            place: str | None = None
            if shown and file.path.endswith(".html") and "/" not in file.path:
                known = secret + file.path.removesuffix(".html")
                path = self._feedback / f"{hashlib.md5(known.encode(), usedforsecurity=False).hexdigest()}.html"
                place = str(path.relative_to(self._root)) if self._copy(file, path) else None
            place = place or self._aside(file)
            if place is None:
                self._found.damaged.append(f"feedback on submission {note.submission}: {file.path}")
            lines.append(FileLine(path=file.path, sha256=file.sha256, size=file.size, place=place))
        return tuple(lines)

    def _aside(self, file: _File) -> str | None:
        """Keep a file's bytes beside nbgrader's folders; where, or None if they are damaged."""
        path = self._apart / file.sha256[:2] / file.sha256
        if path.exists() or self._copy(file, path):
            return str(path.relative_to(self._root))
        return None

    def _copy(self, file: _File, target: Path) -> bool:
        """Copy a file's bytes; whether they are still what they were. If not, nothing is there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source = os.open(self._look.path(file.sha256), os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return False
        found = None
        try:
            with target.open("xb") as copy:
                found = read_through(source, copy.write, self._tell)
        except Unreadable:
            pass  # and so it is not what it was
        finally:
            os.close(source)
        if found != Blob(file.sha256, file.md5, file.size):
            target.unlink()
            return False
        return True
