"""When a seat is idle, and when it is given back: outside lessons only, and never without a warning.

A seat is idle while all kernels of its server are idle and no process of it computes. A running training whose browser
is closed is neither: its kernel is busy, or its process on the GPU is. Whatever cannot be asked counts as not idle, for
as long as `WORD_COUNTS` says; then only what the host itself measures on the GPU counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx

from gpuclass.gpus.model import Lease
from gpuclass.settings import Settings
from gpuclass.watch.usage import SeatUse, Usage

WARN_S = 300.0  # from the warning until the seat is taken
WORD_COUNTS = 4
"""So many times ``[gpu] idle`` a server is believed that its kernels are busy though nothing is seen on the GPU.

A cell at `input()`, one that sleeps, or a server that lies or hangs would hold a seat for ever otherwise. With the
usual 30 minutes that is two hours: longer than data are got ready on the CPU before a training, shorter than a night.
"""
ANSWER_LIMIT = 2**20  # bytes; the server that answers is the student's
ASK_TIMEOUT_S = 5.0  # for the whole answer: one byte every few seconds must not keep the others' seats unlooked at
_AT_REST = frozenset({"idle", "dead"})


@dataclass(frozen=True)
class Kernel:
    """A kernel or a terminal of somebody's server: whether it works, and when it last did."""

    busy: bool
    last_activity: float


class Verdict(StrEnum):
    """What to do about a seat."""

    KEEP = "keep"
    WARN = "warn"
    RECLAIM = "reclaim"


KernelsOf = Callable[[str], Awaitable[Sequence[Kernel] | None]]


async def idle_since(kernels_of: KernelsOf, usage: Usage | None, lease: Lease, now: float) -> float | None:
    """Since when a seat has been idle; None when it is not, or nobody can say.

    Args:
        kernels_of: kernels of the server in a container; None when it does not answer.
        usage: what the watch saw last; None when that is not fresh.
        lease: whose seat.
        now: the moment.
    """
    seat = usage.of_container(lease.container) if usage else None
    if seat is None:
        return None
    kernels = await kernels_of(lease.container)
    if kernels is None or any(kernel.busy for kernel in kernels):
        return None
    return min(now, max([lease.granted_at, seat.busy_at, *(kernel.last_activity for kernel in kernels)]))


def lesson_ended(settings: Settings, now: float) -> float:
    """When the last lesson before ``now`` ended; 0 when there was none. Listening in a lesson is not idleness."""
    zone = ZoneInfo(settings.class_.timezone)
    ends = [end.replace(tzinfo=zone).timestamp() for _, end in settings.class_.lessons]
    return max((end for end in ends if end <= now), default=0.0)


def decide(since: float | None, *, warned_at: float | None, settings: Settings, now: float) -> Verdict:
    """What to do about a seat.

    Args:
        since: since when it has been idle; None when it is not.
        warned_at: when its holder was warned of this idleness; None when they were not. The caller forgets it when
            the verdict is KEEP.
        settings: the class.
        now: the moment.
    """
    if since is None or settings.in_lesson(now):
        return Verdict.KEEP
    since = max(since, lesson_ended(settings, now))
    if now - since < max(settings.gpu.idle - WARN_S, 0):
        return Verdict.KEEP
    if warned_at is None or now - warned_at < WARN_S or now - since < settings.gpu.idle:
        return Verdict.WARN
    return Verdict.RECLAIM


def unheard_since(seat: SeatUse, lease: Lease, settings: Settings, now: float) -> float | None:
    """Since when nothing was seen on the GPU, once that is so long that the server's word counts no more; else None.

    Args:
        seat: what the watch saw last.
        lease: whose seat.
        settings: the class.
        now: the moment.
    """
    since = max(seat.busy_at, lease.granted_at, lesson_ended(settings, now))
    return since if now - since > WORD_COUNTS * settings.gpu.idle else None


async def ask(client: httpx.AsyncClient, server_url: str, token: str) -> list[Kernel] | None:
    """Kernels and terminals of a server, asked with the server's own token; None when it gives no answer we understand.

    Args:
        client: for the request.
        server_url: ``http://<container>:8888/user/<login>/``.
        token: ``JUPYTERHUB_API_TOKEN`` of that server.
    """
    found: list[Kernel] = []
    for path in ("api/kernels", "api/terminals"):
        answer = await _get(client, f"{server_url}{path}?no_track_activity=1", token)  # else asking counts as use
        if answer is None:
            return None
        try:
            found += [_kernel(entry) for entry in answer]
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
    return found


def way_in(container: Mapping[str, Any], network: str) -> tuple[str, str] | None:
    """Address and token of the server in a container; None when it is not a server's, or not in the class's network.

    The hub itself keeps only a hash of the token. All of it was written by the spawner and the engine, nothing by the
    student.

    Args:
        container: what the engine says of it.
        network: name of the class's network.
    """
    pairs = [entry.partition("=") for entry in (container.get("Config") or {}).get("Env") or []]
    environment = {name: value for name, _, value in pairs}
    token, bound = environment.get("JUPYTERHUB_API_TOKEN"), urlsplit(environment.get("JUPYTERHUB_SERVICE_URL", ""))
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    address = (networks.get(network) or {}).get("IPAddress")
    if not token or not bound.port or not address:
        return None
    return f"http://{address}:{bound.port}{bound.path}", token


async def _get(client: httpx.AsyncClient, url: str, token: str) -> list[Any] | None:
    """The list that a URL answers with; an empty one for a part of the server that is switched off."""
    body = bytearray()
    headers = {"Authorization": f"token {token}", "Accept-Encoding": "identity"}
    try:
        async with (
            asyncio.timeout(ASK_TIMEOUT_S),
            client.stream("GET", url, headers=headers, timeout=ASK_TIMEOUT_S, follow_redirects=False) as response,
        ):
            if response.status_code == httpx.codes.NOT_FOUND:
                return []
            if response.status_code != httpx.codes.OK or "Content-Encoding" in response.headers:
                return None  # unpacked, a kilobyte can be gigabytes
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_LIMIT:
                    return None
        answer = httpx.Response(200, content=bytes(body)).json()
    except (httpx.HTTPError, TimeoutError, ValueError, RecursionError):
        return None
    finally:
        client.cookies.clear()  # whoever is given this server's address next must not be sent what it has set
    return answer if isinstance(answer, list) else None


def _kernel(entry: Any) -> Kernel:
    moment = datetime.fromisoformat(entry["last_activity"])
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Kernel(busy=entry.get("execution_state", "idle") not in _AT_REST, last_activity=moment.timestamp())
