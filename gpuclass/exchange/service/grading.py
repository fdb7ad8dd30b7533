"""What teachers ask of the grading service, by way of the queue in the store: the worker has no port of its own.

Nothing here changes a score but `apply`, and that only through the worker.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from gpuclass.exchange.names import identifier
from gpuclass.exchange.records import NotFound
from gpuclass.exchange.service.context import Context, Exchange, InCourse, Name, Teacher, success
from gpuclass.exchange.service.ngshare import form_fields
from gpuclass.exchange.service.uploads import Form
from gpuclass.exchange.store import shown
from gpuclass.exchange.store.batches import Batch, Batches
from gpuclass.exchange.store.progress import latest
from gpuclass.exchange.store.workers import Workers

router = APIRouter(prefix="/gpuclass/v1", tags=["gpuclass"])

Number = Annotated[int, Path(ge=1, lt=2**63)]  # what the database can count to


@router.get("/grading/{course}")
def progress(exchange: Exchange, here: Teacher) -> Response:
    """How far the course's grading is: of each student the latest submission (instructors).

    Why it failed, or was put aside for a person, is said by student; whether a worker is at work, too.
    """
    return success(**shown.progress(latest(exchange.store, here.course), Workers(exchange.store).life()))


@router.post("/check/{course}/{assignment}")
def request_check(exchange: Exchange, here: Teacher, assignment: Name) -> Response:
    """Have the instructor's version of an assignment checked, released or not (instructors).

    While one for the same assignment waits, it is that one.
    """
    return success(check=exchange.store.request_check(here.course, identifier(assignment), here.login))


@router.get("/check/{course}/{assignment}/{check_id}")
def check(exchange: Exchange, here: Teacher, assignment: Name, check_id: Number) -> Response:
    """How far a check is: waiting, running, done or failed, and then what it found (instructors)."""
    found = exchange.store.check(check_id)
    if (found.course, found.assignment) != (here.course, assignment):
        raise NotFound("check")
    return success(state=found.state, report=found.report)


@router.post("/regrade/{course}/{assignment}", openapi_extra=form_fields(student="login; without it everybody"))
async def preview(request: Request, exchange: Exchange, here: Teacher, assignment: Name) -> Response:
    """Try to grade the latest submissions again, in a copy of the gradebook; no score changes (instructors).

    With the instructor's version as it is in the course folder then. One that was tried out for this assignment and not
    applied is cancelled.
    """

    def make(form: Form) -> int:
        student = form.get("student", b"").decode(errors="replace").strip() or None
        if student is not None and student not in here.members:
            raise NotFound("student")
        return Batches(exchange.store).preview(here.course, assignment, student, requested_by=here.login)

    return success(batch=await exchange.uploads.form(request, here.login, make))


@router.get("/regrade/{course}/{assignment}/{batch}")
def regrade(exchange: Exchange, here: Teacher, assignment: Name, batch: Number) -> Response:
    """How far a grading again is, and whose score changes by it, test by test (instructors)."""
    return success(**shown.batch(_batch(exchange, here, assignment, batch)))


@router.post("/regrade/{course}/{assignment}/{batch}/apply")
def apply(exchange: Exchange, here: Teacher, assignment: Name, batch: Number) -> Response:
    """Have a grading again that is ready applied: the version it was tried with comes into force (instructors)."""
    _batch(exchange, here, assignment, batch)
    Batches(exchange.store).apply(batch, requested_by=here.login)
    return success()


@router.post("/regrade/{course}/{assignment}/{batch}/cancel")
def cancel(exchange: Exchange, here: Teacher, assignment: Name, batch: Number) -> Response:
    """Forget a grading again that was not applied (instructors)."""
    _batch(exchange, here, assignment, batch)
    Batches(exchange.store).cancel(batch)
    return success()


def _batch(exchange: Context, here: InCourse, assignment: str, number: int) -> Batch:
    found = Batches(exchange.store).batch(number)
    if (found.course, found.assignment) != (here.course, assignment):
        raise NotFound("re-grade")
    return found
