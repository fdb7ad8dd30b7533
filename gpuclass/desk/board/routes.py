"""The board's page, its stream, and the same as JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from gpuclass.desk.context import NOT_YOURS, Desk, Helper, TheDesk, Tongue
from gpuclass.desk.pages import HEADERS, TEACHERS
from gpuclass.roster import Person

router = APIRouter()


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
    found = await desk.live.now(only)
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
    found = await desk.live.now(team_of(person, team))
    told: dict[str, Any] = {
        "totals": found.totals.as_json(),
        "students": [tile.as_json() for tile in found.tiles.values()],
    }
    return JSONResponse(told, headers=HEADERS)


@router.get("/board/stream")
async def stream(desk: TheDesk, person: Helper, language: Tongue, team: str = "") -> Response:
    """What changes on the board, as server-sent events."""
    only = team_of(person, team)
    return StreamingResponse(
        desk.live.stream(person.login, only, language, lambda: _still(desk, person)),
        media_type="text/event-stream",
        headers={**HEADERS, "X-Accel-Buffering": "no"},
    )


def _still(desk: Desk, person: Person) -> bool:
    """Whether the roster has somebody as they were when their stream began."""
    return desk.roster.get(person.login) == person
