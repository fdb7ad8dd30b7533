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
    passed = local(now, zone_name) > local(due, zone_name)
    return say(language, "due.passed" if passed else "due.until", time=clock_time(language, zone_name, due, now))


def clock_time(language: Language, zone_name: str, moment: str, now: str) -> str:
    """A time of the exchange as a clock on the wall shows it, with the day where that is not today's."""
    then, today = local(moment, zone_name), local(now, zone_name)
    text = f"{then:%H:%M}"
    return text if then.date() == today.date() else f"{_day(language, then)} {text}"


def progress(
    language: Language, zone_name: str, item: Mapping[str, Any], submission: Mapping[str, Any], now: str
) -> str:
    """How far a submission is; empty where there is nothing to say.

    Args:
        language: of the words.
        zone_name: the class's.
        item: the assignment, of the exchange's overview.
        submission: one of its submissions.
        now: by the exchange's clock.
    """

    def at(moment: str) -> str:
        return clock_time(language, zone_name, moment, now)

    state, score, later = submission["state"], submission["score"], submission.get("not_before")
    if submission.get("status") == "quarantined" and state == "done" and not score:
        return say(language, "state.quarantined")
    if score is not None and submission["max_score"] is not None:
        return say(language, "state.score", score=score, max_score=submission["max_score"])
    if state == "waiting" and later and read_time(later) > read_time(now):
        return say(language, "state.delayed", time=at(later))
    if state == "waiting" and (place := submission.get("place")) is not None:
        return say(language, "state.place" if place else "state.next", place=place)
    if state != "done":
        return say(language, f"state.{state}") if state else ""
    opens = item.get("feedback_opens", "now")
    if submission["feedback"] or opens == "now":
        return ""
    if opens == "after_deadline":
        return say(language, "state.opens_later", time=at(item["due"]))
    return say(language, "state.on_release")


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
