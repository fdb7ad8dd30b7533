"""A student's own page: server and place in the queue, today's sessions, assignments with receipts and scores.

The same is the panel in Lab, where it comes through the student's own server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gpuclass.desk import hands
from gpuclass.desk.context import Desk, Owner, Someone, TheDesk, Tongue, sees_others
from gpuclass.exchange.opening import opening
from gpuclass.exchange.store.deadlines import Deadline, Deadlines
from gpuclass.exchange.store.reading import Own, Released, own_submissions, releases
from gpuclass.gpus.model import Lease, State
from gpuclass.roster import Person, Role
from gpuclass.settings import FeedbackPolicy, Language

router = APIRouter()

ServerState = Literal["off", "queued", "starting", "on", "stopping", "lost"]
_SERVER: Mapping[State, ServerState] = {
    State.QUEUED: "queued",
    State.RESERVED: "starting",
    State.ACTIVE: "on",
    State.RELEASING: "stopping",
    State.LOST: "lost",
}
Stage = Literal["open", "waiting", "later", "running", "scored", "graded", "failed", "quarantined"]


@dataclass(frozen=True)
class Server:
    """Somebody's server.

    Attributes:
        state: where it is.
        ahead: how many stand before them in the queue.
        gpu: whether it has, or waits for, a GPU seat.
        memory: bytes of that seat; 0 without one.
    """

    state: ServerState
    ahead: int = 0
    gpu: bool = False
    memory: int = 0


@dataclass(frozen=True)
class Work:
    """One assignment as its student sees it.

    Attributes:
        name: the assignment.
        due: until when it can be handed in; None without a deadline.
        opens: when score and feedback are shown.
        sent: how many submissions there are.
        last: the newest one; None for none.
        late: whether that came too late.
        stage: how far that is.
        score, most: of the newest one that has a score to show; None for none.
        older: whether that score is of an earlier submission than the newest.
    """

    name: str
    due: datetime | None
    opens: FeedbackPolicy
    sent: int
    last: Own | None
    late: bool
    stage: Stage
    score: float | None
    most: float | None
    older: bool


def server(login: str, leases: Sequence[Lease], queue: Sequence[str]) -> Server:
    """Where somebody's server is.

    Args:
        login: whose.
        leases: all that have not ended.
        queue: logins of all who wait, in the order of their turn.
    """
    lease = next((each for each in leases if each.user == login), None)
    if lease is None:
        return Server("off")
    ahead = queue.index(login) if login in queue else 0
    return Server(_SERVER[lease.state], ahead, lease.gpu, sum(seat.memory for seat in lease.seats))


def work(
    release: Released, own: Sequence[Own], deadline: Deadline, login: str, policy: FeedbackPolicy, now: datetime
) -> Work:
    """One assignment from the exchange's records; ``own`` in the order they came."""
    last = own[-1] if own else None
    scored = next((each for each in reversed(own) if each.score is not None), None)
    due = deadline.of(login)
    return Work(
        release.assignment,
        due,
        opening(policy, due, now),
        len(own),
        last,
        last is not None and deadline.late(login, last.received),
        _stage(last),
        scored.score if scored else None,
        scored.max_score if scored else None,
        scored is not None and scored is not last,
    )


def _stage(last: Own | None) -> Stage:
    if last is None:
        return "open"
    if last.status == "quarantined":
        return "quarantined"
    if last.state == "done":
        return "graded" if last.score is None else "scored"
    if last.state == "waiting":
        return "later" if last.not_before is not None else "waiting"
    return "running" if last.state == "running" else "failed" if last.state == "failed" else "waiting"


def assignments(desk: Desk, login: str) -> list[Work]:
    """All assignments of the class as one student sees them."""
    store, course, policy = desk.exchange, desk.settings.course, desk.settings.grading.feedback
    now, released, deadlines = store.clock(), releases(store, course), Deadlines(store).all(course)
    of = {each.assignment: deadlines.get(each.assignment, Deadline()) for each in released}
    opened = [name for name, deadline in of.items() if opening(policy, deadline.of(login), now) == "now"]
    sent = own_submissions(store, course, login, opened=opened)
    return [
        work(each, [one for one in sent if one.assignment == each.assignment], of[each.assignment], login, policy, now)
        for each in released
    ]


def told(desk: Desk, login: str, language: Language) -> list[str] | None:
    """What teachers see of somebody's notebooks; empty before the first report, None where notebooks report nothing."""
    if not desk.settings.desk.reports:
        return None
    report = desk.reports.get(login)
    return report.told(language, late=report.late(datetime.now(UTC))).splitlines() if report else []


def _values(desk: Desk, person: Person, language: Language) -> dict[str, Any]:
    queue = [request.user for request in desk.ledger.queue()]
    return {
        "owner": person,
        **hands.told(desk, person),
        "messages": desk.messages.to(person),
        "names": {each.login: each.name for each in desk.roster.people},
        "server": server(person.login, desk.ledger.live(), queue),
        "sessions": desk.settings.curriculum.sessions,
        "assignments": assignments(desk, person.login),
        "told": told(desk, person.login, language) if person.role is Role.STUDENT else None,
        "lab": f"{desk.settings.site_of(person.login)}/user/{person.login}/lab",
    }


@router.get("/me")
def me(request: Request, desk: TheDesk, person: Someone, language: Tongue) -> Response:
    """The page of whoever asks."""
    return desk.pages.page(request, person, "me.html", panel=False, **_values(desk, person, language))


@router.get("/me/now")
def me_now(request: Request, desk: TheDesk, person: Someone, language: Tongue) -> Response:
    """The part of that page which changes by itself."""
    return desk.pages.page(request, person, "parts/me.html", panel=False, **_values(desk, person, language))


@router.get("/own/panel")
def panel(request: Request, desk: TheDesk, person: Owner, language: Tongue) -> Response:
    """The same part as a page for the panel in the owner's Lab; asked for by their server, with its token."""
    return desk.pages.page(
        request,
        None,
        "panel.html",
        panel=True,
        helps=sees_others(person),
        site=desk.settings.desk_site,
        **_values(desk, person, language),
    )
