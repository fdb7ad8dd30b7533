"""What every endpoint works with, and who calls it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Path, Request, Response
from pydantic import AfterValidator
from starlette.responses import JSONResponse

from gpuclass.exchange.service.errors import Refusal, denied, unknown
from gpuclass.exchange.service.health import Health
from gpuclass.exchange.service.identity import HubUnreachable, Identity, token_of
from gpuclass.exchange.service.metrics import Meters
from gpuclass.exchange.service.pacing import Pacing
from gpuclass.exchange.service.streams import Streams
from gpuclass.exchange.service.uploads import Uploads
from gpuclass.exchange.store.courses import Courses, Member
from gpuclass.exchange.store.store import Store
from gpuclass.settings import Settings


@dataclass(frozen=True)
class Context:
    """The parts of one running exchange."""

    settings: Settings
    store: Store
    courses: Courses
    identity: Identity
    pacing: Pacing
    uploads: Uploads
    streams: Streams
    meters: Meters
    health: Health


@dataclass(frozen=True)
class Caller:
    """Who sent the request."""

    login: str
    admin: bool


def context(request: Request) -> Context:
    """The exchange that this request came to."""
    return cast("Context", request.app.state.context)


Exchange = Annotated[Context, Depends(context)]


async def caller(request: Request, exchange: Exchange) -> Caller:
    """Who sent the request, by the hub's word.

    Raises:
        Refusal: 302 as ngshare answers without a login; 503 while nobody can tell.
    """
    try:
        login = await exchange.identity.login(token_of(request.headers.get("authorization")))
    except HubUnreachable:
        raise unknown(exchange.settings.class_.language) from None
    if login is None:
        address = f"{exchange.settings.site.address}/hub/login"
        raise Refusal(302, "Login required", headers={"Location": address}, reason="login")
    return Caller(login, exchange.courses.is_admin(login))


Someone = Annotated[Caller, Depends(caller)]
Name = Annotated[str, Path(), AfterValidator(lambda text: unicodedata.normalize("NFC", text))]


def admin(caller: Someone) -> Caller:
    """An operator, or 403."""
    if not caller.admin:
        raise denied()
    return caller


@dataclass(frozen=True)
class InCourse:
    """The caller within the course that the path names; ``member`` is None for an operator who is none."""

    login: str
    admin: bool
    course: str
    members: dict[str, Member]

    @property
    def teaches(self) -> bool:
        """Whether the caller may do what instructors may."""
        member = self.members.get(self.login)
        return self.admin or (member is not None and member.part == "instructor")


def participant(exchange: Exchange, caller: Someone, course: Name) -> InCourse:
    """Anybody in the course, or 404 or 403."""
    here = InCourse(caller.login, caller.admin, course, exchange.courses.members(course))
    if not here.admin and here.login not in here.members:
        raise denied()
    return here


def teacher(here: Annotated[InCourse, Depends(participant)]) -> InCourse:
    """An instructor of the course, or 404 or 403."""
    if not here.teaches:
        raise denied()
    return here


Admin = Annotated[Caller, Depends(admin)]
Participant = Annotated[InCourse, Depends(participant)]
Teacher = Annotated[InCourse, Depends(teacher)]


def success(**content: Any) -> Response:
    """ngshare's answer when all went well."""
    return JSONResponse({"success": True, **content})
