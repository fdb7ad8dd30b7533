"""A desk over a class of files, without a hub: `HubDouble` says whose a token is and takes what it is asked to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response

from gpuclass.accounts import Accounts
from gpuclass.desk.app import create_app
from gpuclass.desk.context import Desk
from gpuclass.desk.hubapi import Hub
from gpuclass.desk.session import PREFIX, Session
from gpuclass.exchange.service.identity import Identity
from gpuclass.roster import Person, Role, Roster
from gpuclass.settings import Settings, load

CLASS = '[class]\nname = "camp"\ntitle = "캠프"\n'
PEOPLE = (
    Person("teacher", "김선생", Role.INSTRUCTOR),
    Person("root1", "운영자", Role.OPERATOR),
    Person("mentor1", "박멘토", Role.MENTOR, "1"),
    Person("mentor0", "무소속", Role.MENTOR),
    Person("s001", "이하나", Role.STUDENT, "1"),
    Person("s002", "최두리", Role.STUDENT, "1"),
    Person("s003", "정세찬", Role.STUDENT, "2"),
    Person("s004", "혼자", Role.STUDENT),
)
SECRET = "the desk's token at the hub"  # noqa: S105  # of the hub double


class HubDouble:
    """Stands for the hub's REST API: a token is ``token of LOGIN``; what it was asked to do is in ``asked``."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.status = 201
        self.down = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("down")
        if request.url.path == "/hub/api/user":
            login = request.headers["authorization"].removeprefix("token token of ")
            scopes = ["access:services!service=desk"] if login != "noscope" else []
            return httpx.Response(200, json={"kind": "user", "name": login, "scopes": scopes})
        self.asked.append((request.method, request.url.path, request.content))
        if request.url.path.endswith("/oauth2/token"):
            return httpx.Response(200, json={"access_token": "token of teacher"})
        return httpx.Response(self.status, json={})

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)


@pytest.fixture
def hub() -> HubDouble:
    return HubDouble()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "class.toml").write_text(CLASS, encoding="utf-8")
    settings = load(tmp_path / "class.toml", environ={})
    Accounts(settings.accounts_path).apply(Roster(PEOPLE), {})
    return settings


@pytest.fixture
def session(settings: Settings, hub: HubDouble) -> Session:
    return Session(settings, SECRET, hub.transport)


@pytest.fixture
def app(settings: Settings, session: Session, hub: HubDouble) -> FastAPI:
    return create_app(
        settings,
        session=session,
        identity=Identity(settings.hub_api, "desk", transport=hub.transport),
        hub=Hub(settings.hub_api, SECRET, hub.transport),
    )


@pytest.fixture
def desk(app: FastAPI) -> Desk:
    return cast("Desk", app.state.desk)


Browsers = Callable[[str | None], "Browser"]


class Browser(httpx.AsyncClient):
    """A browser on the desk's own site; ``press`` sends what a form of a page there would."""

    def __init__(self, app: FastAPI, session: Session, site: str, login: str | None) -> None:
        super().__init__(transport=httpx.ASGITransport(app), base_url=site, headers={"Accept": "text/html"})
        self.xsrf = ""
        if login is not None:
            token = f"token of {login}"
            answer = Response()
            session.keep(answer, token)
            self.cookies.set(session.cookie, answer.headers["set-cookie"].split("=", 1)[1].split(";")[0])
            self.xsrf = session.xsrf(token)
        self.site = site

    async def page(self, path: str, **options: Any) -> httpx.Response:
        return await self.get(f"{PREFIX}/{path}", **options)

    async def press(self, path: str, **fields: str) -> httpx.Response:
        return await self.post(f"{PREFIX}/{path}", data=fields, headers={"Origin": self.site, "X-XSRF": self.xsrf})


@pytest.fixture
async def browser(app: FastAPI, session: Session, settings: Settings) -> AsyncIterator[Browsers]:
    """A browser in which somebody is logged in; None for nobody."""
    async with app.router.lifespan_context(app):  # one start and end of the app, whoever visits
        yield lambda login: Browser(app, session, settings.desk_site, login)


@pytest.fixture
def container(app: FastAPI, settings: Settings) -> Callable[[str], httpx.AsyncClient]:
    """What somebody's server sends to the desk, with the token in their container; paths begin after ``/own/``."""
    return lambda login: httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url=f"{settings.desk_url}/own/",
        headers={"Authorization": f"token token of {login}"},
    )
