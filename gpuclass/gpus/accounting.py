"""Who had how much of the GPUs, as people ask for it: since when, and with the names of everybody in the class."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from gpuclass.accounts import Account
from gpuclass.errors import UsageError
from gpuclass.gpus.ledger import UsageRow
from gpuclass.units import duration

_FORMATS = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


@dataclass(frozen=True)
class Share:
    """One person's part of the GPUs.

    Attributes:
        login, name, team: who; name and team are empty for somebody who never was in the roster.
        seats: how many GPU seats they held.
        gpu_seconds: how long they held one.
        seat_seconds: the same, times what their seat was worth in ordinary ones.
        waits: how many GPU seats they were given in that time.
        wait_mean, wait_max: seconds that they waited for one; 0 without a wait.
    """

    login: str
    name: str
    team: str
    seats: int
    gpu_seconds: float
    seat_seconds: float
    waits: int
    wait_mean: float
    wait_max: float


def moment(text: str, zone: str, now: float) -> float:
    """The moment, in seconds since the epoch, that somebody means.

    Args:
        text: ``2026-12-01``, ``2026-12-01 09:00`` (the class's time), ``today``, or how long ago: ``90m``, ``2d``.
        zone: the class's time zone.
        now: the time.

    Raises:
        UsageError: it is none of these.
    """
    here = ZoneInfo(zone)
    if text == "today":
        return datetime.fromtimestamp(now, here).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    for form in _FORMATS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=here).astimezone(UTC).timestamp()
        except ValueError:
            continue
    try:
        return now - duration(text)
    except ValueError:
        raise UsageError(
            f'{text!r} is not a time; write "2026-12-01", "2026-12-01 09:00", "today", or how long ago: "90m", "2d".'
        ) from None


def shares(rows: Iterable[UsageRow], accounts: Mapping[str, Account]) -> list[Share]:
    """Everybody's part, most first. Who is in the class and had nothing is in it too: that is what one looks for."""
    had = {row.user: row for row in rows}
    nothing = [login for login, account in accounts.items() if account.active and login not in had]
    return [
        *(_share(row, accounts.get(row.user)) for row in had.values()),
        *(_share(UsageRow(login, 0, 0.0, 0.0, 0, 0.0, 0.0), accounts[login]) for login in nothing),
    ]


def _share(row: UsageRow, account: Account | None) -> Share:
    return Share(
        login=row.user,
        name=account.person.name if account else "",
        team=account.person.team if account else "",
        seats=row.leases,
        gpu_seconds=round(row.seconds, 1),
        seat_seconds=round(row.seat_seconds, 1),
        waits=row.waits,
        wait_mean=round(row.wait_mean, 1),
        wait_max=round(row.wait_max, 1),
    )


def as_csv(found: Sequence[Share]) -> str:
    """The shares as CSV with a line of headings, for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = list(Share.__dataclass_fields__)
    writer.writerow(columns)
    writer.writerows([[getattr(share, column) for column in columns] for share in found])
    return text.getvalue()


def clock(seconds: float) -> str:
    """A length of time that a person can read: ``1:05`` is an hour and five minutes, ``0:00:40`` forty seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}" if hours or minutes >= 5 or not rest else f"{hours}:{minutes:02}:{rest:02}"
