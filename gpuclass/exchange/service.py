"""The exchange's HTTP service: ngshare's API and our own beside it, below ``/services/exchange``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpuclass import __version__
from gpuclass.accounts import Accounts
from gpuclass.exchange import desk, docs_page, ngshare, submitting, v1
from gpuclass.exchange.bounds import Bounds
from gpuclass.exchange.context import Context
from gpuclass.exchange.courses import Courses
from gpuclass.exchange.errors import Refusal
from gpuclass.exchange.identity import Identity
from gpuclass.exchange.messages import say
from gpuclass.exchange.names import DEPTH_LIMIT, UnsafeName
from gpuclass.exchange.pacing import Pacing
from gpuclass.exchange.store import NotFound, Store
from gpuclass.exchange.streams import Streams
from gpuclass.exchange.uploads import Uploads
from gpuclass.settings import Settings

log = logging.getLogger(__name__)

PREFIX = "/services/exchange"
CONNECTIONS = 1000  # at the same time; more get 503 at once
DRAIN_LIMIT = 64 * 2**20  # bytes of an answered request that are still taken: a whole submission, in most classes
DRAIN_S = 10.0
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
}  # an answer that a browser is shown runs nothing, whatever a student wrote into it


def create_app(settings: Settings, store: Store | None = None, identity: Identity | None = None) -> FastAPI:
    """The service for one class.

    Args:
        settings: which class.
        store: where it keeps things; without it the one in ``settings.exchange_folder``, closed with the service.
        identity: who a token belongs to; without it the hub's word.
    """
    own_store = store or Store(settings.exchange_folder, reserve=settings.exchange.reserve)
    who = identity or Identity(settings.hub_api)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await who.close()
        if store is None:
            own_store.close()

    app = FastAPI(
        title="gpuclass exchange",
        version=__version__,
        description="Assignments out, submissions in, feedback back: ngshare's REST API and the class's own.",
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        lifespan=lifespan,
    )
    bounds = Bounds(settings.exchange, settings.class_.language)
    pacing = Pacing(bounds)
    app.state.context = Context(
        settings=settings,
        store=own_store,
        courses=Courses(own_store, settings.course, Accounts(settings.accounts_path).roster),
        identity=who,
        pacing=pacing,
        uploads=Uploads(bounds, pacing, own_store.incoming),
        streams=Streams(own_store, bounds, pacing),
    )
    for router in (ngshare.router, v1.router, submitting.router, desk.router, _pages(app)):
        app.include_router(router, prefix=PREFIX)
    app.add_middleware(_Edge, clock=own_store.clock)
    _answer_errors(app, settings)
    return app


def serve(settings: Settings) -> None:
    """Run the service on the class network until it is told to stop."""
    uvicorn.Server(server_config(settings)).run()


def server_config(settings: Settings) -> uvicorn.Config:
    """How the service listens."""
    return uvicorn.Config(
        create_app(settings),
        host=str(settings.gateway),
        port=settings.site.exchange_port,
        log_level="info",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=10,
    )


def _pages(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def docs() -> Response:
        """The API as a page for people; open, as it tells nothing about the class."""
        return HTMLResponse(docs_page.render(app.openapi()))

    return router


class _Edge:
    """Notes when a request's headers arrived, and adds the security headers to its answer.

    An answer that is given before the body has come is sent at once and ends the connection. What the client is still
    sending is taken and thrown away first, within bounds: closing in the middle of it would throw the answer away.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], datetime]) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["arrived"] = self._clock()
        headers = Headers(scope=scope)
        awaited = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

        async def heard() -> Message:
            nonlocal awaited
            message = await receive()
            awaited = awaited and message.get("more_body", False)
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.update(SECURITY_HEADERS)
                if awaited:
                    answer["Connection"] = "close"
            if awaited and message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _drain(receive)
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, heard, guarded)


async def _drain(receive: Receive) -> None:
    """Take what still comes of a request that was answered, up to ``DRAIN_LIMIT`` and ``DRAIN_S``."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while size < DRAIN_LIMIT:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _answer_errors(app: FastAPI, settings: Settings) -> None:
    """Every error has ngshare's shape; what went wrong inside is in the log only."""
    language = settings.class_.language

    def refuse(status: int, message: str, hint: str | None = None, headers: dict[str, str] | None = None) -> Response:
        content = {"success": False, "message": message}
        return JSONResponse({**content, **({"hint": hint} if hint else {})}, status, headers=headers)

    @app.exception_handler(Refusal)
    async def refusal(request: Request, error: Refusal) -> Response:
        return refuse(error.status, error.message, error.hint, error.headers)

    @app.exception_handler(NotFound)
    async def not_found(request: Request, error: NotFound) -> Response:
        return refuse(404, str(error))

    @app.exception_handler(UnsafeName)
    async def unsafe_name(request: Request, error: UnsafeName) -> Response:
        return refuse(400, say(language, f"name.{error.reason}", name=error.name, limit=DEPTH_LIMIT))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        [first, *_] = error.errors()
        return refuse(400, "Incorrect request format", f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return refuse(error.status_code, error.detail, headers=dict(error.headers or {}))

    @app.exception_handler(OSError)
    @app.exception_handler(OperationalError)
    async def disk(request: Request, error: OSError | OperationalError) -> Response:
        log.error("the store failed: %s", error, exc_info=error)
        return refuse(507, say(language, "disk"))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return refuse(500, "Internal server error")  # Starlette logs it, with its traceback
