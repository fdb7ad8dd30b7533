"""What is known of every student at one moment. Only values: nothing here reads a file or a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from gpuclass.desk.reports import Report
from gpuclass.gpus.model import Lease
from gpuclass.roster import Person

Stage = Literal["none", "waiting", "running", "graded", "quarantined", "failed"]


class Hand(Protocol):
    """A hand that is up."""

    @property
    def login(self) -> str:
        """Whose."""

    @property
    def raised_at(self) -> datetime:
        """Since when."""

    @property
    def taken_by(self) -> str | None:
        """Login of whoever goes there; None while nobody does."""

    @property
    def taken_at(self) -> datetime | None:
        """Since when somebody does."""


@dataclass(frozen=True)
class Work:
    """A student's newest submission to an assignment.

    Attributes:
        stage: how far its grading is; ``none`` if nobody asked for one.
        received: when it came.
        score, most: of its newest grading, shown to the student or not; None without one.
    """

    stage: Stage
    received: datetime
    score: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Student:
    """What is known of one student.

    Attributes:
        person: by the roster.
        lease: what they hold or wait for; None while their server is off.
        ahead: how many stand before them in the queue.
        used: bytes that their programs have on the GPU; None where nobody says.
        active: when they did something last, as far as anybody has seen; None for never.
        report: what their notebooks reported last.
        work: their newest submission by assignment.
        hand: theirs, if it is up.
        helper: name of whoever has taken it; empty while nobody has.
    """

    person: Person
    lease: Lease | None = None
    ahead: int = 0
    used: int | None = None
    active: datetime | None = None
    report: Report | None = None
    work: Mapping[str, Work] = field(default_factory=dict)
    hand: Hand | None = None
    helper: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Everything that boards are made of.

    Attributes:
        at: when it was read.
        students: in the order of the roster.
        assignments: names of those that are released, sorted.
        lively: whether the class works: then it means something that somebody does not.
    """

    at: datetime
    students: tuple[Student, ...] = ()
    assignments: tuple[str, ...] = ()
    lively: bool = False

    def of_team(self, team: str) -> Snapshot:
        """The same with the students of one team alone: what is not in it, no board can show."""
        return replace(self, students=tuple(each for each in self.students if each.person.team == team))
