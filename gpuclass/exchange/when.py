"""Moments as a teacher types them and reads them: wall-clock time of the class's zone, UTC inside. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from gpuclass.errors import UsageError

NONE = "none"
HINT = '"2026-11-24 18:00", "18:00" (today), "+30m" or "+2h" from now, or "none"'

_DAY_AND_TIME = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})[ T](\d{1,2}):(\d\d)")
_TIME = re.compile(r"(\d{1,2}):(\d\d)")
_LATER = re.compile(r"\+(\d{1,4})([mh])")
_STEPS = {"m": timedelta(minutes=1), "h": timedelta(hours=1)}


def moment(text: str, zone: str, now: datetime) -> datetime | None:
    """The moment that somebody means, in UTC; None for ``none``.

    A time that the clocks show twice, when summer time ends, is the later one: nobody is late by it. 24:00 ends
    the day.

    Args:
        text: ``2026-11-24 18:00`` or ``18:00`` (today), the class's time; ``+30m`` or ``+2h`` from now; ``none``.
        zone: the class's time zone.
        now: the time, aware.

    Raises:
        UsageError: it is none of these, or the clocks never show that time.
    """
    text, here = text.strip(), ZoneInfo(zone)
    if text == NONE:
        return None
    if later := _LATER.fullmatch(text):
        return (now + int(later[1]) * _STEPS[later[2]]).astimezone(UTC)
    if found := _DAY_AND_TIME.fullmatch(text):
        year, month, day, hour, minute = map(int, found.groups())
    elif found := _TIME.fullmatch(text):
        hour, minute = map(int, found.groups())
        today = now.astimezone(here)
        year, month, day = today.year, today.month, today.day
    else:
        raise UsageError(f"{text!r} is not a time; write {HINT}. Times are those of {zone}.")
    try:
        end_of_day = (hour, minute) == (24, 0)
        clock = datetime(year, month, day, 0 if end_of_day else hour, minute)  # noqa: DTZ001  # made aware below
        clock += timedelta(days=end_of_day)
        meant = clock.replace(tzinfo=here, fold=1).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"There is no {text!r}; write {HINT}.") from None
    if meant.astimezone(here).replace(tzinfo=None) != clock:
        raise UsageError(f"At {text!r} the clocks of {zone} are put forward: they never show that time.")
    return meant


def show(when: datetime, zone: str) -> str:
    """A moment in the class's zone with its day of the week: ``Tue 2026-11-24 18:00``; seconds only where there are."""
    here = when.astimezone(ZoneInfo(zone))
    seconds = f"{here:%S}" + (f".{here.microsecond:06}" if here.microsecond else "")
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[here.weekday()]
    return f"{day} {here:%Y-%m-%d %H:%M}" + (f":{seconds}" if seconds != "00" else "")


def span(seconds: float) -> str:
    """How long, in the largest unit that leaves at least two of it: ``45 s``, ``90 min``, ``30 h``, ``3 days``."""
    for unit, step in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * step:
            return f"{seconds / step:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
