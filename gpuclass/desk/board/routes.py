"""The board's page, its stream, and the same as JSON."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from gpuclass.desk.board.changes import View
from gpuclass.desk.board.live import READ_ERRORS
from gpuclass.desk.context import NOT_YOURS, Desk, Helper, Refused, TheDesk, Tongue
from gpuclass.desk.pages import HEADERS, N_, TEACHERS
from gpuclass.exchange.service.identity import HubUnreachable
from gpuclass.roster import Person

router = APIRouter()
log = logging.getLogger(__name__)


def team_of(person: Person, asked: str) -> str | None:
    """Whose board somebody gets: a teacher the class's or the team's that was asked for, a mentor the own team's.

    Raises:
        Refused: 403, a mentor without a team, or who asks for another one.
    """
    if person.role in TEACHERS:
        return asked or None
    if not person.team or asked not in ("", person.team):
        raise NOT_YOURS()
    return person.team


@router.get("/board")
async def board(request: Request, desk: TheDesk, person: Helper, language: Tongue, team: str = "") -> Response:
    """Everybody's tile, who needs help first; it follows by itself."""
    only = team_of(person, team)
    found = await _now(desk, only)
    return desk.pages.page(
        request,
        person,
        "board.html",
        team=only or "",
        teams=sorted({each.team for each in desk.roster.people if each.team}) if person.role in TEACHERS else [],
        tiles=[desk.live.html(tile, language) for tile in found.tiles.values()],
        totals=found.totals,
    )


@router.get("/board.json")
async def as_json(desk: TheDesk, person: Helper, team: str = "") -> Response:
    """The same for a script."""
    found = await _now(desk, team_of(person, team))
    told: dict[str, Any] = {
        "totals": found.totals.as_json(),
        "students": [tile.as_json() for tile in found.tiles.values()],
    }
    return JSONResponse(told, headers=HEADERS)


@router.get("/board/stream")
async def stream(request: Request, desk: TheDesk, person: Helper, language: Tongue, team: str = "") -> Response:
    """What changes on the board, as server-sent events, for as long as the log-in and the roster hold."""
    only = team_of(person, team)
    if desk.live.full(person.login):
        raise Refused(429, N_("You have too many boards open. Close one."))
    token: str = request.state.token
    return StreamingResponse(
        desk.live.stream(person.login, only, language, lambda: _still(desk, person, token)),
        media_type="text/event-stream",
        headers={**HEADERS, "X-Accel-Buffering": "no"},
    )


async def _now(desk: Desk, team: str | None) -> View:
    try:
        return await desk.live.now(team)
    except READ_ERRORS:
        log.exception("The board cannot be read")
        raise Refused(503, N_("The board cannot be read right now. Try again in a moment.")) from None


async def _still(desk: Desk, person: Person, token: str) -> bool:
    """Whether somebody is logged in and in the roster as when their stream began. While the hub is away they stay."""
    if desk.roster.get(person.login) != person:
        return False
    try:
        return await desk.identity.login(token) == person.login  # which remembers the answer for half a minute
    except HubUnreachable:
        return True
