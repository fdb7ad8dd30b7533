"""What teachers ask of the grading service, by way of the queue in the store: the worker has no port of its own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from gpuclass.exchange.names import identifier
from gpuclass.exchange.records import NotFound
from gpuclass.exchange.service.context import Exchange, Name, Teacher, success
from gpuclass.exchange.store import shown
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
