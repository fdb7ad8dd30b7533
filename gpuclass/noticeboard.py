"""What Lab shows of the seat: the line in the status bar, and notices of the watch, the hub and the kernel.

Runs in the user's server, which Lab asks every few seconds; so nothing here is imported or read before it asks, and one
answer costs a few small files.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gpuclass import cgroup
from gpuclass.seat import NOTICES, Card, read

FILES = ("watch.json", "hub.json")
CLOSE_TO_LIMIT = 0.9  # of a limit: the status bar turns to a warning

MESSAGE_LIMIT = 140  # Lab cuts longer notifications; the rest is behind a button
KILLED = {
    "ko": "메모리(RAM)가 부족해서 실행 중이던 커널이 꺼졌어요. 적어 둔 코드는 그대로예요. 데이터나 배치 크기를 "
    "줄이고, 안 쓰는 노트북의 커널을 끈 다음 위에서부터 다시 실행해 주세요. (한도 {limit:.1f} GiB)",
    "en": "Memory (RAM) ran out, so a kernel was stopped. Your code is kept. Use less data or smaller batches, then "
    "run from the top. (limit {limit:.1f} GiB)",
}


class NoticeBoard:
    """What is to be told, as it is now.

    Args:
        environ, notices, cgroups: where seat, notices and limits are; see gpuclass.seat.
        now: seconds since the epoch.
        home: where the exchange's plugin keeps what it has to tell.
        desk: gives what the class desk tells.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        notices: Path = NOTICES,
        cgroups: Path = cgroup.CGROUPS,
        now: Callable[[], float] = time.time,
        home: Path | None = None,
        desk: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    ) -> None:
        self.environ = environ
        self.notices = notices
        self.cgroups = cgroups
        self.now = now
        self.desk = desk
        self.home = home or Path(environ.get("HOME", "/"))
        self._kills = 0  # a container begins with none
        self._killed: dict[str, Any] | None = None

    def read(self) -> dict[str, Any]:
        """What Lab shows.

        Returns:
            ``text`` for the status bar, ``title`` and ``details`` behind it, ``close`` to a limit or not, and
            ``notices``, each with id, level ("info", "warning", "error") and text in the class's language.
        """
        card = read(self.environ, self.notices, self.cgroups, modules={})
        words = card.words
        return {
            "text": " · ".join(part for part, _ in self._parts(card)),
            "title": f"{words['title']}: {card.title}",
            "details": "\n".join(f"{name}: {value}" for name, value in card.rows),
            "close": any(close for _, close in self._parts(card)),
            "notices": [
                *posted(self.notices, card.language, self.now()),
                *self._own(card),
                *holding(self.desk(), card.language, self.now()),
                *self._exchange(card.language),
            ],
        }

    def _parts(self, card: Card) -> list[tuple[str, bool]]:
        """Parts of the status bar's line, and whether each is close to its limit."""
        parts = [(card.title, False)]
        if card.gpu and card.memory:
            parts = [_part("GPU", card.used, card.memory)]
        if card.ram:
            parts.append(_part("RAM", card.ram.used, card.ram.limit))
        return parts

    def _exchange(self, language: str) -> list[dict[str, Any]]:
        """What became of submissions and assignments, and what is not sent yet: that stays until it is."""
        from gpuclass.exchange.client.corner import Corner
        from gpuclass.exchange.client.outbox import waiting_line

        spoken: Literal["ko", "en"] = "en" if language == "en" else "ko"
        found = holding(Corner(self.home).notices(), language, self.now())
        waiting = waiting_line(spoken, self.home, self.now())
        if waiting:
            mark = hashlib.sha256(waiting.encode()).hexdigest()[:16]
            found.append({"id": f"waiting-{mark}", "level": "warning", "text": waiting})
        return found

    def _own(self, card: Card) -> list[dict[str, Any]]:
        """That the kernel has killed a process for memory, until it has to say so again."""
        if card.ram and card.ram.kills > self._kills:
            self._kills = card.ram.kills
            text = KILLED.get(card.language, KILLED["en"]).format(limit=card.ram.limit / 2**30)
            # A page that outlives its server keeps in mind what it has shown: the time makes this server's notice new.
            self._killed = {"id": f"killed-{self.now():.0f}-{self._kills}", "level": "error", "text": text}
        return [self._killed] if self._killed else []


def posted(folder: Path, language: str, now: float, files: Sequence[str] = FILES) -> list[dict[str, Any]]:
    """Notices that the host has put up and that hold: id, level, text. A file that cannot be read is a missing one."""
    found = []
    for name in files:
        try:
            found += holding(json.loads((folder / name).read_text(encoding="utf-8"))["notices"], language, now)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def holding(notices: Sequence[Mapping[str, Any]], language: str, now: float) -> list[dict[str, Any]]:
    """Those notices that hold, in one language; empty where one is none."""
    try:
        return [
            {"id": str(notice["id"]), "level": str(notice["level"]), "text": str(notice[language])}
            for notice in notices
            if notice.get("until") is None or notice["until"] > now
        ]
    except (KeyError, TypeError, AttributeError):
        return []


def _part(name: str, used: int | None, limit: int) -> tuple[str, bool]:
    if used is None:
        return f"{name} {limit / 2**30:.1f} GiB", False
    return f"{name} {used / 2**30:.1f} / {limit / 2**30:.1f} GiB", used > CLOSE_TO_LIMIT * limit
