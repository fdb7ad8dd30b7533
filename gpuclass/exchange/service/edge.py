"""The outermost layer of the service: when a request came, what every answer carries, and how an early one ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DRAIN_LIMIT = 64 * 2**20  # bytes of an answered request that are still taken: a whole submission, in most classes
DRAIN_S = 10.0
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
}  # an answer that a browser is shown runs nothing, whatever a student wrote into it


class Edge:
    """Notes when a request's headers arrived, and adds the security headers to its answer, whatever went wrong.

    An answer that is given before the body has come is sent at once and ends the connection. What the client is still
    sending is taken and thrown away first, within bounds: closing in the middle of it would throw the answer away.

    Args:
        app: what answers.
        clock: the server's; ``request.state.arrived`` is its time, ``request.state.began`` that of a clock that only
            grows, in seconds.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], datetime]) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  # ASGI's own
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {}).update(arrived=self._clock(), began=time.perf_counter())
        headers = Headers(scope=scope)
        awaited = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        begun = False

        async def heard() -> Message:
            nonlocal awaited
            message = await receive()
            awaited = awaited and message.get("more_body", False)
            return message

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                answer = MutableHeaders(scope=message)
                answer.update(SECURITY_HEADERS)
                if awaited:
                    answer["Connection"] = "close"
            if awaited and message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _drain(receive)
                message = {"type": "http.response.body"}
            await send(message)

        try:
            await self._app(scope, heard, guarded)
        except Exception:
            if not begun:
                content = {"success": False, "message": "Internal server error"}
                await JSONResponse(content, 500)(scope, receive, guarded)
            raise  # Starlette and uvicorn log it, with its traceback


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
