"""Reads what boards show from where others write it: roster, ledger, watch, exchange, hands and reports.

Reads only. What has not changed is not read again: SQLite says so by ``data_version``, files by their status. Whoever
asks does so in one thread at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gpuclass.accounts import Accounts
from gpuclass.desk.board.snapshot import Hand, Snapshot, Student
from gpuclass.desk.board.submissions import Submissions
from gpuclass.desk.board.tiles import lively
from gpuclass.desk.reports import Report
from gpuclass.exchange.store.store import Store
from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import Lease, State
from gpuclass.roster import Person, Role, Roster
from gpuclass.settings import Settings
from gpuclass.watch.usage import FRESH_S, SeatUse, Usage, read_usage

QUEUE_S = 15.0  # the order of the queue moves with the time, too: who had much GPU time moves up slowly
USAGE = ".usage.json"


class Hands(Protocol):
    """Hands that are up."""

    def open(self) -> Sequence[Hand]:
        """All of them."""


class Reports(Protocol):
    """What notebooks report."""

    def all(self) -> Mapping[str, Report]:
        """The newest of each login."""


class Version:
    """Whether another connection has committed something to a SQLite file since this was asked last; costs 20 µs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None

    def moved(self) -> bool:
        """Whether to read it again. A file that was put aside and made anew counts."""
        inode = self._path.stat().st_ino
        if self._seen is None or self._seen[0] != inode:
            self.close()
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        assert self._connection is not None  # noqa: S101  # made above, the first time
        seen = inode, int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        moved, self._seen = seen != self._seen, seen
        return moved

    def forget(self) -> None:
        """Count as moved the next time: what was to be read could not be."""
        self.close()
        self._seen = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass
class _Seen:
    """When somebody's notebooks did something last."""

    cells: tuple[str, int]
    at: datetime | None


class Sources:
    """All that there is to read of one class.

    Args:
        settings: the class.
        accounts, ledger, exchange, hands, reports: the desk's own.
        now: the time.
    """

    def __init__(
        self,
        settings: Settings,
        accounts: Accounts,
        ledger: Ledger,
        exchange: Store,
        hands: Hands,
        reports: Reports,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._ledger = ledger
        self._hands = hands
        self._reports = reports
        self._now = now
        self._ledger_version = Version(ledger.path)
        self._exchange_version = Version(settings.exchange_folder / "exchange.db")
        self._submissions = Submissions(exchange, settings.course)
        self._leases: dict[str, Lease] = {}
        self._ahead: dict[str, int] = {}
        self._queue_at = 0.0
        self._usages: dict[str, tuple[int, Usage | None]] = {}
        self._seen: dict[str, _Seen] = {}

    def close(self) -> None:
        """Close what was opened here."""
        self._ledger_version.close()
        self._exchange_version.close()

    def read(self) -> Snapshot:
        """What is so now.

        Raises:
            PlainError, sqlite3.Error, SQLAlchemyError, OSError: something cannot be read; ask again later.
        """
        now, roster = self._now(), self._accounts.roster()
        self._read_ledger(now.timestamp())
        self._read_exchange()
        used = self._read_usage(now.timestamp())
        hands = {hand.login: hand for hand in self._hands.open()}
        reports = self._reports.all()
        students = tuple(
            self._student(person, roster, used, hands.get(person.login), reports.get(person.login))
            for person in roster.with_role(Role.STUDENT)
        )
        return Snapshot(now, students, self._submissions.assignments, lively(students, now))

    def _student(
        self, person: Person, roster: Roster, used: Mapping[str, SeatUse], hand: Hand | None, report: Report | None
    ) -> Student:
        login = person.login
        lease = self._leases.get(login)
        seat = used.get(lease.container) if lease and lease.container else None
        work = self._submissions.of(login)
        moments = [each.received for each in work.values()]
        if report is not None and (cell := self._last_cell(login, report)):
            moments.append(cell)
        if seat is not None:
            moments.append(datetime.fromtimestamp(seat.busy_at, UTC))
        helper = roster.get(hand.taken_by) if hand and hand.taken_by else None
        return Student(
            person,
            lease,
            self._ahead.get(login, 0),
            seat.used if seat else None,
            max(moments, default=None),
            report,
            work,
            hand,
            helper.name if helper else (hand.taken_by or "" if hand else ""),
        )

    def _last_cell(self, login: str, report: Report) -> datetime | None:
        """When a cell ran last. A report comes every half minute, whatever its owner does."""
        cells = report.session, report.cells
        seen = self._seen.get(login)
        if seen is None:
            seen = self._seen[login] = _Seen(cells, report.at if report.cells else None)
        elif seen.cells != cells or report.busy:
            seen.cells, seen.at = cells, report.at
        return seen.at

    def _read_ledger(self, now: float) -> None:
        moved = self._ledger_version.moved()
        waits = any(lease.state is State.QUEUED for lease in self._leases.values())
        if not moved and not (waits and now - self._queue_at >= QUEUE_S):
            return
        try:
            self._leases = {lease.user: lease for lease in self._ledger.live()}
            self._ahead = {request.user: place for place, request in enumerate(self._ledger.queue())}
        except Exception:
            self._ledger_version.forget()
            raise
        self._queue_at = now

    def _read_exchange(self) -> None:
        if not self._exchange_version.moved():
            return
        try:
            self._submissions.read()
        except Exception:
            self._exchange_version.forget()
            raise

    def _read_usage(self, now: float) -> dict[str, SeatUse]:
        """What each seat uses, by container, of every machine whose watch has said so lately."""
        folder = self._settings.gpus_folder
        found: dict[str, SeatUse] = {}
        for path in folder.glob(f"*{USAGE}"):
            engine = path.name.removesuffix(USAGE)
            with suppress(FileNotFoundError):
                written = path.stat().st_mtime_ns
                known = self._usages.get(engine)
                if known is None or known[0] != written:
                    known = self._usages[engine] = written, read_usage(folder, engine, now)
                usage = known[1]
                if usage is not None and now - usage.taken_at <= FRESH_S:
                    found |= {seat.container: seat for seat in usage.seats}
        return found
