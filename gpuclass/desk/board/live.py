"""Open boards: all share one look at the class a second, and are told only what changed."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from gpuclass.desk.board.changes import Changes, View, changes, view
from gpuclass.desk.board.snapshot import Snapshot
from gpuclass.desk.board.sources import Sources
from gpuclass.desk.board.tiles import Tile
from gpuclass.desk.wakeups import Wakeups
from gpuclass.errors import PlainError
from gpuclass.settings import Language

log = logging.getLogger(__name__)

LOOK_S = 1.0  # from one look to the next; a hand is shown at once
ALIVE_S = 15.0  # without a change something is sent all the same: proxies and browsers end silent streams
STREAMS = 6  # boards that one person can have open; browsers open no more to one site anyway

READ_ERRORS = (PlainError, sqlite3.Error, SQLAlchemyError, OSError)  # somebody else's file, for a moment

Render = Callable[[Language, str, dict[str, object]], str]


class Live:
    """The class as it is now, and the streams that follow it.

    Args:
        sources: what is read.
        wakeups: tell that a hand was raised or taken.
        render: a template in one language.
    """

    def __init__(self, sources: Sources, wakeups: Wakeups, render: Render) -> None:
        self._sources = sources
        self._wakeups = wakeups
        self._render = render
        self._looked = -math.inf
        self._turn = asyncio.Lock()
        self._views: dict[str | None, View] = {}
        self._before: dict[str | None, View] = {}
        self._snapshot = Snapshot(datetime.min.replace(tzinfo=UTC))
        self._html: dict[tuple[Language, str], tuple[Tile, str]] = {}
        self._streams: Counter[str] = Counter()

    async def now(self, team: str | None, *, since: float = 0.0) -> View:
        """The board of the class, or of one team alone.

        Args:
            team: whose; None for the class.
            since: `time.monotonic()` of the last news that must be in it.

        Raises:
            READ_ERRORS: something cannot be read.
        """
        async with self._turn:
            if time.monotonic() - self._looked >= 0.9 * LOOK_S or since > self._looked:
                began = time.monotonic()
                self._snapshot = await run_in_threadpool(self._sources.read)
                self._looked, self._before, self._views = began, self._views, {}
            if team not in self._views:
                shown = self._snapshot if team is None else self._snapshot.of_team(team)
                known = self._before.get(team)
                self._views[team] = view(shown, known.tiles if known else None)
            return self._views[team]

    async def stream(
        self, login: str, team: str | None, language: Language, allowed: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[str, None]:
        """Server-sent events: first the whole board, then what changes.

        Args:
            login: who looks.
            team: the team whose board it is; None for the class.
            language: of the reader.
            allowed: whether they still may; the stream ends when not.
        """
        if self.full(login):
            return
        self._streams[login] += 1
        shown: View | None = None
        spoke = since = 0.0
        try:
            with self._wakeups.listening() as news:
                while await allowed():
                    try:
                        found = await self.now(team, since=since)
                        change = changes(shown, found)
                    except READ_ERRORS:
                        log.exception("The board cannot be read")
                        yield "event: away\ndata: 1\n\n"
                        shown = None  # what comes next takes the notice away
                        await asyncio.sleep(ALIVE_S)
                        continue
                    if change:
                        yield self._event(found, change, language)
                        spoke = time.monotonic()
                    elif time.monotonic() - spoke > ALIVE_S:
                        yield ": alive\n\n"
                        spoke = time.monotonic()
                    shown = found
                    if await news.within(LOOK_S):
                        since = time.monotonic()
        finally:
            self._streams[login] -= 1

    def full(self, login: str) -> bool:
        """Whether somebody has as many streams as they can."""
        return self._streams[login] >= STREAMS

    def html(self, tile: Tile, language: Language) -> str:
        """A tile as HTML; made once for all who see it."""
        known = self._html.get((language, tile.login))
        if known is None or known[0] != tile:
            text = self._render(language, "parts/tile.html", {"tile": tile})
            known = self._html[language, tile.login] = tile, text
        return known[1]

    def totals(self, found: View, language: Language) -> str:
        """The line above the tiles."""
        return self._render(language, "parts/totals.html", {"totals": found.totals})

    def _event(self, found: View, change: Changes, language: Language) -> str:
        told = {
            "tiles": {login: self.html(found.tiles[login], language) for login in change.tiles},
            "gone": change.gone,
            "order": change.order,
            "totals": self.totals(found, language) if change.totals else None,
        }
        return f"event: board\ndata: {json.dumps(told, ensure_ascii=False)}\n\n"
