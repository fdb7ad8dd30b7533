"""Everybody's newest submissions and how far their grading is, as the exchange has them.

A class that hands in changes the exchange's database every second. So only what was added since is read again, by the
numbers of rows, which rise, and the jobs that can still change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session, aliased

from gpuclass.desk.board.snapshot import Stage, Work
from gpuclass.exchange.store.schema import AssignmentRow, CourseRow, FeedbackRow, JobRow, ReleaseRow, SubmissionRow
from gpuclass.exchange.store.store import Store

AT_ONCE = 300  # submissions; beyond, one pass over all of them is faster
NOTHING: Mapping[str, Work] = {}


class Submissions:
    """The newest submission of each student to each assignment; ``read`` brings it up to now."""

    def __init__(self, store: Store, course: str) -> None:
        self._store = store
        self._course = course
        self.assignments: tuple[str, ...] = ()
        self._work: dict[str, Mapping[str, Work]] = {}
        self._newest: dict[tuple[str, str], int] = {}  # submission by login and assignment
        self._known = _Known()

    def of(self, login: str) -> Mapping[str, Work]:
        """Somebody's work by assignment. What is read later is in another object, so a snapshot keeps what it has."""
        return self._work.get(login, NOTHING)

    def read(self) -> None:
        """Read what was added or has changed; the first time, everything."""
        with self._store.reading() as session:
            self.assignments = tuple(session.scalars(_ASSIGNMENTS, {"course": self._course}))
            changed, known = self._known.later(session)
            if len(changed) > AT_ONCE:
                rows = session.execute(_NEWEST, {"course": self._course}).all()
            else:
                rows = session.execute(_OF_THESE, {"course": self._course, "ids": sorted(changed)}).all()
        for row in rows:
            self._take(row)
        self._known = known

    def _take(self, row: Any) -> None:
        place = row.student, row.assignment
        if row.id < self._newest.get(place, 0):
            return
        self._newest[place] = row.id
        work = Work(_stage(row.state, row.status), row.received, row.score, row.max_score)
        self._work[row.student] = {**self.of(row.student), row.assignment: work}


@dataclass(frozen=True)
class _Known:
    """How far the tables were read: the last row of each, and the jobs that had not ended."""

    submission: int = 0
    job: int = 0
    note: int = 0
    open: frozenset[int] = frozenset()

    def later(self, session: Session) -> tuple[set[int], _Known]:
        """Submissions about which there is something new, and how far this reads."""
        added = list(session.scalars(select(SubmissionRow.id).where(SubmissionRow.id > self.submission)))
        jobs = session.execute(
            select(JobRow.id, JobRow.submission).where(JobRow.id > self.job, JobRow.kind == "grade")
        ).all()
        notes = session.execute(select(FeedbackRow.id, FeedbackRow.submission).where(FeedbackRow.id > self.note)).all()
        open_ = frozenset(session.scalars(_OPEN))
        changed = {*added, *(row.submission for row in (*jobs, *notes)), *self.open, *open_}
        return changed, _Known(
            max(added, default=self.submission),
            max((row.id for row in jobs), default=self.job),
            max((row.id for row in notes), default=self.note),
            open_,
        )


def _stage(state: str | None, status: str | None) -> Stage:
    if state is None:
        return "none"
    if state == "done":
        return "quarantined" if status == "quarantined" else "graded"
    return cast("Stage", state)


_ASSIGNMENTS = (
    select(AssignmentRow.name)
    .join(CourseRow, CourseRow.name == AssignmentRow.course)
    .where(
        AssignmentRow.course == bindparam("course"),
        AssignmentRow.hidden.is_(None),
        CourseRow.hidden.is_(None),
        select(ReleaseRow.id)
        .where(ReleaseRow.course == AssignmentRow.course, ReleaseRow.assignment == AssignmentRow.name)
        .exists(),
    )
    .order_by(AssignmentRow.name)
)
_LATER, _JOB, _NOTE = aliased(SubmissionRow), aliased(JobRow), aliased(FeedbackRow)
_ROWS = (
    select(
        SubmissionRow.id,
        SubmissionRow.student,
        SubmissionRow.assignment,
        SubmissionRow.received,
        JobRow.state,
        JobRow.status,
        FeedbackRow.score,
        FeedbackRow.max_score,
    )
    .select_from(SubmissionRow)
    .outerjoin(
        JobRow,
        JobRow.id
        == select(func.max(_JOB.id)).where(_JOB.submission == SubmissionRow.id, _JOB.kind == "grade").scalar_subquery(),
    )
    .outerjoin(
        FeedbackRow,
        FeedbackRow.id == select(func.max(_NOTE.id)).where(_NOTE.submission == SubmissionRow.id).scalar_subquery(),
    )
    .where(SubmissionRow.course == bindparam("course"))
)
_NEWEST = _ROWS.where(
    SubmissionRow.id.in_(
        select(func.max(_LATER.id))
        .where(_LATER.course == bindparam("course"))
        .group_by(_LATER.assignment, _LATER.student)
    )
)
_OF_THESE = _ROWS.where(SubmissionRow.id.in_(bindparam("ids", expanding=True))).order_by(SubmissionRow.id)
_OPEN = select(JobRow.submission).where(JobRow.state.in_(("waiting", "running")), JobRow.kind == "grade")
