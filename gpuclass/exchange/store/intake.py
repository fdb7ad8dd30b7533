"""A submission's way into the database. What it means is in ``store``; here are its statements, made once.

Putting statements together and turning rows into SQLAlchemy's objects took half of a submission's CPU time, and eighty
submissions at once wait for nothing but CPU. So these go past the session, on its connection and in its transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Integer, Select, bindparam, func, select
from sqlalchemy.dialects.sqlite import insert

from gpuclass.exchange.records import Submission
from gpuclass.exchange.store.schema import (
    AssignmentRow,
    CourseRow,
    JobRow,
    ReleaseRow,
    SubmissionRow,
    TreeRow,
    UtcDateTime,
)
from gpuclass.exchange.store.trees import Tree
from gpuclass.exchange.store.turns import HOUR

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Mine:
    """Whose submissions to what."""

    course: str
    assignment: str
    student: str


@dataclass(frozen=True)
class Answered:
    """The release that a submission answers, and how much the student's earlier ones take.

    Attributes:
        release: the row's number.
        version: the release's own.
        used: bytes on disk, as the quota counts them.
    """

    release: int
    version: int
    used: int


def answered(connection: Connection, mine: Mine, version: int | None) -> Answered | None:
    """The release of that version, the newest if there is none; None if there is no such assignment to be seen."""
    row = connection.execute(_ANSWERED, {**vars(mine), "version": version}).first()
    return None if row is None else Answered(row.id, row.version, row.used)


def under_key(connection: Connection, mine: Mine, key: str) -> Submission | None:
    """What came under this key before."""
    row = connection.execute(_UNDER_KEY, {**vars(mine), "key": key}).first()
    return None if row is None else Submission(**row._mapping, again=True)


def add(
    connection: Connection,
    mine: Mine,
    tree: Tree,
    answers: Answered,
    *,
    received: datetime,
    key: str | None,
    queued: datetime | None,
    now: datetime,
    attempts: int = 0,
) -> Submission:
    """Add a submission, the list of its files, and a job to grade it; its time is one that no other has.

    Of a student's submissions to an assignment only so many ``attempts`` are graded within an hour; others wait for
    their time. 0 is no limit.
    """
    while connection.execute(_AT, {**vars(mine), "received": received}).first() is not None:
        received += MICROSECOND
    connection.execute(_ADD_TREE, {"sha256": tree.sha256, "files": tree.entries})
    row = {
        **vars(mine),
        "received": received,
        "release": answers.release,
        "tree": tree.sha256,
        "size": tree.size,
        "space": tree.space,
        "key": key,
        "queued": queued,
    }
    number: int = connection.execute(_ADD_SUBMISSION, row).lastrowid
    job = {"submission": number, "requested_by": mine.student, "state": "waiting", "queued": now}
    earliest = _earliest(connection, mine, attempts) if attempts else None
    connection.execute(_ADD_JOB, {**job, "not_before": earliest if earliest and earliest > now else None})
    return Submission(
        number,
        mine.course,
        mine.assignment,
        mine.student,
        received,
        tree.size,
        tree.sha256,
        answers.version,
        key,
        queued,
    )


def _earliest(connection: Connection, mine: Mine, attempts: int) -> datetime | None:
    """When the next attempt may begin: an hour after the one before which there is room for no more."""
    begun = connection.execute(_ATTEMPT, {**vars(mine), "later": attempts - 1}).scalar()
    return None if begun is None else begun + HOUR


_MINE = (
    SubmissionRow.course == bindparam("course"),
    SubmissionRow.assignment == bindparam("assignment"),
    SubmissionRow.student == bindparam("student"),
)
_USED = select(func.coalesce(func.sum(SubmissionRow.space), 0)).where(*_MINE)
_AT = select(SubmissionRow.id).where(*_MINE, SubmissionRow.received == bindparam("received"))
_ADD_TREE = insert(TreeRow).on_conflict_do_nothing()
_ADD_SUBMISSION = insert(SubmissionRow)
_ADD_JOB = insert(JobRow)
_ATTEMPT = (  # the time from which on an earlier attempt could be graded; the newest has no later ones
    select(func.coalesce(JobRow.not_before, JobRow.queued, type_=UtcDateTime))
    .join(SubmissionRow, SubmissionRow.id == JobRow.submission)
    .where(*_MINE, JobRow.kind == "grade", JobRow.requested_by == SubmissionRow.student)
    .order_by(JobRow.id.desc())
    .limit(1)
    .offset(bindparam("later", type_=Integer))
)


def _answered() -> Select[Any]:
    named = ReleaseRow.version == bindparam("version", type_=Integer)  # of no version unknown, which sorts last
    return (
        select(ReleaseRow.id, ReleaseRow.version, _USED.scalar_subquery().label("used"))
        .join(
            AssignmentRow,
            (AssignmentRow.course == ReleaseRow.course) & (AssignmentRow.name == ReleaseRow.assignment),
        )
        .join(CourseRow, CourseRow.name == AssignmentRow.course)
        .where(
            ReleaseRow.course == bindparam("course"),
            ReleaseRow.assignment == bindparam("assignment"),
            AssignmentRow.hidden.is_(None),
            CourseRow.hidden.is_(None),
        )
        .order_by(named.desc(), ReleaseRow.version.desc())
        .limit(1)
    )


def _under_key() -> Select[*tuple[Any, ...]]:
    return (
        select(
            SubmissionRow.id,
            SubmissionRow.course,
            SubmissionRow.assignment,
            SubmissionRow.student,
            SubmissionRow.received,
            SubmissionRow.size,
            SubmissionRow.tree.label("sha256"),
            ReleaseRow.version,
            SubmissionRow.key,
            SubmissionRow.queued,
        )
        .join(ReleaseRow, ReleaseRow.id == SubmissionRow.release)
        .where(*_MINE, SubmissionRow.key == bindparam("key"))
    )


_ANSWERED = _answered()
_UNDER_KEY = _under_key()
