"""Hands that are up: who needs somebody, since when, and who is on the way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gpuclass.desk.audit import Audit
from gpuclass.desk.context import NOT_YOURS, Desk, Helper, Owner, Someone, Student, TheDesk, may_see
from gpuclass.desk.database import Database
from gpuclass.desk.schema import HandRow
from gpuclass.desk.session import PREFIX
from gpuclass.desk.wakeups import Wakeups
from gpuclass.roster import Person, Role

router = APIRouter()


@dataclass(frozen=True)
class Hand:
    """A hand that is up.

    Attributes:
        login: whose.
        raised_at: since when.
        taken_by: login of whoever goes there; None while nobody does.
        taken_at: since when somebody does.
    """

    login: str
    raised_at: datetime
    taken_by: str | None
    taken_at: datetime | None


class Hands:
    """The hands in the desk's database; at most one of each person is up, by a unique index."""

    def __init__(self, database: Database, audit: Audit, wakeups: Wakeups) -> None:
        self._database = database
        self._audit = audit
        self._wakeups = wakeups

    def open(self) -> list[Hand]:
        """All that are up, longest first."""
        with self._database.reading() as session:
            rows = session.scalars(select(HandRow).where(HandRow.ended.is_(None)).order_by(HandRow.raised, HandRow.id))
            return [Hand(row.login, row.raised, row.taken_by, row.taken) for row in rows]

    def of(self, login: str) -> Hand | None:
        """Somebody's hand, if it is up."""
        return next((hand for hand in self.open() if hand.login == login), None)

    def up(self, login: str) -> None:
        """Raise a hand; one that is up stays as it is, with its place."""
        with self._database.writing() as session:
            if _of(session, login) is None:
                session.add(HandRow(login=login, raised=self._database.clock()))
        self._wakeups.wake([login])

    def down(self, login: str, by: str) -> None:
        """Lower a hand, as its owner or because somebody has helped; nothing happens when it is down."""
        with self._database.writing() as session:
            row = _of(session, login)
            if row is not None:
                row.ended, row.ended_by = self._database.clock(), by
                if by != login:
                    self._audit.add(session, by, "hand-done", login)
        self._wakeups.wake([login])

    def take(self, login: str, by: str) -> bool:
        """Go there. The first who takes a hand has it.

        Returns:
            Whether it is theirs; False: somebody else's, or down again.
        """
        with self._database.writing() as session:
            row = _of(session, login)
            if row is None or row.taken_by not in (None, by):
                return False
            if row.taken_by is None:
                row.taken_by, row.taken = by, self._database.clock()
                self._audit.add(session, by, "hand-taken", login)
        self._wakeups.wake([login])
        return True

    def leave(self, login: str, by: str) -> None:
        """Do not go there after all: others may take it again."""
        with self._database.writing() as session:
            row = _of(session, login)
            if row is not None and row.taken_by == by:
                row.taken_by = row.taken = None
                self._audit.add(session, by, "hand-left", login)
        self._wakeups.wake([login])


def _of(session: Session, login: str) -> HandRow | None:
    return session.scalar(select(HandRow).where(HandRow.login == login, HandRow.ended.is_(None)))


def told(desk: Desk, person: Person) -> dict[str, object]:
    """What somebody reads of their own hand: whether it is up, who comes, and how many were before them."""
    up = desk.hands.open()
    mine = next((hand for hand in up if hand.login == person.login), None)
    helper = desk.roster.get(mine.taken_by) if mine and mine.taken_by else None
    ahead = sum(hand.taken_by is None and hand.raised_at < mine.raised_at for hand in up) if mine else 0
    return {"hand": mine, "helper": helper.name if helper else "", "ahead": ahead}


@router.post("/hand")
def raise_hand(desk: TheDesk, person: Someone) -> Response:
    """Raise the own hand."""
    _raise(desk, person)
    return RedirectResponse(f"{PREFIX}/me", 303)


@router.post("/hand/lower")
def lower_hand(desk: TheDesk, person: Someone) -> Response:
    """Lower the own hand."""
    desk.hands.down(person.login, person.login)
    return RedirectResponse(f"{PREFIX}/me", 303)


@router.post("/own/hand")
def raise_from_lab(desk: TheDesk, person: Owner) -> Response:
    """Raise the owner's hand; asked for by the button in Lab, with the token of their server."""
    _raise(desk, person)
    return Response(status_code=204)


@router.post("/own/hand/lower")
def lower_from_lab(desk: TheDesk, person: Owner) -> Response:
    """Lower the owner's hand."""
    desk.hands.down(person.login, person.login)
    return Response(status_code=204)


@router.get("/hands")
def hands(request: Request, desk: TheDesk, person: Helper) -> Response:
    """Whose hands are up, in their order: all for teachers, the own team's for a mentor."""
    return desk.pages.page(request, person, "hands.html", **_waiting(desk, person))


@router.get("/hands/now")
def hands_now(request: Request, desk: TheDesk, person: Helper) -> Response:
    """The part of that page which changes by itself."""
    return desk.pages.page(request, person, "parts/hands.html", **_waiting(desk, person))


@router.post("/hands/{login}/take")
async def take(desk: TheDesk, person: Helper, student: Student) -> Response:
    """Go there; the page then says who does."""
    await run_in_threadpool(desk.hands.take, student.login, person.login)
    return RedirectResponse(f"{PREFIX}/hands", 303)


@router.post("/hands/{login}/leave")
async def leave(desk: TheDesk, person: Helper, student: Student) -> Response:
    """Not go there after all."""
    await run_in_threadpool(desk.hands.leave, student.login, person.login)
    return RedirectResponse(f"{PREFIX}/hands", 303)


@router.post("/hands/{login}/done")
async def done(desk: TheDesk, person: Helper, student: Student) -> Response:
    """They have been helped."""
    await run_in_threadpool(desk.hands.down, student.login, person.login)
    return RedirectResponse(f"{PREFIX}/hands", 303)


def _raise(desk: Desk, person: Person) -> None:
    """Students' hands only: nobody could take a teacher's."""
    if person.role is not Role.STUDENT:
        raise NOT_YOURS()
    desk.hands.up(person.login)


def _waiting(desk: Desk, person: Person) -> dict[str, Any]:
    roster = desk.roster
    known = [(hand, roster.get(hand.login)) for hand in desk.hands.open()]
    return {
        "waiting": [(hand, student) for hand, student in known if student is not None and may_see(person, student)],
        "names": {each.login: each.name for each in roster.people},
        "now": desk.database.clock(),
    }
