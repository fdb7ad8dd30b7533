"""Ends a process that hangs, so that its supervisor starts it again."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

EXIT_HUNG = 75  # EX_TEMPFAIL

log = logging.getLogger("gpuclass.watch")


class Alarm:
    """Ends this process when it has not been kicked for a while: it hangs in the driver, and nobody else sees that.

    A process in uninterruptible sleep ends only when the kernel lets it; until then no other is started in its place.
    """

    def __init__(
        self,
        limit_s: float,
        ring: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s = limit_s
        self._ring = ring
        self._clock = clock
        self._kicked_at = clock()

    def start(self, every_s: float = 1.0) -> None:
        """Look at it from a thread of its own."""

        def run() -> None:
            while True:
                time.sleep(every_s)
                self.check()

        threading.Thread(target=run, daemon=True, name="alarm").start()

    def kick(self) -> None:
        """All is well at this moment."""
        self._kicked_at = self._clock()

    def check(self) -> None:
        """Ring when it is time."""
        silent = self._clock() - self._kicked_at
        if silent > self._limit_s:
            log.critical(
                "The NVIDIA driver has not answered for %.0f s: a GPU is sick. This process ends and is started again; "
                "if that does not help, look at `dmesg` and reboot.",
                silent,
            )
            self._ring(EXIT_HUNG)
