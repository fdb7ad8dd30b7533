"""What trying an assignment brought: findings, the answers that were tried, and both together as a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal[
    "differs", "solution", "blank", "mutant", "variant", "chance", "credit", "stderr", "slow", "none", "missing"
]
WARNINGS: frozenset[Kind] = frozenset(("stderr", "slow", "none", "missing"))  # what is told and stops no release


@dataclass(frozen=True)
class Finding:
    """One thing to mend.

    Attributes:
        kind: differs: not the same both ways; solution, blank, mutant, variant: not the points that it must get;
            chance: not the same twice; credit: partial credit that is none; stderr, slow: remarks; none: no tests;
            missing: no source version, so nothing will be graded automatically.
        notebook: in which.
        answers: with which answers, by name.
        grade_id: of the test cell; empty where it is about the whole notebook.
        line: of the test cell, counted from 1; 0 if none is known.
        code: what stands there.
        cell: the whole test.
        error: what was said there: the way that gave less.
        apart, together: points with the referee, and in one process. Seconds if something is slow.
        least, most: what an answer must get.
    """

    kind: Kind
    notebook: str
    answers: tuple[str, ...]
    grade_id: str = ""
    line: int = 0
    code: str = ""
    cell: str = ""
    error: str = ""
    apart: float | None = None
    together: float | None = None
    least: float = 0.0
    most: float = 0.0

    @property
    def refuses(self) -> bool:
        """Whether students must not get the assignment so."""
        return self.kind not in WARNINGS


@dataclass(frozen=True)
class Tried:
    """How one answer did."""

    name: str
    kind: str
    notebook: str
    points: float
    most: float
    seconds: float


@dataclass(frozen=True)
class Report:
    """What a check found."""

    assignment: str
    findings: tuple[Finding, ...] = ()
    tried: tuple[Tried, ...] = ()
    untried: int = 0  # answers left out because the solution or the release has something to be mended
    seconds: float = 0.0
    remembered: bool = False

    @property
    def refused(self) -> bool:
        """Whether students must not get the assignment so."""
        return any(finding.refuses for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """In values that JSON carries."""
        found = [{**asdict(finding), "refuses": finding.refuses} for finding in self.findings]
        return {**asdict(self), "findings": found, "refused": self.refused}

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Report:
        """The reverse of `as_dict`.

        Raises:
            KeyError, TypeError, ValueError: nothing that it writes.
        """
        findings = [{key: value for key, value in each.items() if key != "refuses"} for each in raw["findings"]]
        return cls(
            assignment=raw["assignment"],
            findings=tuple(Finding(**{**each, "answers": tuple(each["answers"])}) for each in findings),
            tried=tuple(Tried(**each) for each in raw["tried"]),
            untried=raw["untried"],
            seconds=raw["seconds"],
        )
