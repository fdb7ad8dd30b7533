"""Taking a course from plain folders: nbgrader's own exchange, or an export of ours.

First every file's bytes are put on disk, where they do no harm; then rows are added, some submissions at a time so that
students who submit do not wait. A submission is taken whole or not at all, and what is there already is recognised: an
import that was cut short is called again, and goes on. What is there stays: no release that students fetch, no deadline
and no feedback changes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from gpuclass.errors import UsageError
from gpuclass.exchange.names import UnsafeName, identifier
from gpuclass.exchange.operating.exportfile import MemberLine
from gpuclass.exchange.operating.hashing import Count, Unreadable, nothing, read_through
from gpuclass.exchange.operating.importsources import (
    AssignmentSource,
    FeedbackSource,
    Found,
    LeftOut,
    Root,
    Source,
    SubmissionSource,
)
from gpuclass.exchange.operating.looking import DATABASE, copy_database
from gpuclass.exchange.store.blobs import Blob, Blobs
from gpuclass.exchange.store.database import Database
from gpuclass.exchange.store.queue import submissions_of
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
from gpuclass.exchange.store.trees import Tree

BY = "import"
STEP = timedelta(microseconds=1)
AT_ONCE = 50  # submissions in a transaction: it takes a fraction of a second, and a student's submission waits for it


@dataclass
class Imported:
    """What was, or would be, taken; ``left_out`` and ``notes`` are sentences for a person."""

    assignments: int = 0
    releases: int = 0
    submissions: int = 0
    there: int = 0
    feedback: int = 0
    deadlines: int = 0
    members: int = 0
    graded: int = 0
    students: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Submission:
    source: SubmissionSource
    tree: Tree
    feedback: tuple[tuple[FeedbackSource, Tree], ...]


@dataclass(frozen=True)
class _Release:
    version: int
    released: datetime
    by: str
    tree: Tree


def size_of(found: Found) -> int:
    """Bytes of all files that are to be read."""
    lists = [release.files for each in found.assignments.values() for release in each.releases]
    lists += [each.files for each in found.submissions]
    lists += [note.files for each in found.submissions for note in each.feedback]
    return sum(file.size for files in lists for file in files)


def take(
    database: Database,
    blobs: Blobs | None,
    root: Root,
    found: Found,
    course: str,
    *,
    members: bool = False,
    grade: bool = False,
    tell: Count = nothing,
) -> Imported:
    """Take what was found into ``course``.

    Args:
        database: where to.
        blobs: where files are kept; without it they are only read, to see what would be taken.
        root: the folder that ``found`` is of.
        found: what there is.
        course: its name here; made if there is none.
        members: also who the folder says belongs to the course, instructors included.
        grade: have the latest submission of each student that is new graded.
        tell: is told how many bytes more are read.

    Raises:
        UsageError: the course is hidden here, or cannot be called so.
        OSError: the disk is full; no submission was taken.
    """
    try:
        course = identifier(course)
    except UnsafeName:
        raise UsageError(f"{course!r} cannot be a course's name here; `--into` gives it another.") from None
    report = Imported(left_out=list(found.left_out), notes=list(found.notes))
    reader = _Reader(blobs, root, report, tell)
    releases = {name: tuple(reader.releases(each)) for name, each in found.assignments.items()}
    submissions = list(reader.submissions(found.submissions))
    taker = _Taker(database, course, report)
    taker.begin(found, releases, {each.source.assignment for each in submissions}, members=members)
    for start in range(0, len(submissions), AT_ONCE):
        taker.add(submissions[start : start + AT_ONCE])
    if grade:
        taker.grade()
    return report


@contextmanager
def without_keeping(folder: Path) -> Iterator[Database]:
    """A copy of the exchange's database, to see what an import would do; gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / DATABASE
        if (folder / DATABASE).exists():
            copy_database(folder, copy)
        with closing(Database(copy)) as database:
            yield database


def _drop(piece: bytes) -> None:
    """Where nothing is kept."""


class _Reader:
    """Reads files and, unless it only looks, puts their bytes on disk."""

    def __init__(self, blobs: Blobs | None, root: Root, report: Imported, tell: Count) -> None:
        self._blobs = blobs
        self._root = root
        self._report = report
        self._tell = tell

    def releases(self, assignment: AssignmentSource) -> Iterator[_Release]:
        """The versions of an assignment that could be read; counted from 1 where nobody counted."""
        for number, release in enumerate(assignment.releases, 1):
            try:
                tree = self._tree(release.files)
            except LeftOut as reason:
                self._report.left_out.append(f"{assignment.name} as released: {reason}")
            else:
                yield _Release(release.version or number, release.released, release.by, tree)

    def submissions(self, sources: Iterable[SubmissionSource]) -> Iterator[_Submission]:
        """The submissions that could be read, whole."""
        for source in sources:
            try:
                tree = self._tree(source.files)
            except LeftOut as reason:
                self._report.left_out.append(f"{source.label}: {reason}")
                continue
            notes = []
            for note in source.feedback:
                try:
                    notes.append((note, self._tree(note.files)))
                except LeftOut as reason:
                    self._report.left_out.append(f"feedback on {source.label}: {reason}")
            yield _Submission(source, tree, tuple(notes))

    def _tree(self, files: Sequence[Source]) -> Tree:
        with ExitStack() as stack:
            drafts, entries = [], []
            for file in files:
                with self._root.file(file.place) as handle:
                    if os.fstat(handle).st_size != file.size:
                        raise LeftOut(f"{file.path!r} does not have the size it should have")
                    if self._blobs is not None:
                        drafts.append(stack.enter_context(self._blobs.draft()))
                    try:
                        blob = read_through(handle, drafts[-1].write if drafts else _drop, self._tell)
                    except Unreadable as error:
                        raise LeftOut(f"{file.path!r} cannot be read: {error.strerror}") from None
                if blob != Blob(file.sha256 or blob.sha256, blob.md5, file.size):
                    raise LeftOut(f"{file.path!r} is not what it was when it was exported")
                entries.append([file.path, blob.sha256, blob.md5, blob.size])
            if self._blobs is not None:
                self._blobs.keep(drafts)
        return Tree(entries)


@dataclass(frozen=True)
class _Here:
    """A version of an assignment that is here."""

    id: int
    version: int
    released: datetime
    tree: str


class _Taker:
    """Adds rows to one course."""

    def __init__(self, database: Database, course: str, report: Imported) -> None:
        self._database = database
        self._course = course
        self._report = report
        self._answered: dict[str, _Answered] = {}
        self._last: dict[tuple[str, str], datetime] = {}  # what came last before this import began
        self._latest: dict[tuple[str, str], int] = {}

    def begin(
        self, found: Found, releases: dict[str, tuple[_Release, ...]], answered: set[str], *, members: bool
    ) -> None:
        """Add the course, its assignments, their versions and deadlines, as far as they are not here."""
        with self._database.writing() as session:
            course = session.get(CourseRow, self._course)
            if course is None:
                session.add(CourseRow(name=self._course, created=found.created or self._database.clock()))
                session.flush()
            elif course.hidden is not None:
                raise UsageError(f"The course {self._course!r} is hidden here: let it appear again first.")
            if members:
                self._members(session, found.members)
            elif found.members:
                self._report.notes.append(
                    f"{len(found.members)} people were put into the course by its API; they are not taken. `--members` "
                    "takes them, instructors included: only from somebody you trust."
                )
            for name in sorted(releases.keys() | answered):
                source = found.assignments.get(name)
                self._answered[name] = self._assignment(session, name, source, releases.get(name, ()))
                if source is not None:
                    self._deadlines(session, name, source)
            for assignment, student, received in session.execute(
                select(SubmissionRow.assignment, SubmissionRow.student, func.max(SubmissionRow.received))
                .where(SubmissionRow.course == self._course)
                .group_by(SubmissionRow.assignment, SubmissionRow.student)
            ):
                self._last[assignment, student] = received

    def add(self, submissions: Iterable[_Submission]) -> None:
        """Add those of the submissions that are not here, and feedback that follows on what is here."""
        with self._database.writing() as session:
            for each in submissions:
                self._submission(session, each)

    def grade(self) -> None:
        """Enqueue what was added, of each student the latest."""
        with self._database.writing() as session:
            for submission in self._latest.values():
                now = self._database.clock()
                session.add(JobRow(submission=submission, requested_by=BY, state="waiting", queued=now))
                self._report.graded += 1

    def _members(self, session: Session, members: Iterable[MemberLine]) -> None:
        for line in members:
            if session.get(MemberRow, (self._course, line.login)) is None:
                self._report.members += 1
                session.add(MemberRow(course=self._course, **line.model_dump(exclude={"kind"})))

    def _assignment(
        self, session: Session, name: str, source: AssignmentSource | None, releases: Sequence[_Release]
    ) -> _Answered:
        """Make the assignment if it is not here; else add only versions that follow on those it has."""
        here = {
            row.version: _Here(row.id, row.version, row.released, row.tree)
            for row in session.scalars(
                select(ReleaseRow)
                .where(ReleaseRow.course == self._course, ReleaseRow.assignment == name)
                .order_by(ReleaseRow.version)
            )
        }
        there = {release.version: release.tree.sha256 for release in releases}
        if session.get(AssignmentRow, (self._course, name)) is None:
            hidden = source.hidden if source is not None else None
            if not releases:
                hidden = self._database.clock()
                releases = [_Release(1, hidden, BY, Tree([]))]
                self._report.notes.append(
                    f"{name}: its files as released are not there, so it stays hidden until it is released again; its "
                    "submissions are taken."
                )
            self._report.assignments += 1
            session.add(AssignmentRow(course=self._course, name=name, hidden=hidden))
            session.flush()
        new = [release for release in releases if release.version not in here]
        known = {release.tree for release in here.values()}
        same = all(here[version].tree == tree for version, tree in there.items() if version in here)
        if same and all(release.version > max(here, default=0) for release in new):
            for release in new:
                self._report.releases += 1
                here[release.version] = self._release(session, name, release)
        elif not set(there.values()) <= known:
            self._report.notes.append(f"{name} is here already with other files; what students fetch stays as it is.")
        return _Answered(tuple(here.values()), there)

    def _release(self, session: Session, name: str, release: _Release) -> _Here:
        row = ReleaseRow(
            course=self._course,
            assignment=name,
            version=release.version,
            released=release.released,
            released_by=release.by,
            tree=_add_tree(session, release.tree),
        )
        session.add(row)
        session.flush()
        return _Here(row.id, row.version, row.released, row.tree)

    def _deadlines(self, session: Session, name: str, source: AssignmentSource) -> None:
        """Add deadlines that follow on those set here; others would take the place of what somebody set."""
        rows = session.scalars(
            select(DeadlineRow)
            .where(DeadlineRow.course == self._course, DeadlineRow.assignment == name)
            .order_by(DeadlineRow.id)
        )
        here = [(row.student, row.due, row.made, row.made_by) for row in rows]
        there = [(each.student, each.due, each.made, each.by) for each in source.deadlines]
        if here != there[: len(here)]:
            if there:
                self._report.notes.append(f"{name} has deadlines of its own here; they stay.")
            return
        for student, due, made, by in there[len(here) :]:
            session.add(
                DeadlineRow(course=self._course, assignment=name, student=student, due=due, made=made, made_by=by)
            )
            session.flush()  # in their order: the newest counts
            self._report.deadlines += 1

    def _submission(self, session: Session, each: _Submission) -> None:
        """Add one submission, unless it is here or cannot be."""
        source, received = each.source, each.source.received
        mine = submissions_of(self._course, source.assignment, source.student)
        while (
            row := session.scalar(select(SubmissionRow).where(*mine, SubmissionRow.received == received))
        ) is not None:
            if row.tree == each.tree.sha256:
                self._report.there += 1
                self._feedback(session, row.id, each)
                return
            received += STEP
        last = self._last.get((source.assignment, source.student))
        if last is not None and received < last:
            self._report.left_out.append(
                f"{source.label}: {source.student} has a later submission to {source.assignment} here, and the one "
                "that comes in last would count."
            )
            return
        used = source.key is not None and session.scalar(
            select(SubmissionRow.id).where(*mine, SubmissionRow.key == source.key)
        )
        row = SubmissionRow(
            course=self._course,
            assignment=source.assignment,
            student=source.student,
            received=received,
            release=self._answered[source.assignment].by(source.version, received),
            tree=_add_tree(session, each.tree),
            size=each.tree.size,
            space=each.tree.space,
            key=None if used else source.key,
            queued=source.queued,
        )
        session.add(row)
        session.flush()
        self._report.submissions += 1
        self._report.students.add(source.student)
        self._latest[source.assignment, source.student] = row.id
        for job in source.jobs:
            if job.state in ("done", "failed"):  # what waited there waits here only if it is asked for
                session.add(JobRow(submission=row.id, **job.model_dump()))
                session.flush()
        self._feedback(session, row.id, each)

    def _feedback(self, session: Session, submission: int, each: _Submission) -> None:
        """Add feedback that follows on what is here; where somebody here gave other feedback, that stands."""
        rows = session.scalars(select(FeedbackRow).where(FeedbackRow.submission == submission).order_by(FeedbackRow.id))
        here = [(row.created, row.released, row.score, row.max_score, row.tree) for row in rows]
        there = [(note.created, note.released, note.score, note.max_score, tree.sha256) for note, tree in each.feedback]
        if here != there[: len(here)]:
            return
        for note, tree in each.feedback[len(here) :]:
            session.add(
                FeedbackRow(
                    submission=submission,
                    created=note.created,
                    released=note.released,
                    score=note.score,
                    max_score=note.max_score,
                    tree=_add_tree(session, tree),
                )
            )
            session.flush()  # in their order: the newest counts
            self._report.feedback += 1


def _add_tree(session: Session, tree: Tree) -> str:
    session.execute(insert(TreeRow).values(sha256=tree.sha256, files=tree.entries).on_conflict_do_nothing())
    return tree.sha256


class _Answered:
    """The versions of an assignment that are here, and those there by their number."""

    def __init__(self, here: tuple[_Here, ...], there: dict[int, str]) -> None:
        self._here = here
        self._there = there

    def by(self, version: int | None, received: datetime) -> int:
        """Which of those here a submission answers: that with the same files; of the same number; the newest then."""
        number = 1 if version is None else version  # where nobody counted there is one
        files = self._there.get(number)
        by_number = [each for each in self._here if each.version == number]
        by_files = [each for each in self._here if each.tree == files]
        earlier = [each for each in self._here if each.released <= received]
        both = [each for each in by_number if each in by_files]
        if version is None:
            return (both or by_files or earlier[::-1] or list(self._here))[0].id
        return (both or by_files or by_number or earlier[::-1] or list(self._here))[0].id
