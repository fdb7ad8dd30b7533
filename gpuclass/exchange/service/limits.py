"""How often and how much at once one person may send."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MINUTE_S = 60.0


class TooFast(Exception):  # noqa: N818  # what happened
    """More than so many in a minute; ``wait`` seconds until the next is taken."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"wait {wait:.0f} s")
        self.wait = math.ceil(wait)


class TooMany(Exception):  # noqa: N818  # what happened
    """As many at the same time as are allowed are under way."""


class PerMinute:
    """At most ``limit`` a person in any 60 seconds."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._times: dict[str, deque[float]] = {}

    def take(self, login: str) -> None:
        """Count one.

        Raises:
            TooFast: it is one too many, and is not counted.
        """
        now = self._clock()
        times = self._times.setdefault(login, deque())
        while times and now - times[0] >= MINUTE_S:
            times.popleft()
        if len(times) >= self._limit:
            raise TooFast(MINUTE_S - (now - times[0]))
        times.append(now)


class AtOnce:
    """At most ``limit`` a person at the same time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: Counter[str] = Counter()

    @contextmanager
    def one(self, login: str) -> Iterator[None]:
        """While one is under way.

        Raises:
            TooMany: it is one too many.
        """
        if self._running[login] >= self._limit:
            raise TooMany
        self._running[login] += 1
        try:
            yield
        finally:
            self._running[login] -= 1
            if not self._running[login]:
                del self._running[login]
