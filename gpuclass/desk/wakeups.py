"""Wakes whoever waits for news of the desk: a student's server whose question is held, an open board."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

EVERYBODY = ""  # the login of those who wait for news of anybody


class News:
    """Whether there was news since somebody began to listen."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def tell(self) -> None:
        """There is some; called from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def within(self, seconds: float) -> bool:
        """Wait for it, so long at most; whether there is some. What comes from now on counts for the next call."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Wakeups:
    """Who listens, by login."""

    def __init__(self) -> None:
        self._listening: dict[str, set[News]] = {}
        self._turn = threading.Lock()

    def wake(self, logins: Collection[str] | None) -> None:
        """There is news for these people, or, with None, for everybody."""
        with self._turn:
            names = [*self._listening] if logins is None else [*logins, EVERYBODY]
            found = [each for name in names for each in self._listening.get(name, ())]
        for news in found:
            news.tell()

    @contextmanager
    def listening(self, login: str = EVERYBODY) -> Iterator[News]:
        """Listen for news; what comes while one looks at how things are is not missed."""
        news = News()
        with self._turn:
            self._listening.setdefault(login, set()).add(news)
        try:
            yield news
        finally:
            with self._turn:
                self._listening[login].discard(news)
                if not self._listening[login]:
                    del self._listening[login]
