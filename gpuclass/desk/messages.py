"""What teachers tell the class, a team or one person; it stands in Lab and on the student's page for a while."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Form
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from gpuclass.desk.audit import Audit
from gpuclass.desk.context import NOT_YOURS, Desk, Helper, Owner, Refused, TheDesk, may_see
from gpuclass.desk.database import Database
from gpuclass.desk.hands import told
from gpuclass.desk.pages import N_, TEACHERS, say
from gpuclass.desk.schema import MessageRow
from gpuclass.desk.session import PREFIX
from gpuclass.desk.wakeups import Wakeups
from gpuclass.roster import Person, Role

router = APIRouter()

Audience = Literal["class", "team", "person"]
AUDIENCES: dict[str, Audience] = {"class": "class", "team": "team", "person": "person"}
TEXT_LIMIT = 500  # characters: what somebody reads at a glance
MINUTES = (5, 10, 30, 120)  # that a message can stand
SHOWN = 20
HELD_S = 25.0  # that a question waits for news; proxies give up after 30 s and more


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        id: its number.
        at, until: since when and how long it stands.
        by: login of whoever wrote it.
        audience, name: to whom; ``name`` is the team or the login, empty for the class.
        text: plain text.
    """

    id: int
    at: datetime
    until: datetime
    by: str
    audience: Audience
    name: str
    text: str

    def reaches(self, person: Person) -> bool:
        """Whether it is for this person."""
        return (
            self.audience == "class"
            or (self.audience == "team" and bool(self.name) and self.name == person.team)
            or (self.audience == "person" and self.name == person.login)
        )


class Messages:
    """The messages in the desk's database."""

    def __init__(self, database: Database, audit: Audit, wakeups: Wakeups) -> None:
        self._database = database
        self._audit = audit
        self._wakeups = wakeups

    def send(self, by: str, audience: Audience, name: str, text: str, minutes: int) -> None:
        """Keep a message for so many minutes."""
        now = self._database.clock()
        until = now + timedelta(minutes=minutes)
        with self._database.writing() as session:
            session.add(MessageRow(at=now, by=by, audience=audience, name=name, text=text, until=until))
            self._audit.add(session, by, "message", name or "class", text=text, minutes=minutes)
        self._wakeups.wake(None if audience != "person" else [name])

    def take_back(self, number: int, by: str) -> None:
        """End a message now; nothing happens to one that has ended."""
        with self._database.writing() as session:
            row = session.get(MessageRow, number)
            now = self._database.clock()
            if row is not None and row.until > now:
                row.until = now
                self._audit.add(session, by, "message-back", row.name or "class")
        self._wakeups.wake(None)

    def standing(self) -> list[Message]:
        """Those that stand now, oldest first."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(MessageRow).where(MessageRow.until > self._database.clock()).order_by(MessageRow.id)
            )
            return [_message(row) for row in rows]

    def newest(self, limit: int = SHOWN) -> list[Message]:
        """Those sent last, also those that have ended, newest first."""
        with self._database.reading() as session:
            rows = session.scalars(select(MessageRow).order_by(MessageRow.id.desc()).limit(limit))
            return [_message(row) for row in rows]

    def to(self, person: Person) -> list[Message]:
        """Those that stand for one person."""
        return [message for message in self.standing() if message.reaches(person)]


def _message(row: MessageRow) -> Message:
    return Message(row.id, row.at, row.until, row.by, AUDIENCES[row.audience], row.name, row.text)


def may_send(sender: Person, audience: Audience, name: str, people: Iterable[Person]) -> bool:
    """Whether somebody may write to them: teachers to all, a mentor to the own team and its students."""
    if sender.role in TEACHERS:
        return audience == "class" or any(name == (each.team if audience == "team" else each.login) for each in people)
    if sender.role is not Role.MENTOR or not sender.team or audience == "class":
        return False
    if audience == "team":
        return name == sender.team
    return any(each.login == name and each.role is Role.STUDENT and may_see(sender, each) for each in people)


@router.get("/messages")
def write(request: Request, desk: TheDesk, person: Helper, to: str = "") -> Response:
    """Write a message, and what was sent."""
    teams = sorted({each.team for each in desk.roster.people if each.team})
    mine = [person.team] if person.team else []
    sent = [each for each in desk.messages.newest() if person.role in TEACHERS or each.by == person.login]
    return desk.pages.page(
        request,
        person,
        "messages.html",
        teams=teams if person.role in TEACHERS else mine,
        everybody=person.role in TEACHERS,
        people=[each for each in desk.roster.with_role(Role.STUDENT) if may_see(person, each)],
        to=to,
        minutes=MINUTES,
        limit=TEXT_LIMIT,
        sent=sent,
        names={each.login: each.name for each in desk.roster.people},
        now=desk.database.clock(),
    )


@router.post("/messages")
async def send(
    desk: TheDesk,
    person: Helper,
    to: Annotated[str, Form(max_length=80)],
    text: Annotated[str, Form(max_length=4 * TEXT_LIMIT)],
    minutes: Annotated[int, Form()] = 10,
) -> Response:
    """Send it; ``to`` is ``class``, ``team:NAME`` or ``person:LOGIN``."""
    kind, _, name = to.partition(":")
    audience = AUDIENCES.get(kind)
    text = text.strip()
    known = audience is not None and (audience == "class") is (name == "") and minutes in MINUTES
    if audience is None or not known or not 0 < len(text) <= TEXT_LIMIT:
        raise Refused(400, N_("A message has 1 to 500 characters and goes to the class, a team or one person."))
    if not may_send(person, audience, name, desk.roster.people):
        raise NOT_YOURS()
    await run_in_threadpool(desk.messages.send, person.login, audience, name, text, minutes)
    return RedirectResponse(f"{PREFIX}/messages", 303)


@router.post("/messages/{number}/back")
async def take_back(desk: TheDesk, person: Helper, number: int) -> Response:
    """Take a message back: one's own, for teachers everybody's."""
    mine = any(each.id == number and each.by == person.login for each in desk.messages.standing())
    if not mine and person.role not in TEACHERS:
        raise NOT_YOURS()
    await run_in_threadpool(desk.messages.take_back, number, person.login)
    return RedirectResponse(f"{PREFIX}/messages", 303)


@router.get("/own/state")
async def state(request: Request, desk: TheDesk, person: Owner) -> Response:
    """What Lab shows of the desk: messages and the own hand, as notices in both languages.

    Whoever has the newest state already is answered when there is another, or after ``HELD_S``.
    """
    known = request.headers.get("if-none-match", "")
    with desk.wakeups.listening(person.login) as news:
        found, mark = await run_in_threadpool(_state, desk, person)
        if known == mark and await news.within(HELD_S):
            found, mark = await run_in_threadpool(_state, desk, person)
    if known == mark:
        return Response(status_code=304, headers={"ETag": mark})
    return JSONResponse(found, headers={"ETag": mark})


def _state(desk: Desk, person: Person) -> tuple[dict[str, object], str]:
    found: dict[str, object] = {"notices": notices(desk, person), "hand": desk.hands.of(person.login) is not None}
    return found, f'"{hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]}"'


def notices(desk: Desk, person: Person) -> list[dict[str, object]]:
    """Messages to somebody, and that a helper comes: in the form of gpuclass.noticeboard."""
    found: list[dict[str, object]] = []
    for message in desk.messages.to(person):
        sender = desk.roster.get(message.by)
        text = f"{sender.name if sender else message.by}: {message.text}"
        found.append(_notice(f"message-{message.id}", message.until.timestamp(), text, text))
    helper = str(told(desk, person)["helper"])
    hand = desk.hands.of(person.login)
    if helper and hand and hand.taken_at:
        ko, en = (say(language, N_("{name} is on the way to you."), name=helper) for language in ("ko", "en"))
        found.append(_notice(f"hand-{hand.taken_at.timestamp():.0f}", None, ko, en))
    return found


def _notice(name: str, until: float | None, ko: str, en: str) -> dict[str, object]:
    return {"id": name, "level": "info", "ko": ko, "en": en, "until": until}
