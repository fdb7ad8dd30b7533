"""Slows down guessing: so many attempts in a row, then a wait. Knows keys and a clock, nothing of passwords."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

KEYS_LIMIT = 10_000  # names that somebody makes up must not fill the hub's memory


class Throttle:
    """Counts attempts that did not succeed.

    Args:
        failures: attempts in a row before a key has to wait.
        wait: seconds; an attempt is forgotten as long after it.
        now: monotonic clock in seconds.
    """

    def __init__(self, failures: int, wait: float, now: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._wait = wait
        self._now = now
        self._attempts: dict[Hashable, tuple[int, float]] = {}  # count and time of the last, oldest first

    def attempt(self, key: Hashable) -> float:
        """Ask for one attempt: 0 when it may be made, else the seconds to wait.

        It counts as failed until ``succeeded`` is called, so attempts that run side by side are counted too.
        """
        now = self._now()
        count, last = self._attempts.get(key, (0, now))
        if now - last >= self._wait:
            count = 0
        if count >= self._failures:
            return self._wait - (now - last)
        self._attempts.pop(key, None)
        self._attempts[key] = (count + 1, now)
        self._forget(now)
        return 0

    def succeeded(self, key: Hashable) -> None:
        """Forget the attempts under this key."""
        self._attempts.pop(key, None)

    def _forget(self, now: float) -> None:
        while self._attempts:
            oldest = next(iter(self._attempts))
            if len(self._attempts) <= KEYS_LIMIT and now - self._attempts[oldest][1] < self._wait:
                return
            del self._attempts[oldest]
