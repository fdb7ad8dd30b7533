"""Sends from the user's server what could not be sent when it was pressed. Until there is some it costs a look.

Nothing that is expensive is imported before something waits: eighty servers start at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from gpuclass.exchange.client.corner import PLACE

_log = logging.getLogger(__name__)

LOOK_S = 10.0  # what a command in a terminal left is seen after so long
FIRST_S = 1.0
LONGEST_S = 60.0
FOLDER = "outbox"  # as in gpuclass.exchange.client.outbox


class Background:
    """Looks whether something waits, and tries to send it with growing pauses.

    Args:
        home: the user's.
        send: tries once, in a thread; whether something is left.
        sleep, chance: time and chance.
    """

    def __init__(
        self,
        home: Path,
        send: Callable[[Path], bool] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.home = home
        self.failures = 0
        self._send = send or _send_what_waits
        self._sleep = sleep
        self._chance = chance
        self._place = home.joinpath(*PLACE, FOLDER)

    def start(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.create_task(self.run())  # kept, or it could be collected before it ends

    async def run(self) -> None:
        """Go on until the server ends."""
        while True:
            if self.anything():
                self.failures = self.failures + 1 if await self._try() else 0
            else:
                self.failures = 0
            await self._sleep(self.pause())

    async def _try(self) -> bool:
        """Try once; whether something is left."""
        try:
            return await asyncio.to_thread(self._send, self.home)
        except Exception:  # whatever lies in that folder, the next try must come
            _log.exception("what waits in the outbox could not be sent")
            return True

    def anything(self) -> bool:
        """Whether something waits."""
        try:
            with os.scandir(self._place) as entries:
                return any(entry.name.isdecimal() for entry in entries)
        except OSError:
            return False

    def pause(self) -> float:
        """Seconds to the next look; by chance, because the exchange comes back for all at the same moment."""
        if self.failures == 0:
            return LOOK_S
        return float(min(FIRST_S * 2**self.failures, LONGEST_S) * (0.5 + self._chance() / 2))


def _send_what_waits(home: Path) -> bool:
    from gpuclass.exchange.client.sender import send_what_waits  # requests: only now

    return send_what_waits(home)
