"""What the exchange's clients read most, each in a handful of SQL statements however much there is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Select, and_, bindparam, func, or_, select
from sqlalchemy.orm import aliased

from gpuclass.exchange.records import File, Outcome, State
from gpuclass.exchange.store.schema import (
    AssignmentRow,
    CourseRow,
    FeedbackRow,
    JobRow,
    ReleaseRow,
    SubmissionRow,
    TreeRow,
)
from gpuclass.exchange.store.store import Store


@dataclass(frozen=True)
class Released:
    """An assignment's newest version; ``notebooks`` are the paths of those that any of its versions has."""

    assignment: str
    version: int
    released: datetime
    files: tuple[File, ...]
    notebooks: frozenset[str]


@dataclass(frozen=True)
class Own:
    """A submission as its sender sees it. Score and feedback are those shown last; before, there are none."""

    id: int
    assignment: str
    received: datetime
    version: int
    queued: datetime | None
    size: int
    files: tuple[File, ...]
    state: State | None
    score: float | None
    max_score: float | None
    feedback: tuple[File, ...]
    not_before: datetime | None
    place: int | None
    status: Outcome | None


def has_assignment(store: Store, course: str, assignment: str) -> bool:
    """Whether something can be handed in there."""
    with store.reading() as session:
        return session.scalar(_ONE_VISIBLE, {"course": course, "assignment": assignment}) is not None


def releases(store: Store, course: str) -> list[Released]:
    """The newest version of each of a course's assignments, sorted by name."""
    found: dict[str, Released] = {}
    with store.reading() as session:
        for row in session.execute(_RELEASES, {"course": course}):  # of each assignment, the newest comes last
            files = _files(row.files)
            earlier = found[row.name].notebooks if row.name in found else frozenset()
            found[row.name] = Released(row.name, row.version, row.released, files, earlier | _notebooks(files))
    return list(found.values())


def notebooks(store: Store, course: str, assignment: str) -> frozenset[str]:
    """The paths of the notebooks that any of an assignment's versions has; of none that is hidden."""
    with store.reading() as session:
        rows = session.execute(_RELEASES_OF_ONE, {"course": course, "assignment": assignment})
        return frozenset().union(*(_notebooks(_files(row.files)) for row in rows))


def own_submissions(store: Store, course: str, student: str, *, opened: Collection[str] = ()) -> list[Own]:
    """All of one student's submissions in a course, in the order they came.

    Args:
        store: the exchange's.
        course: its name.
        student: whose.
        opened: assignments whose feedback needs no release: of these it is shown, released or not.
    """
    with store.reading() as session:
        rows = session.execute(_OWN, {"course": course, "student": student, "opened": sorted(opened)}).all()
    places = store.places() if any(row.state == "waiting" for row in rows) else {}
    return [
        Own(
            row.id,
            row.assignment,
            row.received,
            row.version,
            row.queued,
            row.size,
            _files(row.sent),
            cast("State | None", row.state),
            row.score,
            row.max_score,
            _files(row.given or ()),
            row.not_before if row.state == "waiting" else None,
            places.get(row.id),
            cast("Outcome | None", row.status),
        )
        for row in rows
    ]


def _visible() -> Select[Any]:
    """The names of a course's assignments that are not hidden."""
    return (
        select(AssignmentRow.name)
        .join(CourseRow, CourseRow.name == AssignmentRow.course)
        .where(AssignmentRow.course == bindparam("course"), AssignmentRow.hidden.is_(None), CourseRow.hidden.is_(None))
    )


def _releases() -> Select[Any]:
    return (
        _visible()
        .join(
            ReleaseRow,
            and_(
                ReleaseRow.course == AssignmentRow.course,
                ReleaseRow.assignment == AssignmentRow.name,
            ),
        )
        .join(TreeRow, TreeRow.sha256 == ReleaseRow.tree)
        .add_columns(ReleaseRow.version, ReleaseRow.released, TreeRow.files)
        .order_by(AssignmentRow.name, ReleaseRow.version)
    )


def _own() -> Select[Any]:
    job, note = aliased(JobRow), aliased(FeedbackRow)
    newest_job = (
        select(func.max(job.id)).where(job.submission == SubmissionRow.id, job.kind == "grade").scalar_subquery()
    )
    shown_note = (  # one that is not released yet, as of a grading again, hides none that is
        select(func.max(note.id))
        .where(
            note.submission == SubmissionRow.id,
            or_(note.released, SubmissionRow.assignment.in_(bindparam("opened", expanding=True))),
        )
        .scalar_subquery()
    )
    sent, given = aliased(TreeRow), aliased(TreeRow)
    return (
        select(
            SubmissionRow.id,
            SubmissionRow.assignment,
            SubmissionRow.received,
            ReleaseRow.version,
            SubmissionRow.queued,
            SubmissionRow.size,
            sent.files.label("sent"),
            JobRow.state,
            JobRow.not_before,
            JobRow.status,
            FeedbackRow.score,
            FeedbackRow.max_score,
            given.files.label("given"),
        )
        .select_from(SubmissionRow)
        .join(ReleaseRow, ReleaseRow.id == SubmissionRow.release)
        .join(sent, sent.sha256 == SubmissionRow.tree)
        .outerjoin(JobRow, JobRow.id == newest_job)
        .outerjoin(FeedbackRow, FeedbackRow.id == shown_note)
        .outerjoin(given, given.sha256 == FeedbackRow.tree)
        .where(SubmissionRow.course == bindparam("course"), SubmissionRow.student == bindparam("student"))
        .order_by(SubmissionRow.id)
    )


def _files(entries: Sequence[Any]) -> tuple[File, ...]:
    return tuple(File(*entry) for entry in entries)


def _notebooks(files: Sequence[File]) -> frozenset[str]:
    return frozenset(file.path for file in files if file.path.endswith(".ipynb"))


# Made once: putting a statement together takes SQLAlchemy longer than SQLite to run it.
_ONE_VISIBLE = _visible().where(AssignmentRow.name == bindparam("assignment"))
_RELEASES = _releases()
_RELEASES_OF_ONE = _RELEASES.where(AssignmentRow.name == bindparam("assignment"))
_OWN = _own()
