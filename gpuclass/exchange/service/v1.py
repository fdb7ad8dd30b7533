"""The exchange's own API beside ngshare's, for the client in the containers and for Formgrader; versioned by path."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse

from gpuclass.exchange.opening import opening
from gpuclass.exchange.service.context import (
    Admin,
    Context,
    Exchange,
    InCourse,
    Name,
    Participant,
    Someone,
    Teacher,
    participant,
    success,
)
from gpuclass.exchange.service.errors import denied
from gpuclass.exchange.service.ngshare import TREE, form_fields, known_pages
from gpuclass.exchange.service.uploads import Form
from gpuclass.exchange.store.deadlines import Deadline, Deadlines
from gpuclass.exchange.store.reading import Own, Released, own_submissions, releases
from gpuclass.exchange.wire import show_time

router = APIRouter(prefix="/gpuclass/v1", tags=["gpuclass"])

JobId = Annotated[int, Path(ge=1, lt=2**63)]  # what the database can count to


@router.get("/health")
def health(exchange: Exchange) -> Response:
    """Whether submissions can be taken; for everybody, so it tells a reason and nothing more."""
    trouble = exchange.health.trouble()
    if trouble is None:
        return success()
    return JSONResponse({"success": False, "message": "The exchange cannot store", "reason": trouble}, 503)


@router.get("/metrics")
def metrics(exchange: Exchange, caller: Admin) -> Response:
    """Metrics in Prometheus format (admins)."""
    return Response(exchange.meters.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/limits")
def limits(exchange: Exchange, caller: Someone) -> Response:
    """How much may be submitted, in bytes and files, so that a client can tell before it sends."""
    return success(**_limits(exchange))


@router.get("/assignments/{course}")
def overview(exchange: Exchange, here: Participant) -> Response:
    """All that a client needs before it fetches or submits.

    The course's assignments with their files and the caller's deadline, the caller's own submissions and how far each
    is, and the limits.
    """
    deadlines = Deadlines(exchange.store).all(here.course)
    released = releases(exchange.store, here.course)
    policy, now = exchange.settings.grading.feedback, exchange.store.clock()
    due_of = {each.assignment: deadlines.get(each.assignment, Deadline()).of(here.login) for each in released}
    opens = {name: opening(policy, due, now) for name, due in due_of.items()}
    opened = [name for name, when in opens.items() if when == "now"]
    own: defaultdict[str, list[Own]] = defaultdict(list)
    for submission in own_submissions(exchange.store, here.course, here.login, opened=opened):
        own[submission.assignment].append(submission)
    assignments = []
    for release in released:
        deadline, due = deadlines.get(release.assignment, Deadline()), due_of[release.assignment]
        assignments.append(
            {
                "name": release.assignment,
                "version": release.version,
                "released": show_time(release.released),
                "due": None if due is None else show_time(due),
                "feedback_opens": opens[release.assignment],
                "files": [file.path for file in release.files],
                "release_files": [
                    {"path": file.path, "checksum": file.md5, "size": file.size} for file in release.files
                ],
                "submissions": [_shown(each, release, deadline, here.login) for each in own[release.assignment]],
            }
        )
    return success(now=show_time(now), limits=_limits(exchange), assignments=assignments)


def _limits(exchange: Context) -> dict[str, int]:
    section = exchange.settings.exchange
    return {
        "submission_limit": section.submission_limit,
        "file_limit": section.file_limit,
        "files_limit": section.files_limit,
    }


def _shown(own: Own, release: Released, deadline: Deadline, login: str) -> dict[str, Any]:
    """One submission."""
    return {
        "submission": own.id,
        "timestamp": show_time(own.received),
        "version": own.version,
        "late": deadline.late(login, own.received),
        "queued": None if own.queued is None else show_time(own.queued),
        "size": own.size,
        "files": [file.path for file in own.files],
        "state": own.state,
        "not_before": None if own.not_before is None else show_time(own.not_before),
        "place": own.place,
        "status": own.status,
        "score": own.score,
        "max_score": own.max_score,
        "feedback": [
            {"path": file.path, "checksum": file.md5} for file in known_pages(own.feedback, release.notebooks)
        ],
    }


@router.put("/assignment/{course}/{assignment}", openapi_extra=form_fields(files=TREE))
async def release_again(request: Request, exchange: Exchange, here: Teacher, assignment: Name) -> Response:
    """Release an assignment, also one that is released already (instructors). Every submission is kept."""

    def release(form: Form) -> int:
        return exchange.store.release(here.course, assignment, exchange.uploads.files(form), by=here.login, again=True)

    return success(version=await exchange.uploads.tree(request, here.login, release))


@router.post("/grading/{course}/{assignment}/{student}")
def grade(exchange: Exchange, here: Teacher, assignment: Name, student: Name) -> Response:
    """Have a student's latest submission graded, again if need be (instructors)."""
    return success(job=exchange.store.enqueue(here.course, assignment, student, requested_by=here.login))


@router.get("/grading/jobs/{job_id}")
def job(exchange: Exchange, caller: Someone, job_id: JobId) -> Response:
    """How far a grading job is: waiting, running, done or failed, and then why (instructors)."""
    if not (caller.admin or exchange.courses.teaches(caller.login)):
        raise denied()  # before it is looked up: else anybody could count the class's submissions
    found = exchange.store.job(job_id)
    here: InCourse = participant(exchange, caller, found.course)
    if not here.teaches:
        raise denied()
    return success(
        job=found.id,
        assignment=found.assignment,
        student=found.student,
        state=found.state,
        error=found.error,
    )
