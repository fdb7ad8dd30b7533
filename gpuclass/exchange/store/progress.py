"""How far a course's grading is: of each student the latest submission, of that the newest grading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from gpuclass.exchange.store.database import Database
from gpuclass.exchange.store.schema import JobRow, SubmissionRow

Stage = Literal["waiting", "delayed", "running", "graded", "quarantined", "failed", "none"]


@dataclass(frozen=True)
class Latest:
    """One student's latest submission to an assignment.

    ``stage`` is ``none`` if nobody asked for it to be graded, as after an import; ``reason`` is why it failed or is
    quarantined.
    """

    assignment: str
    student: str
    submission: int
    job: int | None
    stage: Stage
    reason: str


@dataclass(frozen=True)
class Count:
    """How many students' latest submissions to an assignment are how far; ``submitted`` counts them all."""

    name: str
    submitted: int
    waiting: int
    delayed: int
    running: int
    graded: int
    quarantined: int
    failed: int


def latest(database: Database, course: str) -> list[Latest]:
    """How far each is, by assignment and student."""
    with database.reading() as session:
        return latest_in(session, database.clock(), course)


def latest_in(session: Session, now: datetime, course: str, assignment: str | None = None) -> list[Latest]:
    """The same within a transaction; of one assignment, or of all."""
    job, newest = aliased(JobRow), select(func.max(SubmissionRow.id)).where(SubmissionRow.course == course)
    if assignment is not None:
        newest = newest.where(SubmissionRow.assignment == assignment)
    newest = newest.group_by(SubmissionRow.assignment, SubmissionRow.student)
    newest_job = select(func.max(job.id)).where(job.submission == SubmissionRow.id, job.kind == "grade")
    rows = session.execute(
        select(SubmissionRow.assignment, SubmissionRow.student, SubmissionRow.id, JobRow)
        .outerjoin(JobRow, JobRow.id == newest_job.scalar_subquery())
        .where(SubmissionRow.id.in_(newest))
        .order_by(SubmissionRow.assignment, SubmissionRow.student)
    )
    return [
        Latest(name, student, number, found.id if found else None, _stage(found, now), _reason(found))
        for name, student, number, found in rows
    ]


def counts(found: Sequence[Latest]) -> list[Count]:
    """The same as numbers, by assignment."""
    shown = []
    for name in dict.fromkeys(each.assignment for each in found):
        stages = Counter(each.stage for each in found if each.assignment == name)
        shown.append(
            Count(
                name,
                submitted=stages.total(),
                waiting=stages["waiting"],
                delayed=stages["delayed"],
                running=stages["running"],
                graded=stages["graded"],
                quarantined=stages["quarantined"],
                failed=stages["failed"],
            )
        )
    return shown


def _stage(job: JobRow | None, now: datetime) -> Stage:
    if job is None:
        return "none"
    match job.state:
        case "waiting":
            return "delayed" if job.not_before is not None and job.not_before > now else "waiting"
        case "running":
            return "running"
        case "failed":
            return "failed"
    return "quarantined" if job.status == "quarantined" else "graded"


def _reason(job: JobRow | None) -> str:
    if job is None:
        return ""
    result: dict[str, Any] = job.result or {}
    return job.error or (str(result.get("reason", "")) if job.status == "quarantined" else "")
