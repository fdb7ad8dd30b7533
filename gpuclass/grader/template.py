"""The instructor's version of a notebook: what a submission is rebuilt from. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SourceCell:
    """One of the instructor's nbgrader cells; ``source`` is as released for answers, whole for tests."""

    grade_id: str
    cell_type: str
    source: str
    locked: bool
    grade: bool
    solution: bool
    task: bool
    points: float
    checksum: str | None
    released: str | None = None  # what students got, where that is not ``source``

    @property
    def shown(self) -> str:
        """The text that students got."""
        return self.source if self.released is None else self.released

    def metadata(self) -> dict[str, Any]:
        """nbgrader's metadata, schema version 3."""
        known: dict[str, Any] = {
            "schema_version": 3,
            "grade_id": self.grade_id,
            "grade": self.grade,
            "solution": self.solution,
            "locked": self.locked,
            "task": self.task,
            "cell_type": self.cell_type,
        }
        if self.grade or self.task:
            known["points"] = self.points
        if self.checksum:
            known["checksum"] = self.checksum
        return known


@dataclass(frozen=True)
class Template:
    """The instructor's version of one notebook.

    Attributes:
        cells: its nbgrader cells in order.
        metadata: its kernel.
        plain: type and text of its other cells.
    """

    cells: tuple[SourceCell, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    plain: frozenset[tuple[str, str]] = frozenset()
