"""A request's body in pieces: measured, and given up when it is too large, too slow or broken off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.requests import ClientDisconnect

from gpuclass.exchange.service.bounds import Bounds
from gpuclass.exchange.service.errors import Refusal

UPLOAD_TIMEOUT_S = 300.0  # for the whole; 50 MB over a slow school network take less
IDLE_TIMEOUT_S = 30.0  # without a byte: the other side is gone, and its place is free for its next try


def check_encoding(request: Request) -> None:
    """That the body is sent as it is.

    Raises:
        Refusal: 415, it is compressed, and nobody knows how large it would become.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "Content-Encoding is not supported; send the form as it is", reason="form")


def check_announced(request: Request, limit: int, bounds: Bounds) -> int:
    """How many bytes are announced, 0 if it is not said; at most ``limit``.

    Raises:
        Refusal: 413.
    """
    announced = request.headers.get("content-length", "0")
    size = int(announced) if announced.isdecimal() else 0
    if size > limit:
        raise bounds.too_large(limit)
    return size


async def chunks(request: Request, limit: int, bounds: Bounds) -> AsyncGenerator[bytes]:
    """The body as it comes, at most ``limit`` bytes of it.

    Raises:
        Refusal: 413, it is larger; 408, it is too slow; 400, it was broken off.
    """
    now = asyncio.get_running_loop().time
    end = now() + UPLOAD_TIMEOUT_S
    stream = request.stream()
    size = 0
    while True:
        try:
            async with asyncio.timeout_at(min(end, now() + IDLE_TIMEOUT_S)):
                chunk = await anext(stream, b"")
        except TimeoutError:
            seconds = int(UPLOAD_TIMEOUT_S if now() >= end else IDLE_TIMEOUT_S)
            raise Refusal(408, bounds.say("slow", seconds=seconds), reason="slow") from None
        except ClientDisconnect:
            raise Refusal(400, "The request ended early", reason="disconnected") from None  # nobody reads this
        if not chunk:
            return
        size += len(chunk)
        if size > limit:
            raise bounds.too_large(limit)
        yield chunk
