"""Submissions to be graded, in line. Jobs are claimed by workers in other processes; `turns` says which is next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from gpuclass.exchange.records import Job, Kind, NotFound, Outcome, State
from gpuclass.exchange.store.checks import Checks
from gpuclass.exchange.store.schema import BatchRow, JobRow, SubmissionRow
from gpuclass.exchange.store.turns import AN_INSTRUCTOR, SERVED_LATELY, Waiting, line

ATTEMPTS_LIMIT = 3  # a submission whose grading killed the worker so often waits for a person
THEN = {"previewing": "ready", "applying": "applied"}  # what a batch becomes when its last job has ended


class Queue(Checks):
    """The jobs in the database: waiting, running, done or failed."""

    def enqueue(self, course: str, assignment: str, student: str, *, requested_by: str) -> int:
        """Have a student's latest submission graded (again); returns the job's number.

        One that waits already is that job, and need not wait for the hour to allow it: somebody asked for it.

        Raises:
            NotFound: there is no submission.
        """
        with self.writing() as session:
            latest = latest_of(session, course, assignment, student)
            if latest is None:
                raise NotFound("submission")
            of_this = JobRow.submission.in_(
                select(SubmissionRow.id).where(*submissions_of(course, assignment, student))
            )
            waiting = (of_this, JobRow.state == "waiting", JobRow.kind == "grade")
            session.execute(update(JobRow).where(*waiting).values(not_before=None))
            job = session.scalar(select(JobRow).where(*waiting, JobRow.submission == latest.id).limit(1))
            if job is None:
                job = JobRow(
                    submission=latest.id,
                    requested_by=requested_by,
                    state="waiting",
                    queued=self.clock(),
                    priority=AN_INSTRUCTOR,
                )
                session.add(job)
                session.flush()
            job.priority = min(job.priority, AN_INSTRUCTOR)
            return job.id

    def claim(self) -> Job | None:
        """The job whose turn it is, now running; None when there is nothing to do.

        Two jobs for one student and assignment never run at the same time: they share folders in the course.
        """
        if not self._anything():
            return None  # nearly always: without the write lock
        with self.writing() as session:
            running = {
                tuple(work)
                for work in session.execute(
                    select(SubmissionRow.course, SubmissionRow.assignment, SubmissionRow.student)
                    .join(JobRow, JobRow.submission == SubmissionRow.id)
                    .where(JobRow.state == "running")
                )
            }
            for turn in line(_waiting(session), _served(session, self.clock()), self.clock()):
                if turn.work not in running:
                    job = session.get_one(JobRow, turn.id)
                    job.state, job.started, job.attempts = "running", self.clock(), job.attempts + 1
                    return _job(job, session.get_one(SubmissionRow, job.submission))
            return None

    def places(self) -> dict[int, int]:
        """How many jobs are before each submission that waits for its grading and may begin."""
        with self.reading() as session:
            turns = line(_waiting(session), _served(session, self.clock()), self.clock())
        found: dict[int, int] = {}
        for place, turn in enumerate(turns):
            if turn.kind == "grade":
                found.setdefault(turn.submission, place)
        return found

    def requeue_running(self) -> int:
        """Put back the jobs that a killed worker left running; returns how many were running.

        A job that was started ``ATTEMPTS_LIMIT`` times fails instead, so that one submission cannot stop the others.
        """
        self.requeue_checks()
        running = update(JobRow).where(JobRow.state == "running")
        reason = f"the grading worker died {ATTEMPTS_LIMIT} times while it graded this submission"
        with self.writing() as session:
            count = session.scalar(select(func.count()).where(JobRow.state == "running")) or 0
            session.execute(
                running.where(JobRow.attempts >= ATTEMPTS_LIMIT).values(
                    state="failed", error=reason, finished=self.clock()
                )
            )
            session.execute(running.values(state="waiting"))
            for number in session.scalars(select(BatchRow.id).where(BatchRow.state.in_(THEN))).all():
                _end_batch(session, number, self.clock())
            return count

    def finish(
        self,
        job_id: int,
        *,
        error: str | None = None,
        status: Outcome | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        """Mark a job done or, with a reason, failed, and keep what came of it.

        A job that has ended stays what it is: somebody cancelled it meanwhile.
        """
        with self.writing() as session:
            job = _existing_job(session, job_id)
            if job.state in ("waiting", "running"):
                job.state, job.error, job.finished = ("failed" if error else "done"), error, self.clock()
                job.status, job.result = status, result
                session.flush()
                _end_batch(session, job.batch, self.clock())

    def job(self, job_id: int) -> Job:
        """One job by its number.

        Raises:
            NotFound: there is none.
        """
        with self.reading() as session:
            job = _existing_job(session, job_id)
            submission = session.get_one(SubmissionRow, job.submission)
            return _job(job, submission)

    def _anything(self) -> bool:
        with self.reading() as session:
            return session.scalar(select(JobRow.id).where(JobRow.state == "waiting").limit(1)) is not None


def _waiting(session: Session) -> list[Waiting]:
    rows = session.execute(
        select(
            JobRow.id,
            SubmissionRow.course,
            SubmissionRow.assignment,
            SubmissionRow.student,
            JobRow.submission,
            JobRow.kind,
            JobRow.priority,
            JobRow.queued,
            JobRow.not_before,
        )
        .join(SubmissionRow, SubmissionRow.id == JobRow.submission)
        .where(JobRow.state == "waiting")
    )
    return [
        Waiting(
            row.id,
            (row.course, row.assignment, row.student),
            row.submission,
            cast("Kind", row.kind),
            row.priority,
            row.queued,
            row.not_before,
        )
        for row in rows
    ]


def _served(session: Session, now: datetime) -> Mapping[str, datetime]:
    """When a job of each student's own was begun last; what was graded again for a batch is no turn of theirs."""
    rows = session.execute(
        select(SubmissionRow.student, func.max(JobRow.started))
        .join(SubmissionRow, SubmissionRow.id == JobRow.submission)
        .where(JobRow.started > now - SERVED_LATELY, JobRow.batch.is_(None))
        .group_by(SubmissionRow.student)
    )
    return {student: last for student, last in rows if last is not None}


def _end_batch(session: Session, number: int | None, now: datetime) -> None:
    """Move a batch on when none of its jobs is left."""
    batch = None if number is None else session.get_one(BatchRow, number)
    if batch is None or batch.state not in THEN:
        return
    left = select(JobRow.id).where(JobRow.batch == number, JobRow.state.in_(("waiting", "running"))).limit(1)
    if session.scalar(left) is None:
        batch.state, batch.changed = THEN[batch.state], now


def submissions_of(course: str, assignment: str, student: str) -> Sequence[Any]:
    """The condition under which a submission is this student's to this assignment."""
    return (
        SubmissionRow.course == course,
        SubmissionRow.assignment == assignment,
        SubmissionRow.student == student,
    )


def latest_of(session: Session, course: str, assignment: str, student: str) -> SubmissionRow | None:
    """The submission that came last."""
    return session.scalar(
        select(SubmissionRow)
        .where(*submissions_of(course, assignment, student))
        .order_by(SubmissionRow.id.desc())
        .limit(1)
    )


def _existing_job(session: Session, job_id: int) -> JobRow:
    job = session.get(JobRow, job_id)
    if job is None:
        raise NotFound("job")
    return job


def _job(row: JobRow, submission: SubmissionRow) -> Job:
    return Job(
        row.id,
        submission.course,
        submission.assignment,
        submission.student,
        row.requested_by,
        cast("State", row.state),
        row.error,
        submission.id,
        cast("Kind", row.kind),
        row.batch,
        row.not_before,
        cast("Outcome | None", row.status),
        row.result,
    )
