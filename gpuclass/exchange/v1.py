"""The exchange's own API beside ngshare's, for the client in the containers and for Formgrader; versioned by path."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from gpuclass.exchange.context import Exchange, InCourse, Name, Participant, Someone, Teacher, participant, success
from gpuclass.exchange.errors import denied
from gpuclass.exchange.ngshare import TREE, form_fields
from gpuclass.exchange.store import Standing
from gpuclass.exchange.uploads import Form
from gpuclass.exchange.wire import show_time

router = APIRouter(prefix="/gpuclass/v1", tags=["gpuclass"])


@router.get("/health")
def health() -> Response:
    """That the exchange answers; for everybody."""
    return success()


@router.get("/limits")
def limits(exchange: Exchange, caller: Someone) -> Response:
    """How much may be submitted, in bytes and files, so that a client can tell before it sends."""
    section = exchange.settings.exchange
    return success(
        submission_limit=section.submission_limit, file_limit=section.file_limit, files_limit=section.files_limit
    )


@router.get("/assignments/{course}")
def overview(exchange: Exchange, here: Participant) -> Response:
    """The course's assignments, each with its files and the caller's own submissions and how far they are."""
    own = exchange.store.standing(here.course, here.login)
    return success(
        assignments=[
            {
                "name": name,
                "files": [file.path for file in exchange.store.released_files(here.course, name)],
                "submissions": [_shown(exchange, item) for item in own if item.submission.assignment == name],
            }
            for name in exchange.store.assignments(here.course)
        ]
    )


def _shown(exchange: Exchange, standing: Standing) -> dict[str, Any]:
    """One submission; its feedback and score only once they are released."""
    feedback = standing.feedback
    if feedback is None or not feedback.released:
        score, max_score, files = None, None, []
    else:
        score, max_score = feedback.score, feedback.max_score
        files = [{"path": file.path, "checksum": file.md5} for file in exchange.store.feedback_files(feedback)]
    return {
        "submission": standing.submission.id,
        "timestamp": show_time(standing.submission.received),
        "files": [file.path for file in exchange.store.files(standing.submission)],
        "state": standing.state,
        "score": score,
        "max_score": max_score,
        "feedback": files,
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
def job(exchange: Exchange, caller: Someone, job_id: int) -> Response:
    """How far a grading job is: waiting, running, done or failed, and then why (instructors)."""
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
