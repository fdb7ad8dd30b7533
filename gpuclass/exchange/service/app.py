"""The exchange's HTTP service: ngshare's API and our own beside it, below ``/services/exchange``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from starlette.responses import HTMLResponse

from gpuclass import __version__
from gpuclass.accounts import Accounts
from gpuclass.exchange.service import desk, docs_page, grading, ngshare, submitting, v1
from gpuclass.exchange.service.answers import answer_errors
from gpuclass.exchange.service.bounds import Bounds
from gpuclass.exchange.service.connections import Guarded
from gpuclass.exchange.service.context import Context
from gpuclass.exchange.service.edge import Edge
from gpuclass.exchange.service.health import Health
from gpuclass.exchange.service.identity import Identity
from gpuclass.exchange.service.metrics import Meters
from gpuclass.exchange.service.openapi import describe
from gpuclass.exchange.service.pacing import Pacing
from gpuclass.exchange.service.streams import Streams
from gpuclass.exchange.service.uploads import Uploads
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.store import Store
from gpuclass.settings import Settings

PREFIX = "/services/exchange"
CONNECTIONS = 1000  # at the same time; more get 503 at once


def create_app(settings: Settings, store: Store | None = None, identity: Identity | None = None) -> FastAPI:
    """The service for one class.

    Args:
        settings: which class.
        store: where it keeps things; without it the one in ``settings.exchange_folder``, closed with the service.
        identity: who a token belongs to; without it the hub's word.
    """
    own_store = store or Store(
        settings.exchange_folder, reserve=settings.exchange.reserve, attempts=settings.grading.attempts
    )
    meters = Meters(own_store)
    who = identity or Identity(settings.hub_api, asked=meters.asked_hub)

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
        uploads=Uploads(bounds, pacing, own_store.incoming, own_store.check_room),
        streams=Streams(own_store, bounds, pacing),
        meters=meters,
        health=Health(own_store),
    )
    for router in (ngshare.router, v1.router, submitting.router, desk.router, grading.router, _pages(app)):
        app.include_router(router, prefix=PREFIX)
    app.add_middleware(Edge, clock=own_store.clock)
    describe(app, PREFIX)
    answer_errors(app, settings.class_.language, meters)
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
        http=Guarded,
        ws="none",
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
