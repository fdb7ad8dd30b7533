"""Seats that are idle outside lessons: their holders are warned, then their servers are stopped. Runs in the hub."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

from gpuclass.errors import PlainError
from gpuclass.gpus import notices
from gpuclass.gpus.idle import WARN_S, KernelsOf, Verdict, decide, idle_since, lesson_ended
from gpuclass.gpus.model import Lease, State
from gpuclass.gpus.notices import Board
from gpuclass.gpus.usage import read_usage
from gpuclass.settings import Settings

ASKED_AT_ONCE = 8  # servers; each answers within milliseconds, or after idle.ASK_TIMEOUT_S not at all

log = logging.getLogger("gpuclass.reclaim")


class Reclaimer:
    """Looks for idle seats each time it is asked to; remembers whom it has warned.

    After a restart of the hub nobody counts as warned: they are warned again and get their five minutes again.

    Args:
        settings: the class.
        kernels_of: kernels of a user's server; None when it does not answer.
        stop: stops a user's server, as its Stop button does.
        board: where holders are warned; nobody else writes on it.
        now: the clock.
    """

    def __init__(
        self,
        settings: Settings,
        kernels_of: KernelsOf,
        stop: Callable[[str], Awaitable[None]],
        board: Board,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._kernels_of = kernels_of
        self._stop = stop
        self._board = board
        self._now = now
        self._warned: dict[int, tuple[str, float]] = {}  # who and when, by lease
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)

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
                log.warning(
                    "%s has not used the seat on %s since %.0f: it is given back", lease.user, lease.device, since
                )
                await self._stop(lease.user)
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
        async with self._asking:
            return await idle_since(self._kernels_of, usage, lease, now)

    def _warn(self, lease: Lease, now: float) -> None:
        try:
            self._board.show(lease.user, [notices.idle(now, seconds=WARN_S, mark=f"{lease.id}-{now:.0f}")], now)
        except (PlainError, OSError) as error:
            log.error("%s cannot be warned, so the seat stays: %s", lease.user, error)  # noqa: TRY400  # the text says it
        else:
            self._warned[lease.id] = (lease.user, now)
