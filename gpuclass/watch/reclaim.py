"""Seats that are idle outside lessons: their holders are warned, then their servers are stopped. Runs in the hub."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import docker
import httpx
import requests
from docker.errors import DockerException

from gpuclass.engine import SOCKET
from gpuclass.errors import PlainError
from gpuclass.gpus.model import Lease, State
from gpuclass.settings import Settings
from gpuclass.watch import notices
from gpuclass.watch.idle import (
    WARN_S,
    Kernel,
    KernelsOf,
    Verdict,
    ask,
    decide,
    idle_since,
    lesson_ended,
    unheard_since,
    way_in,
)
from gpuclass.watch.notices import Board
from gpuclass.watch.usage import read_usage

LOOK_S = 30.0
INSPECT_TIMEOUT_S = 5
ASKED_AT_ONCE = 8  # servers; each answers within milliseconds, or after idle.ASK_TIMEOUT_S not at all

log = logging.getLogger("gpuclass.reclaim")


class Servers:
    """The users' servers, asked by the containers they run in.

    Args:
        settings: the class.
        inspect: what the engine says of a container.
        client: for the requests to the servers.
    """

    def __init__(
        self, settings: Settings, inspect: Callable[[str], Mapping[str, Any]], client: httpx.AsyncClient
    ) -> None:
        self._network = settings.network_name
        self._inspect = inspect
        self._client = client
        self._one_at_a_time = asyncio.Lock()  # a Docker client is not made to be shared by threads

    async def kernels_of(self, container: str) -> list[Kernel] | None:
        """Kernels and terminals of the server in a container; None when it does not answer."""
        try:
            async with self._one_at_a_time:
                found = await asyncio.to_thread(self._inspect, container)
        except (DockerException, requests.RequestException):
            return None
        way = way_in(found, self._network)
        return await ask(self._client, *way) if way else None


def inspector(base_url: str = f"unix://{SOCKET}") -> Callable[[str], Mapping[str, Any]]:
    """Asks this machine's engine for a container."""
    clients: list[docker.APIClient] = []

    def inspect(container: str) -> Mapping[str, Any]:
        if not clients:
            clients.append(docker.APIClient(base_url=base_url, version="auto", timeout=INSPECT_TIMEOUT_S))
        found: Mapping[str, Any] = clients[0].inspect_container(container)
        return found

    return inspect


class Reclaimer:
    """Looks for idle seats each time it is asked to; remembers whom it has warned.

    After a restart of the hub nobody counts as warned: they are warned again and get their five minutes again.

    Args:
        settings: the class.
        kernels_of: kernels of the server in a container; None when it does not answer.
        stop: stops a user's server, as its Stop button does; raises when it could not.
        board: where holders are warned; nobody else writes on it.
        reclaimed: is told whose seat was taken.
        now: the clock.
    """

    def __init__(
        self,
        settings: Settings,
        kernels_of: KernelsOf,
        stop: Callable[[str], Awaitable[None]],
        board: Board,
        reclaimed: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._kernels_of = kernels_of
        self._stop = stop
        self._board = board
        self._reclaimed = reclaimed
        self._now = now
        self._warned: dict[int, tuple[str, float]] = {}  # who and when, by lease
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._life: asyncio.Task[None] | None = None

    def begin(self, live: Callable[[], Iterable[Lease]]) -> None:
        """Begin `run` in the running event loop.

        Args:
            live: the leases that have not ended.
        """
        self._life = asyncio.get_running_loop().create_task(self.run(live))

    async def run(self, live: Callable[[], Iterable[Lease]]) -> None:
        """Look every so often. Never ends by itself."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look(live())
            except Exception:
                log.exception("idle seats could not be looked for; this is tried again")

    async def look(self, leases: Iterable[Lease]) -> None:
        """Warn whoever is idle, take the seat of whoever was warned long enough ago."""
        held = {lease.id: lease for lease in leases if lease.seats and lease.state is State.ACTIVE}
        for gone in self._warned.keys() - held.keys():
            self._forget(gone)
        ends = await asyncio.gather(*(self._look_at(lease) for lease in held.values()), return_exceptions=True)
        for error in ends:
            if isinstance(error, Exception):  # one server that cannot be stopped is no reason to keep the others
                log.error("an idle seat is still held: %s", error, exc_info=error)

    async def _look_at(self, lease: Lease) -> None:
        now = self._now()
        since = await self._idle_since(lease, now)
        _, warned_at = self._warned.get(lease.id, ("", None))
        match decide(since, warned_at=warned_at, settings=self._settings, now=now):
            case Verdict.KEEP:
                self._forget(lease.id)
            case Verdict.WARN:
                if warned_at is None:
                    self._warn(lease, now)
            case Verdict.RECLAIM:
                minutes = (now - (since or now)) / 60
                log.warning(
                    "%s has left the seat on %s idle for %.0f min; it is taken", lease.user, lease.device, minutes
                )
                await self._stop(lease.user)
                self._reclaimed(lease.user)
                self._forget(lease.id)

    def _forget(self, lease_id: int) -> None:
        user, warned_at = self._warned.pop(lease_id, ("", None))
        if warned_at is not None:
            self._board.withdraw(user)

    async def _idle_since(self, lease: Lease, now: float) -> float | None:
        """Since when; servers are asked only when it could matter."""
        if self._settings.in_lesson(now):
            return None
        usage = read_usage(self._settings.gpus_folder, lease.seats[0].engine, now)
        seat = usage.of_container(lease.container) if usage else None
        if seat is None:
            return None
        quiet = now - max(seat.busy_at, lease.granted_at, lesson_ended(self._settings, now))
        if quiet < self._settings.gpu.idle - WARN_S:
            return None
        if since := unheard_since(seat, lease, self._settings, now):
            return since
        async with self._asking:
            return await idle_since(self._kernels_of, usage, lease, now)

    def _warn(self, lease: Lease, now: float) -> None:
        try:
            self._board.show(lease.user, [notices.idle(now, seconds=WARN_S, mark=f"{lease.id}-{now:.0f}")], now)
        except (PlainError, OSError) as error:
            log.error("%s cannot be warned, so the seat stays: %s", lease.user, error)  # noqa: TRY400  # the text says it
        else:
            self._warned[lease.id] = (lease.user, now)
