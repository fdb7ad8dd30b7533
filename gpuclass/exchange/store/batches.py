"""Grading again: first tried out in a copy of the gradebook, then applied, or cancelled.

A batch is *previewing*, then *ready*, then *applying*, then *applied*; before it is applied it may be *cancelled*.
What it says and does is in its jobs, so that a kill at any moment costs nothing but time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from gpuclass.exchange.records import NotFound
from gpuclass.exchange.store.database import Database
from gpuclass.exchange.store.progress import Stage, latest_in
from gpuclass.exchange.store.schema import AssignmentRow, BatchRow, CourseRow, JobRow, SubmissionRow
from gpuclass.exchange.store.turns import A_BATCH

BatchState = Literal["previewing", "ready", "applying", "applied", "cancelled"]
OPEN = ("previewing", "ready")
ENDED: frozenset[Stage] = frozenset(("graded", "quarantined", "failed"))
BEGUN: frozenset[Stage] = ENDED | {"running"}  # what only waits is graded with the new version anyway


class NotNow(Exception):  # noqa: N818  # the sentence reads "raise NotNow(...)"
    """The batch is in another state than this needs; the text is for a person."""


@dataclass(frozen=True)
class Cell:
    """A test or an answer whose points change; None where there is no such cell, or was none."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Change:
    """A student whose score would change, or has changed; ``before`` is None if there was none."""

    student: str
    before: float | None
    after: float
    max_score: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Batch:
    """How far a grading again is; ``total``, ``done``, ``failed`` count its previews, once it is applied its gradings.

    Attributes:
        student: whose, if of one only.
        source: digest of the instructor's version that it grades with, once that is known.
        changes: whose scores change, as far as that is known.
        unchanged: how many do not.
        failing: who could not be graded so, and why.
    """

    id: int
    course: str
    assignment: str
    student: str | None
    state: BatchState
    source: str | None
    total: int
    done: int
    failed: int
    changes: tuple[Change, ...]
    unchanged: int
    failing: tuple[tuple[str, str], ...]


class Batches:
    """The batches in the exchange's database.

    Args:
        database: the exchange's store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def preview(self, course: str, assignment: str, student: str | None, *, requested_by: str) -> int:
        """Try to grade the latest submissions again, of everybody or of one; the batch's number.

        One that is open for the assignment is cancelled: the newest question counts.

        Raises:
            NotFound: no such assignment; or nothing of it was graded yet.
            NotNow: an earlier one is being applied.
        """
        now = self._database.clock()
        with self._database.writing() as session:
            here = session.get(CourseRow, course)
            if here is None or here.hidden is not None:
                raise NotFound("course")
            if session.get(AssignmentRow, (course, assignment)) is None:
                raise NotFound("assignment")
            for earlier in session.scalars(_of(course, assignment).where(BatchRow.state.in_((*OPEN, "applying")))):
                if earlier.state == "applying":
                    raise NotNow(
                        f"Re-grade {earlier.id} of {assignment} is being applied. Wait until it is, then try again."
                    )
                _cancel(session, earlier, now)
            found = latest_in(session, now, course, assignment)
            numbers = [each.submission for each in found if each.stage in BEGUN and student in (None, each.student)]
            if not numbers:
                raise NotFound("graded submission")
            batch = BatchRow(
                course=course,
                assignment=assignment,
                student=student,
                requested_by=requested_by,
                state="previewing",
                made=now,
                changed=now,
            )
            session.add(batch)
            session.flush()
            _add(session, batch, "preview", numbers, requested_by, now)
            return batch.id

    def apply(self, number: int, *, requested_by: str) -> None:
        """Grade again what was previewed, and what came since; a batch that is applied already stays so.

        Raises:
            NotFound: no such batch.
            NotNow: it is not ready.
        """
        now = self._database.clock()
        with self._database.writing() as session:
            batch = _existing(session, number)
            if batch.state in ("applying", "applied"):
                return
            if batch.state != "ready":
                raise NotNow(_WHY[cast("BatchState", batch.state)].format(number=number))
            went_well = select(JobRow.id).where(JobRow.batch == number, JobRow.state == "done").limit(1)
            if session.scalar(went_well) is None:
                raise NotNow(f"Nothing could be graded in re-grade {number}: there is nothing to apply.")
            found = latest_in(session, now, batch.course, batch.assignment)
            numbers = [
                each.submission for each in found if each.stage in BEGUN and batch.student in (None, each.student)
            ]
            _add(session, batch, "grade", numbers, requested_by, now)
            batch.state, batch.changed = ("applying" if numbers else "applied"), now

    def cancel(self, number: int) -> None:
        """Forget a preview.

        Raises:
            NotFound: no such batch.
            NotNow: it is applied, or being applied.
        """
        with self._database.writing() as session:
            batch = _existing(session, number)
            if batch.state in ("applying", "applied"):
                raise NotNow(f"Re-grade {number} was applied already: it cannot be cancelled any more.")
            _cancel(session, batch, self._database.clock())

    def batch(self, number: int) -> Batch:
        """How far it is.

        Raises:
            NotFound: no such batch.
        """
        with self._database.reading() as session:
            row = _existing(session, number)
            rows = session.execute(
                select(SubmissionRow.student, JobRow)
                .join(SubmissionRow, SubmissionRow.id == JobRow.submission)
                .where(JobRow.batch == number)
                .order_by(SubmissionRow.student, JobRow.id)
            ).all()
            counted = "grade" if row.state in ("applying", "applied") else "preview"
            jobs = [(student, job) for student, job in rows if job.kind == counted]
            changes = [_change(student, job.result) for student, job in rows if job.kind == "preview" and job.result]
            return Batch(
                row.id,
                row.course,
                row.assignment,
                row.student,
                cast("BatchState", row.state),
                row.source,
                total=len(jobs),
                done=sum(job.state in ("done", "failed") for _, job in jobs),
                failed=sum(job.state == "failed" for _, job in jobs),
                changes=tuple(change for change in changes if change is not None),
                unchanged=changes.count(None),
                failing=tuple((student, job.error or "") for student, job in jobs if job.state == "failed"),
            )

    def applied(self, course: str, assignment: str) -> int:
        """The newest batch of an assignment that was applied, to the end or not; 0 for none."""
        with self._database.reading() as session:
            wanted = _of(course, assignment).where(BatchRow.state.in_(("applying", "applied")))
            newest = session.scalar(wanted.order_by(BatchRow.id.desc()).limit(1))
            return newest.id if newest else 0

    def note_source(self, number: int, source: str) -> None:
        """Keep with which instructor's version a batch grades."""
        with self._database.writing() as session:
            _existing(session, number).source = source

    def is_over(self, number: int) -> bool:
        """Whether nothing of a batch will run any more. Of one that nobody knows, nobody can tell."""
        with self._database.reading() as session:
            row = session.get(BatchRow, number)
            running = select(JobRow.id).where(JobRow.batch == number, JobRow.state == "running").limit(1)
            return row is not None and row.state in ("applied", "cancelled") and session.scalar(running) is None


_WHY: dict[BatchState, str] = {
    "previewing": "Re-grade {number} is still being tried out. Wait until it is ready, then apply it.",
    "cancelled": "Re-grade {number} was cancelled, perhaps for a newer one. Ask for it again.",
}


def _of(course: str, assignment: str) -> Any:
    return select(BatchRow).where(BatchRow.course == course, BatchRow.assignment == assignment)


def _existing(session: Session, number: int) -> BatchRow:
    row = session.get(BatchRow, number)
    if row is None:
        raise NotFound("re-grade")
    return row


def _add(session: Session, batch: BatchRow, kind: str, submissions: list[int], by: str, now: Any) -> None:
    for number in submissions:
        session.add(
            JobRow(
                submission=number,
                requested_by=by,
                state="waiting",
                queued=now,
                priority=A_BATCH,
                kind=kind,
                batch=batch.id,
            )
        )


def _cancel(session: Session, batch: BatchRow, now: Any) -> None:
    """What waits is not begun; what runs ends by itself, and nobody reads it."""
    if batch.state != "cancelled":
        batch.state, batch.changed = "cancelled", now
        waiting = update(JobRow).where(JobRow.batch == batch.id, JobRow.state == "waiting")
        session.execute(waiting.values(state="done", finished=now))


def _change(student: str, result: dict[str, Any]) -> Change | None:
    before, after = result["before"], result["after"]
    earlier: dict[str, float] = before["cells"] if before else {}
    cells = tuple(
        Cell(name, earlier.get(name), after["cells"].get(name))
        for name in sorted({*earlier, *after["cells"]})
        if earlier.get(name) != after["cells"].get(name)
    )
    same = before is not None and (before["score"], before["max_score"]) == (after["score"], after["max_score"])
    if same and not cells:
        return None
    return Change(student, before["score"] if before else None, after["score"], after["max_score"], cells)
