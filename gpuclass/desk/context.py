"""The parts of the running desk, who asks, and whether they may: the dependencies of every route.

A role is looked up in the roster at every request, never taken from a cookie. Two ways in are kept apart: a browser's
session, and the token inside a container, which acts for its owner alone and below ``/own`` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Path
from starlette.requests import Request

from gpuclass.accounts import Accounts
from gpuclass.desk.audit import Audit
from gpuclass.desk.database import Database
from gpuclass.desk.hubapi import Hub
from gpuclass.desk.pages import N_, Pages
from gpuclass.desk.reports import Reports
from gpuclass.desk.session import Session
from gpuclass.exchange.service.identity import HubUnreachable, Identity, token_of
from gpuclass.exchange.store.store import Store
from gpuclass.gpus.ledger import Ledger
from gpuclass.roster import Person, Role, Roster
from gpuclass.settings import Language, Settings

if TYPE_CHECKING:
    from gpuclass.desk.board.live import Live
    from gpuclass.desk.hands import Hands
    from gpuclass.desk.messages import Messages
    from gpuclass.desk.wakeups import Wakeups


@dataclass(frozen=True)
class Desk:
    """The parts of one running desk."""

    settings: Settings
    accounts: Accounts
    identity: Identity
    session: Session
    hub: Hub
    database: Database
    audit: Audit
    hands: Hands
    messages: Messages
    wakeups: Wakeups
    live: Live
    exchange: Store
    ledger: Ledger
    reports: Reports
    pages: Pages

    @property
    def roster(self) -> Roster:
        """Everybody in the class, as imported last."""
        return self.accounts.roster()


class LogInNeeded(Exception):  # noqa: N818  # what happened, in the field's words
    """Nobody is logged in here: a page leads to the log-in, anything else answers 401."""


class Refused(Exception):  # noqa: N818  # what happened, in the field's words
    """The request is refused; ``status`` and a text, marked with ``N_``, that the reader gets in their language."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def NOT_YOURS() -> Refused:  # noqa: N802  # reads as the constant that an exception cannot be
    """The one refusal for what is not there and for what somebody else may see: it tells no names."""
    return Refused(403, N_("This page is not for you."))


def desk(request: Request) -> Desk:
    """The desk that this request came to."""
    return cast("Desk", request.app.state.desk)


TheDesk = Annotated[Desk, Depends(desk)]


async def _person(desk: Desk, token: str) -> Person | None:
    try:
        login = await desk.identity.login(token)
    except HubUnreachable:
        raise Refused(503, N_("The hub does not answer. Try again in a moment.")) from None
    return desk.roster.get(login) if login else None


async def someone(request: Request, desk: TheDesk) -> Person:
    """Whoever is logged in in this browser; a press must come from a page of that session.

    Raises:
        LogInNeeded: nobody is.
        Refused: 403, the press did not come from a page of ours.
    """
    token = desk.session.token(request)
    person = await _person(desk, token) if token else None
    if person is None:
        raise LogInNeeded
    request.state.token = token
    if request.method not in ("GET", "HEAD"):
        given = request.headers.get("x-xsrf") or (await request.form()).get("_xsrf") or ""
        if not isinstance(given, str) or not desk.session.meant(request, token, given):
            raise Refused(403, N_("This page is too old. Load it anew and press again."))
    return person


Someone = Annotated[Person, Depends(someone)]


def helper(person: Someone) -> Person:
    """A mentor, instructor or operator, or 403."""
    if person.role is Role.STUDENT:
        raise NOT_YOURS()
    return person


Helper = Annotated[Person, Depends(helper)]


def teacher(person: Someone) -> Person:
    """An instructor or operator, or 403."""
    if person.role not in (Role.INSTRUCTOR, Role.OPERATOR):
        raise NOT_YOURS()
    return person


Teacher = Annotated[Person, Depends(teacher)]


def may_see(person: Person, student: Person) -> bool:
    """Whether ``person`` may see how ``student`` is getting on, and help them: teachers all, mentors their team."""
    if person.role in (Role.INSTRUCTOR, Role.OPERATOR):
        return True
    return person.role is Role.MENTOR and bool(person.team) and person.team == student.team


def sees_others(person: Person) -> bool:
    """Whether there can be somebody whom ``person`` may see."""
    return person.role in (Role.INSTRUCTOR, Role.OPERATOR) or (person.role is Role.MENTOR and bool(person.team))


def student(desk: TheDesk, person: Helper, login: Annotated[str, Path(max_length=64)]) -> Person:
    """The student whom the path names, if the caller may see them; the same 403 for others and for nobody."""
    found = desk.roster.get(login)
    if found is None or found.role is not Role.STUDENT or not may_see(person, found):
        raise NOT_YOURS()
    return found


Student = Annotated[Person, Depends(student)]


async def owner(request: Request, desk: TheDesk) -> Person:
    """Whose container this request comes from, by the token in it.

    Raises:
        Refused: 401, no token of somebody in the class.
    """
    token = token_of(request.headers.get("authorization"))
    person = await _person(desk, token) if token else None
    if person is None:
        raise Refused(401, N_("Nobody of this class."))
    return person


Owner = Annotated[Person, Depends(owner)]


def language(request: Request, desk: TheDesk) -> Language:
    """The language of whoever reads the answer."""
    return desk.pages.language(request)


Tongue = Annotated[Language, Depends(language)]
