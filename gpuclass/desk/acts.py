"""What a teacher or mentor does to one student: their server, their card, their deadline.

Every act is asked back first, on a page that says what will happen, and stands in the audit before it is done; one that
failed stands there as failed too. Who may do it to whom is decided by ``context.student`` and by the act's own roles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gpuclass.desk.context import NOT_YOURS, Desk, Helper, Refused, Student, TheDesk
from gpuclass.desk.hubapi import HubRefused
from gpuclass.desk.pages import HEADERS, HELPERS, N_, TEACHERS
from gpuclass.desk.session import PREFIX
from gpuclass.desk.student import assignments, server
from gpuclass.errors import PlainError
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.exchange.when import moment
from gpuclass.gpus.model import Mode
from gpuclass.passwords import digest, generate
from gpuclass.roster import Person, Role

router = APIRouter()

STOPS_WITHIN_S = 60.0
LOOKS_EVERY_S = 0.5
AUDIT_SHOWN = 20


@dataclass(frozen=True)
class Act:
    """Something that can be done to one student.

    Attributes:
        name: in the address and in the audit.
        button: what the button says.
        question: what will happen, asked back; ``{name}`` is the student.
        done: what is said afterwards.
        roles: who may, of those who may see the student at all.
        danger: whether something is lost by it.
    """

    name: str
    button: str
    question: str
    done: str
    roles: frozenset[Role] = HELPERS
    danger: bool = False


ACTS = {
    act.name: act
    for act in (
        Act(
            "start",
            N_("Start the server"),
            N_("Start {name}'s server? They wait in the queue like everybody else."),
            N_("The server of {name} is on its way."),
        ),
        Act(
            "restart",
            N_("Restart the server"),
            N_("Restart {name}'s server? What is running stops and unsaved changes are lost; saved files stay."),
            N_("The server of {name} is starting anew."),
            danger=True,
        ),
        Act(
            "stop",
            N_("Stop the server"),
            N_("Stop {name}'s server? What is running stops and unsaved changes are lost; saved files stay."),
            N_("The server of {name} is stopped."),
            danger=True,
        ),
        Act(
            "give-seat",
            N_("Restart on a GPU"),
            N_("Restart {name}'s server on a GPU seat? What is running stops; they wait if no seat is free."),
            N_("{name} gets a GPU seat as soon as one is free."),
            TEACHERS,
            danger=True,
        ),
        Act(
            "take-seat",
            N_("Restart on the CPU"),
            N_("Take {name}'s GPU seat? The server restarts on the CPU: what is running stops, saved files stay."),
            N_("{name}'s GPU seat is free again."),
            TEACHERS,
            danger=True,
        ),
        Act(
            "card",
            N_("New card"),
            N_("Give {name} a new password? The old one is refused from then on. Who is logged in stays so."),
            N_("Write this down for {name}. It is shown only now."),
            danger=True,
        ),
        Act(
            "deadline",
            N_("More time"),
            N_("How much more time does {name} get? It counts from now."),
            N_("{name} has more time."),
            TEACHERS,
        ),
        Act(
            "visit",
            N_("Open their Lab"),
            N_("Open {name}'s Lab? You are there as they are: what you save is in their files. It is written down."),
            "",
            TEACHERS,
        ),
    )
}


def offered(desk: Desk, person: Person, gpu: bool, running: bool) -> list[Act]:
    """The acts that make sense for ``person`` to do to a student just now.

    Args:
        desk: the desk.
        person: who would do it.
        gpu: whether the student has a GPU seat.
        running: whether the student has a server, or waits for one.
    """
    seats = desk.settings.gpu.mode is not Mode.OFF
    sensible = {
        "start": not running,
        "restart": running,
        "stop": running,
        "give-seat": seats and running and not gpu,
        "take-seat": seats and running and gpu,
        "card": desk.settings.login.makes_passwords,
        "deadline": True,
        "visit": running and desk.settings.site.subdomains,
    }
    return [act for act in ACTS.values() if person.role in act.roles and sensible[act.name]]


def act(name: str, person: Helper, desk: TheDesk) -> Act:
    """The act that the path names, if the caller may do it."""
    found = ACTS.get(name)
    if found is None:
        raise Refused(404, N_("There is no such page."))
    if person.role not in found.roles:
        raise NOT_YOURS()
    return found


TheAct = Annotated[Act, Depends(act)]


@router.get("/student/{login}")
def look(request: Request, desk: TheDesk, person: Helper, student: Student, said: str = "") -> Response:
    """One student, and what can be done."""
    queue = [each.user for each in desk.ledger.queue()]
    now = server(student.login, desk.ledger.live(), queue)
    report = desk.reports.get(student.login)
    return desk.pages.page(
        request,
        person,
        "student.html",
        student=student,
        server=now,
        report=report,
        late=report is not None and report.late(desk.database.clock()),
        assignments=assignments(desk, student.login),
        acts=offered(desk, person, now.gpu, now.state != "off"),
        said=ACTS[said].done if said in ACTS and said != "card" else "",
        audit=desk.audit.newest(AUDIT_SHOWN, student.login),
        names={each.login: each.name for each in desk.roster.people},
    )


@router.get("/student/{login}/{name}")
def ask(request: Request, desk: TheDesk, person: Helper, student: Student, what: TheAct) -> Response:
    """What will happen, and whether it shall."""
    page = desk.pages.page(
        request,
        person,
        "act.html",
        student=student,
        act=what,
        assignments=assignments(desk, student.login) if what.name == "deadline" else [],
    )
    if what.name == "visit":  # its form leads to the student's own domain, and to no other
        policy = HEADERS["Content-Security-Policy"]
        theirs = f"form-action 'self' {desk.settings.site_of(student.login)}"
        page.headers["Content-Security-Policy"] = policy.replace("form-action 'self'", theirs)
    return page


@router.post("/student/{login}/visit")
async def visit(desk: TheDesk, person: Helper, student: Student) -> Response:
    """Into the student's Lab; the hub decides by its own scopes whether it opens."""
    if person.role not in ACTS["visit"].roles or not desk.settings.site.subdomains:
        raise NOT_YOURS()
    await run_in_threadpool(desk.audit.note, person.login, "visit", student.login)
    return RedirectResponse(f"{desk.settings.site_of(student.login)}/user/{student.login}/lab", 303)


@router.post("/student/{login}/card")
async def card(request: Request, desk: TheDesk, person: Helper, student: Student) -> Response:
    """A new password, shown once."""
    if not desk.settings.login.makes_passwords:
        raise Refused(409, N_("Passwords are kept by another system; reset it there."))
    fresh = generate()
    await run_in_threadpool(desk.audit.note, person.login, "card", student.login)
    await run_in_threadpool(lambda: desk.accounts.set_password(student.login, digest(fresh)))
    return desk.pages.page(
        request, person, "card.html", student=student, password=fresh, site=desk.settings.site.address, act=ACTS["card"]
    )


@router.post("/student/{login}/deadline")
async def more_time(
    desk: TheDesk,
    person: Helper,
    student: Student,
    assignment: Annotated[str, Form(max_length=100)],
    until: Annotated[str, Form(max_length=40)],
) -> Response:
    """Let this one student hand in longer than the class."""
    if person.role not in ACTS["deadline"].roles:
        raise NOT_YOURS()
    try:
        due = moment(until, desk.settings.class_.timezone, desk.exchange.clock())
    except PlainError:
        raise Refused(400, N_("That is no time. Write 18:00 or +30m.")) from None
    if assignment not in desk.exchange.assignments(desk.settings.course):
        raise Refused(404, N_("There is no such assignment."))

    def put() -> None:
        desk.audit.note(person.login, "deadline", student.login, assignment=assignment, until=due and due.isoformat())
        Deadlines(desk.exchange).put(desk.settings.course, assignment, due, by=person.login, student=student.login)

    await run_in_threadpool(put)
    return RedirectResponse(f"{PREFIX}/student/{student.login}?said=deadline", 303)


@router.post("/student/{login}/{name}")
async def do(desk: TheDesk, person: Helper, student: Student, what: TheAct) -> Response:
    """Do it to the server."""
    steps = _SERVER_ACTS.get(what.name)
    if steps is None:
        raise Refused(404, N_("There is no such page."))
    await run_in_threadpool(desk.audit.note, person.login, what.name, student.login)
    try:
        await steps(desk, student.login)
    except HubRefused as error:
        await run_in_threadpool(desk.audit.note, person.login, f"{what.name}-failed", student.login, why=str(error))
        raise Refused(502, N_("The hub did not do it. Try again in a moment, or look into its log.")) from None
    return RedirectResponse(f"{PREFIX}/student/{student.login}?said={what.name}", 303)


def has_server(desk: Desk, login: str) -> bool:
    """Whether somebody has a server, or waits for one."""
    return any(lease.user == login for lease in desk.ledger.live())


def had_gpu(desk: Desk, login: str) -> bool:
    """Whether somebody's server is, or waits to be, on a GPU; True for somebody without one."""
    return next((lease.gpu for lease in desk.ledger.live() if lease.user == login), True)


async def restart(desk: Desk, login: str, *, gpu: bool | None = None) -> None:
    """Stop, wait until it is off, start: on a GPU, on the CPU, or as it was.

    Raises:
        HubRefused: a step was refused, or it does not stop in time.
    """
    gpu = had_gpu(desk, login) if gpu is None else gpu
    if not await desk.hub.stop(login):
        async with asyncio.timeout(STOPS_WITHIN_S):
            while await run_in_threadpool(has_server, desk, login):  # noqa: ASYNC110  # another process's file
                await asyncio.sleep(LOOKS_EVERY_S)
    await desk.hub.start(login, gpu=gpu)


async def _start(desk: Desk, login: str) -> None:
    await desk.hub.start(login, gpu=desk.settings.gpu.mode is not Mode.OFF)


async def _stop(desk: Desk, login: str) -> None:
    await desk.hub.stop(login)


async def _restart(desk: Desk, login: str, gpu: bool | None = None) -> None:
    try:
        await restart(desk, login, gpu=gpu)
    except TimeoutError:
        raise HubRefused(0, f"the server of {login} did not stop within {STOPS_WITHIN_S:.0f} s") from None


async def _on_gpu(desk: Desk, login: str) -> None:
    await _restart(desk, login, gpu=True)


async def _on_cpu(desk: Desk, login: str) -> None:
    await _restart(desk, login, gpu=False)


_SERVER_ACTS: dict[str, Callable[[Desk, str], Awaitable[None]]] = {
    "start": _start,
    "restart": _restart,
    "stop": _stop,
    "give-seat": _on_gpu,
    "take-seat": _on_cpu,
}
