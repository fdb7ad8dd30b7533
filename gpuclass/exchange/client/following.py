"""Follows a student's submissions until there is a result, and has Lab say it: nobody needs to reload a list.

The plugin notes what was submitted; the user's server looks, only while something is noted, and less often the longer
the line is. Nothing expensive is imported before there is a note: eighty servers start at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gpuclass.exchange.client.corner import PLACE, Corner

if TYPE_CHECKING:
    from gpuclass.exchange.messages import Language

_log = logging.getLogger(__name__)

FILE = "following.json"
LOOK_S = 2.0  # how soon a note is seen: one look at a file
BUSY_S = 3.0  # between questions to the exchange about what is next or being graded
EACH_S = 0.5  # more for each that is graded before
LONGEST_S = 20.0
LATER_S = 60.0  # between questions about a result that is not shown yet
KEPT_S = 7 * 86400.0  # what has no result by then is not followed any more
KEPT = 50  # submissions


class Exchange(Protocol):
    """The request that is made; a `Connection`, or a double in tests."""

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        """Answer to GET."""


def follow(corner: Corner, course: str, submission: int, now: float) -> None:
    """Note a submission to be followed."""
    noted = corner.read(FILE)
    noted[str(submission)] = {"course": course, "since": now, "told": ""}
    corner.write(dict(list(noted.items())[-KEPT:]), FILE)


def look(corner: Corner, exchange: Exchange, zone: str, now: float) -> float | None:
    """Ask the exchange once, and tell what is new.

    Args:
        corner: of the student's home.
        exchange: of the class.
        zone: the class's time zone.
        now: seconds since the epoch.

    Returns:
        Seconds to the next question; None when nothing is left to follow.

    Raises:
        Refused: the exchange did not answer.
    """
    from gpuclass.exchange.messages import LANGUAGES

    noted = {number: note for number, note in corner.read(FILE).items() if _is_note(note, now)}
    pauses, left = [], {}
    for course in sorted({note["course"] for note in noted.values()}):
        overview = exchange.get("gpuclass", "v1", "assignments", course)
        for item in overview["assignments"]:
            for submission in item["submissions"]:
                number = str(submission["submission"])
                note = noted.get(number)
                if note is None or note["course"] != course:
                    continue
                stage, pause = _stage(item, submission)
                if stage and stage != note["told"]:
                    korean, english = (
                        _text(language, zone, item, submission, overview["now"], shown=stage == "shown")
                        for language in LANGUAGES
                    )
                    level = "warning" if stage in ("failed", "quarantined") else "info"
                    corner.tell(f"graded-{number}-{stage}", level, korean, english, now)
                if pause is not None:
                    left[number] = {**note, "told": stage}
                    pauses.append(pause)
    added = {number: note for number, note in corner.read(FILE).items() if number not in noted and _is_note(note, now)}
    corner.write({**left, **added}, FILE)
    return min([*pauses, *([BUSY_S] if added else [])], default=None)


def _text(
    language: Language, zone: str, item: Mapping[str, Any], submission: Mapping[str, Any], now: str, *, shown: bool
) -> str:
    from gpuclass.exchange.client.receipts import progress
    from gpuclass.exchange.messages import say

    far = progress(language, zone, item, submission, now)
    text = say(language, "following.shown", text=far) if shown else far
    return f"{item['name']}: {text}"


def _is_note(note: object, now: float) -> bool:
    """Whether it is one that is to be followed; the student's own code can write there."""
    match note:
        case {"course": str(), "since": int() | float() as since, "told": str()}:
            return now - since < KEPT_S
    return False


def _stage(item: Mapping[str, Any], submission: Mapping[str, Any]) -> tuple[str, float | None]:
    """What is to be told of it, empty for nothing, and when to ask again; None: it is decided."""
    match submission["state"]:
        case "waiting" if submission["not_before"] is not None:
            return "delayed", LATER_S
        case "waiting":
            return "", min(BUSY_S + EACH_S * (submission["place"] or 0), LONGEST_S)
        case "running":
            return "", BUSY_S
        case "failed":
            return "failed", None
    if submission["status"] == "quarantined" and not submission["score"]:
        return "quarantined", None
    if submission["score"] is not None or submission["feedback"]:
        return "shown", None
    if item["feedback_opens"] == "now":
        return "", LONGEST_S  # its page is on its way
    return "hidden", LATER_S


class Following:
    """Looks whether something is noted, and asks while there is.

    Args:
        home: the user's.
        ask: asks once, in a thread; seconds to the next time, None when nothing is left.
        sleep, chance: time and chance.
    """

    def __init__(
        self,
        home: Path,
        ask: Callable[[Path], float | None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._home = home
        self._ask = ask or _ask
        self._sleep = sleep
        self._chance = chance
        self._file = home.joinpath(*PLACE, FILE)

    def start(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.create_task(self.run())  # kept, or it could be collected before it ends

    async def run(self) -> None:
        """Go on until the server ends. A new note is seen at once, however long the pause for an old one is."""
        seen, pause, waited = 0.0, 0.0, 0.0
        while True:
            written = self._written()
            if written is not None and (written != seen or waited >= pause):
                next_time = await self._once()
                pause = LATER_S * 60 if next_time is None else next_time * (0.75 + self._chance() / 2)
                seen, waited = self._written() or 0.0, 0.0
            await self._sleep(LOOK_S)
            waited += LOOK_S

    def _written(self) -> float | None:
        """When the notes were written; None if there are none."""
        try:
            found = self._file.lstat()
        except OSError:
            return None
        return found.st_mtime if found.st_size > len("{}") else None

    async def _once(self) -> float | None:
        try:
            return await asyncio.to_thread(self._ask, self._home)
        except Exception:  # whatever lies in that file, the next question must come
            _log.exception("what became of a submission could not be asked")
            return LONGEST_S


def _ask(home: Path) -> float | None:
    from gpuclass.exchange.client.connection import Refused, from_environment  # requests: only now

    try:
        connection = from_environment("en", patience_s=0)
    except Refused:
        return None  # not a class's server
    try:
        return look(Corner(home), connection, os.environ.get("GPUCLASS_TIMEZONE") or "UTC", time.time())
    except Refused:
        return LONGEST_S
    finally:
        connection.close()
