"""Students and hands as tests of the board need them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gpuclass.desk.board.snapshot import Snapshot, Student
from gpuclass.desk.reports import ErrorCount, Report
from gpuclass.gpus.model import Lease, State
from gpuclass.roster import Person, Role

NOW = datetime(2026, 12, 1, 9, 30, 15, tzinfo=UTC)


@dataclass(frozen=True)
class Raised:
    """A hand that is up."""

    login: str
    raised_at: datetime
    taken_by: str | None = None
    taken_at: datetime | None = None


def ago(minutes: float) -> datetime:
    """So many minutes before NOW."""
    return NOW - timedelta(minutes=minutes)


def lease(login: str, state: State = State.ACTIVE, minutes: float = 60, **more: Any) -> Lease:
    """A lease that has been in its state for so long."""
    return Lease(1, login, state, changed_at=ago(minutes).timestamp(), container=f"c-{login}", **more)


def report(repeated: int = 0, *, seconds: float = 5, busy: bool = False, error: str = "ValueError") -> Report:
    """What notebooks said so many seconds ago."""
    at = NOW - timedelta(seconds=seconds)
    return Report("01-pixels", "exercise", 9, (ErrorCount(error, 4),), repeated, busy, at)


def student(login: str = "s001", name: str = "", team: str = "1", **more: Any) -> Student:
    """A student whose server is on and who did something a minute ago, unless said otherwise."""
    known: dict[str, Any] = {"lease": lease(login), "active": ago(1), **more}
    return Student(Person(login, name or login, Role.STUDENT, team), **known)


def snapshot(*students: Student, lively: bool = True, assignments: tuple[str, ...] = ("ps1", "ps2")) -> Snapshot:
    """A class that works."""
    return Snapshot(NOW, students, assignments, lively)
