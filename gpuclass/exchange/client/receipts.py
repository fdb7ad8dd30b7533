"""How times, deadlines and receipts are put into words, in the class's zone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from gpuclass.exchange.messages import Language, megabytes, say
from gpuclass.exchange.wire import read_time

DAYS: dict[Language, list[str]] = {
    "ko": ["월", "화", "수", "목", "금", "토", "일"],
    "en": ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
}
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@cache
def zone(name: str) -> tzinfo:
    """The zone called so; UTC if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def local(timestamp: str, zone_name: str) -> datetime:
    """A time of the exchange in the class's zone."""
    return read_time(timestamp).astimezone(zone(zone_name))


def receipt_line(language: Language, zone_name: str, assignment: str, receipt: Mapping[str, Any]) -> str:
    """What a receipt says: time, size, number, whether it is late, which version it answers."""
    parts = [
        assignment,
        f"{local(receipt['timestamp'], zone_name):%Y-%m-%d %H:%M:%S}",
        megabytes(receipt["size"]),
        say(language, "receipt.number", number=receipt["submission"]),
        *marks(language, late=receipt.get("late"), due=receipt.get("due"), version=receipt.get("version")),
    ]
    return " · ".join(parts)


def marks(language: Language, *, late: bool | None, due: str | None, version: int | None) -> list[str]:
    """Late or in time, where there is a deadline; which version was answered, where that is known."""
    found = []
    if late:
        found.append(say(language, "receipt.late"))
    elif due:
        found.append(say(language, "receipt.in_time"))
    if version:
        found.append(say(language, "receipt.version", version=version))
    return found


def due_line(language: Language, zone_name: str, due: str, now: str) -> str:
    """Until when something can be handed in, as it stands at ``now`` by the exchange's clock."""
    moment, today = local(due, zone_name), local(now, zone_name)
    text = f"{moment:%H:%M}"
    if moment.date() != today.date():
        text = f"{_day(language, moment)} {text}"
    return say(language, "due.passed" if today > moment else "due.until", time=text)


def _day(language: Language, moment: datetime) -> str:
    day = DAYS[language][moment.weekday()]
    if language == "ko":
        return f"{moment.month}월 {moment.day}일({day})"
    return f"{day} {moment.day} {MONTHS[moment.month - 1]}"


def pressed_line(language: Language, zone_name: str, pressed: str) -> str:
    """When a press that still waits was made."""
    try:
        time = f"{local(pressed, zone_name):%H:%M}"
    except ValueError:  # from the student's own file
        time = "?"
    return say(language, "outbox.pressed", time=time)
