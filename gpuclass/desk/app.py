"""Puts the desk together: its parts, its routes, and how it answers when something is refused."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpuclass import __version__, roles
from gpuclass.accounts import Accounts
from gpuclass.desk import acts, hands, messages, reporting, student
from gpuclass.desk.audit import Audit
from gpuclass.desk.board import routes as board
from gpuclass.desk.board.live import Live
from gpuclass.desk.board.sources import Sources
from gpuclass.desk.context import Desk, LogInNeeded, Refused, Someone, Teacher, TheDesk, sees_others
from gpuclass.desk.database import Database
from gpuclass.desk.hands import Hands
from gpuclass.desk.hubapi import Hub
from gpuclass.desk.messages import Messages
from gpuclass.desk.pages import HERE, LANGUAGE_COOKIE, LANGUAGES, N_, Pages, say
from gpuclass.desk.reports import Reports
from gpuclass.desk.session import PREFIX, LogInFailed, Session
from gpuclass.desk.wakeups import Wakeups
from gpuclass.exchange.service.connections import Guarded
from gpuclass.exchange.service.identity import Identity
from gpuclass.exchange.store.store import Store
from gpuclass.gpus.ledger import Ledger
from gpuclass.proxy import MODULES
from gpuclass.secrets import token
from gpuclass.settings import Settings

CONNECTIONS = 1000  # at the same time; more get 503 at once
BODY_LIMIT = 64 * 1024  # bytes of a request: a form, a message, a report
YEAR_S = 365 * 24 * 3600

router = APIRouter()


def create_app(
    settings: Settings,
    *,
    identity: Identity | None = None,
    session: Session | None = None,
    hub: Hub | None = None,
    database: Database | None = None,
) -> FastAPI:
    """The desk of one class. What is not given is made, and speaks with the class's hub."""
    secret = token(settings.secrets, roles.DESK_SERVICE)
    session = session or Session(settings, secret)
    database = database or Database(settings.desk_path)
    exchange = Store(settings.exchange_folder, attempts=settings.grading.attempts)
    audit, wakeups, ledger = Audit(database), Wakeups(), Ledger(settings.ledger_path)
    accounts, hands_up = Accounts(settings.accounts_path), Hands(database, audit, wakeups)
    reports, pages = Reports(reporting.Known(settings, exchange)), Pages(settings, session.xsrf)
    sources = Sources(settings, accounts, ledger, exchange, hands_up, reports)
    desk = Desk(
        settings=settings,
        accounts=accounts,
        identity=identity or Identity(settings.hub_api, roles.DESK_SERVICE),
        session=session,
        hub=hub or Hub(settings.hub_api, secret),
        database=database,
        audit=audit,
        hands=hands_up,
        messages=Messages(database, audit, wakeups),
        wakeups=wakeups,
        exchange=exchange,
        live=Live(sources, wakeups, pages.render),
        ledger=ledger,
        reports=reports,
        pages=pages,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await desk.identity.close()
        await desk.session.close()
        await desk.hub.close()
        desk.database.close()
        desk.exchange.close()
        desk.ledger.close()
        sources.close()

    app = FastAPI(
        title="gpuclass desk", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.desk = desk
    for part in (router, board.router, acts.router, hands.router, messages.router, reporting.router, student.router):
        app.include_router(part, prefix=PREFIX)
    for name, folder in _static().items():
        app.mount(f"{PREFIX}/static/{name}", Public(directory=folder), name=name)
    app.add_middleware(Bounded)
    _answer_refusals(app)
    return app


def serve(settings: Settings) -> None:
    """Run the desk on the class network until it is told to stop."""
    config = uvicorn.Config(
        create_app(settings),
        host=str(settings.gateway),
        port=settings.site.desk_port,
        log_level="info",
        server_header=False,
        http=Guarded,
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=3,  # open boards are streams that never end
    )
    logging.getLogger("uvicorn.access").addFilter(reporting.worth_a_line)  # Config sets the loggers up
    uvicorn.Server(config).run()


class Bounded:
    """Refuses a request whose body is longer than anything that the desk takes, before it is all here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, counting what it sends."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > BODY_LIMIT:
                raise HTTPException(413, "too large")
            return message

        return await self.app(scope, counted, send)


class Public(StaticFiles):
    """Files that are the same for everybody. The panel in Lab is of no origin, and a font is taken only with leave."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """As Starlette's, with leave for every page."""
        answer = super().file_response(*args, **options)
        answer.headers["Access-Control-Allow-Origin"] = "*"
        return answer


def _static() -> dict[str, Path]:
    """Folders of files that are the same for everybody."""
    from jupyterhub._data import DATA_FILES_PATH

    return {
        "desk": HERE / "static",
        "hub": Path(DATA_FILES_PATH) / "static",  # JupyterHub's own look
        "htmx": MODULES / "htmx.org" / "dist",
        "sse": MODULES / "htmx-ext-sse",
    }


def _answer_refusals(app: FastAPI) -> None:
    async def log_in(request: Request, error: Exception) -> Response:
        page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if not page or "hx-request" in request.headers:
            return JSONResponse({"error": "log in"}, 401, headers={"HX-Refresh": "true"})
        desk: Desk = request.app.state.desk
        response = RedirectResponse("", 302)
        query = f"?{request.url.query}" if request.url.query else ""
        desk.session.begin(response, request, f"{quote(request.url.path)}{query}")
        return response

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)  # noqa: S101  # registered for nothing else
        return _refusal(request, error.status, error.text)

    async def wrong(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 422
        return _refusal(request, status, N_("There is no such page.") if status == 404 else N_("That cannot be read."))

    for kind, answer in {LogInNeeded: log_in, Refused: refused}.items():
        app.add_exception_handler(kind, answer)
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, wrong)


def _refusal(request: Request, status: int, text: str) -> Response:
    desk: Desk = request.app.state.desk
    language = desk.pages.language(request)
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": say(language, text)}, status)
    return desk.pages.page(request, None, "refused.html", status, text=say(language, text))


@router.get("/")
def first(person: Someone) -> Response:
    """The page that somebody comes for."""
    return RedirectResponse(f"{PREFIX}/{'board' if sees_others(person) else 'me'}", 302)


@router.get("/oauth_callback")
async def oauth_callback(request: Request, desk: TheDesk) -> Response:
    """The hub sends a browser back after its log-in."""
    try:
        fresh, page = await desk.session.finish(request)
    except LogInFailed:
        raise Refused(400, N_("Logging in did not work. Please try once more.")) from None
    response = RedirectResponse(page, 302)
    desk.session.keep(response, fresh)
    return response


@router.get("/logout")
def logout(desk: TheDesk) -> Response:
    """End the session here and at the hub."""
    response = RedirectResponse(f"{desk.settings.site.address}/hub/logout", 302)
    desk.session.end(response)
    return response


@router.get("/language/{chosen}")
def choose_language(chosen: str, page: str = "") -> Response:
    """Read the desk in another language, in this browser."""
    own = page if page.isascii() and page.replace("/", "").replace("-", "").isalnum() else ""
    response = RedirectResponse(f"{PREFIX}/{own}", 302)
    if chosen in LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, chosen, max_age=YEAR_S, path=f"{PREFIX}/", samesite="lax")
    return response


@router.get("/audit")
def who_did_what(request: Request, desk: TheDesk, person: Teacher, subject: str = "") -> Response:
    """What teachers and mentors did, newest first."""
    return desk.pages.page(
        request,
        person,
        "audit.html",
        subject=subject,
        audit=desk.audit.newest(subject=subject or None),
        names={each.login: each.name for each in desk.roster.people},
    )


@router.get("/health")
def health(desk: TheDesk) -> Response:
    """Whether the desk answers; tells nothing about the class."""
    return JSONResponse({"status": "ok"})
