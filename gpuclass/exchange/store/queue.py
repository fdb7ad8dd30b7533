"""Submissions to be graded, in line. Jobs are claimed by workers in other processes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, aliased

from gpuclass.exchange.records import Job, Kind, NotFound, Outcome, State
from gpuclass.exchange.store.checks import Checks
from gpuclass.exchange.store.schema import JobRow, SubmissionRow

SERVED_LATELY = timedelta(minutes=10)  # what was begun before does not count in whose turn it is
ATTEMPTS_LIMIT = 3  # a submission whose grading killed the worker so often waits for a person


class Queue(Checks):
    """The jobs in the database: waiting, running, done or failed."""

    def enqueue(self, course: str, assignment: str, student: str, *, requested_by: str) -> int:
        """Have a student's latest submission graded (again); returns the job's number.

        Raises:
            NotFound: there is no submission.
        """
        with self.writing() as session:
            latest = latest_of(session, course, assignment, student)
            if latest is None:
                raise NotFound("submission")
            job = JobRow(submission=latest.id, requested_by=requested_by, state="waiting", queued=self.clock())
            session.add(job)
            session.flush()
            return job.id

    def claim(self) -> Job | None:
        """A waiting job, now running; None when there is nothing to do.

        The next is that of the student for whom a job was begun longest ago; of these the oldest. So the class does not
        wait for one who submits all the time. Two jobs for one student and assignment never run at the same time: they
        share folders in the course.
        """
        taken, busy = aliased(JobRow), aliased(SubmissionRow)
        same_work_runs = (
            select(taken.id)
            .join(busy, busy.id == taken.submission)
            .where(
                taken.state == "running",
                busy.course == SubmissionRow.course,
                busy.assignment == SubmissionRow.assignment,
                busy.student == SubmissionRow.student,
            )
            .exists()
        )
        begun, whose = aliased(JobRow), aliased(SubmissionRow)
        served = (
            select(whose.student, func.max(begun.started).label("last"))
            .join(whose, whose.id == begun.submission)
            .where(begun.started > self.clock() - SERVED_LATELY)
            .group_by(whose.student)
            .subquery()
        )
        with self.writing() as session:
            if session.scalar(select(JobRow.id).where(JobRow.state == "waiting").limit(1)) is None:
                return None
            found = session.execute(
                select(JobRow, SubmissionRow)
                .join(SubmissionRow, SubmissionRow.id == JobRow.submission)
                .outerjoin(served, served.c.student == SubmissionRow.student)
                .where(JobRow.state == "waiting", ~same_work_runs)
                .order_by(served.c.last.nulls_first(), JobRow.id)
                .limit(1)
            ).first()
            if found is None:
                return None
            job, submission = found
            job.state, job.started, job.attempts = "running", self.clock(), job.attempts + 1
            return _job(job, submission)

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
            return count

    def finish(self, job_id: int, *, error: str | None = None) -> None:
        """Mark a job done or, with a reason, failed."""
        with self.writing() as session:
            job = _existing_job(session, job_id)
            job.state, job.error, job.finished = ("failed" if error else "done"), error, self.clock()

    def job(self, job_id: int) -> Job:
        """One job by its number.

        Raises:
            NotFound: there is none.
        """
        with self.reading() as session:
            job = _existing_job(session, job_id)
            submission = session.get_one(SubmissionRow, job.submission)
            return _job(job, submission)


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
