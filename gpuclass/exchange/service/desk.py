"""What teachers ask of the exchange beside ngshare's API: deadlines, extensions, and how far all submissions are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from gpuclass.exchange.records import NotFound, Standing
from gpuclass.exchange.service.context import Context, Exchange, InCourse, Name, Participant, Teacher, success
from gpuclass.exchange.service.errors import Refusal
from gpuclass.exchange.service.ngshare import form_fields
from gpuclass.exchange.service.uploads import Form
from gpuclass.exchange.store.deadlines import Deadline, Deadlines
from gpuclass.exchange.wire import read_time, show_time

router = APIRouter(prefix="/gpuclass/v1", tags=["gpuclass"])

YEARS = range(1970, 3000)  # others are typing errors, and written with another number of digits
DUE = form_fields(due="ISO 8601 with a zone, or ngshare's form of UTC; empty takes the deadline away")


@router.get("/deadlines/{course}")
def deadlines(exchange: Exchange, here: Participant) -> Response:
    """Until when each assignment can be handed in; a student's own, for instructors with all extensions.

    An assignment that never had a deadline is not in the list; in a student's, none that has no deadline now.
    """
    known = Deadlines(exchange.store).all(here.course)
    if here.teaches:
        return success(deadlines=[_shown(name, deadline) for name, deadline in sorted(known.items())])
    released = exchange.store.assignments(here.course)
    own = {name: Deadline(known[name].of(here.login)) for name in released if name in known}
    own = {name: deadline for name, deadline in own.items() if deadline.due}  # else somebody has an extension of none
    return success(deadlines=[_shown(name, deadline) for name, deadline in sorted(own.items())])


@router.put("/deadline/{course}/{assignment}", openapi_extra=DUE)
async def set_deadline(request: Request, exchange: Exchange, here: Teacher, assignment: Name) -> Response:
    """Set until when the class can hand in, or take it away (instructors). Answers with the deadline as it is now."""
    return await _set(request, exchange, here, assignment, None)


@router.put("/deadline/{course}/{assignment}/{student}", openapi_extra=DUE)
async def set_extension(
    request: Request, exchange: Exchange, here: Teacher, assignment: Name, student: Name
) -> Response:
    """Let one student hand in longer, or take that away (instructors). Answers with the deadline as it is now."""
    if student not in here.members:
        raise NotFound("student")
    return await _set(request, exchange, here, assignment, student)


@router.get("/submissions/{course}/{assignment}")
def submissions(exchange: Exchange, here: Teacher, assignment: Name) -> Response:
    """All submissions to an assignment in the order they came, and how far each is (instructors)."""
    deadline = Deadlines(exchange.store).of(here.course, assignment)
    found = exchange.store.standings(here.course, assignment)
    return success(
        now=show_time(exchange.store.clock()),
        version=exchange.store.newest_version(here.course, assignment),
        due=_time(deadline.due),
        submissions=[_listed(standing, deadline) for standing in found],
    )


async def _set(request: Request, exchange: Context, here: InCourse, assignment: str, student: str | None) -> Response:
    store = Deadlines(exchange.store)

    def put(form: Form) -> Deadline:
        store.put(here.course, assignment, _due(form), by=here.login, student=student)
        return store.of(here.course, assignment)

    return success(**_shown(assignment, await exchange.uploads.form(request, here.login, put)))


def _due(form: Form) -> datetime | None:
    """The time in a form's field ``due``.

    Raises:
        Refusal: 400, there is none, or it does not say in which zone it is.
    """
    if "due" not in form:
        raise Refusal(400, "Please supply due")
    text = form["due"].decode(errors="replace").strip()
    if not text:
        return None
    try:
        due = read_time(text) if text.endswith(" UTC") else datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(400, "Time format incorrect") from None
    if due.tzinfo is None or due.year not in YEARS:
        raise Refusal(400, "Time format incorrect")
    return due.astimezone(UTC)


def _shown(assignment: str, deadline: Deadline) -> dict[str, Any]:
    extensions = {login: show_time(due) for login, due in sorted(deadline.extensions.items())}
    return {"assignment": assignment, "due": _time(deadline.due), "extensions": extensions}


def _listed(standing: Standing, deadline: Deadline) -> dict[str, Any]:
    sent, feedback = standing.submission, standing.feedback
    return {
        "submission": sent.id,
        "student_id": sent.student,
        "timestamp": show_time(sent.received),
        "version": sent.version,
        "due": _time(deadline.of(sent.student)),
        "late": deadline.late(sent.student, sent.received),
        "queued": _time(sent.queued),
        "size": sent.size,
        "state": standing.state,
        "score": feedback.score if feedback else None,
        "max_score": feedback.max_score if feedback else None,
    }


def _time(moment: datetime | None) -> str | None:
    return show_time(moment) if moment else None
