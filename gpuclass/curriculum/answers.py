"""Answers to an exercise, right and wrong: an exercise's tests of itself.

``exercises/NN-topic/mutants/*.py`` are plausible wrong answers, each with the range of points it may get;
``variants/*.py`` are right answers written otherwise, which must get full marks. Each file opens with a block of TOML
in comments and gives, under ``# %% <grade_id>``, the whole text of the solution cells that it answers its own way. The
other solution cells keep the instructor's solution.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from gpuclass.curriculum.errors import SourceError

BLOCK = re.compile(r"\A# /// (?P<kind>mutant|variant)\n(?P<toml>(?:#(?: .*)?\n)+?)# ///\n")
CELL = re.compile(r"^# %% (?P<grade_id>[\w-]+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """One way of answering an exercise."""

    path: Path
    says: str  # what is wrong with it, or how it is right
    points: tuple[float, float] | None  # the least and the most that a mutant may get; None: full marks
    cells: Mapping[str, str]  # solution cell's grade_id → its text

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem


def read_answer(path: Path) -> Answer:
    """One mutant or variant.

    Raises:
        SourceError: the opening block or the cells cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    block = BLOCK.match(text)
    if not block:
        raise SourceError(f"{path}:1: must open with `# /// mutant` or `# /// variant`, TOML in comments, `# ///`")
    try:
        table = tomllib.loads("\n".join(line[2:] for line in block["toml"].splitlines()))
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{path}:2: the opening block is not TOML: {error}") from None
    wanted = {"wrong", "points"} if block["kind"] == "mutant" else {"right"}
    if set(table) != wanted:
        keys = " and ".join(sorted(wanted))
        raise SourceError(f"{path}:2: a {block['kind']} has the keys {keys}; here: {', '.join(table) or 'none'}")
    points = None
    if block["kind"] == "mutant":
        match table["points"]:
            case [int() | float() as least, int() | float() as most] if 0 <= least <= most:
                points = (float(least), float(most))
            case _:
                raise SourceError(f"{path}:2: points must be [least, most], such as [1, 2]")
    _, *parts = CELL.split(text[block.end() :])
    cells = {grade_id: body.strip("\n") for grade_id, body in zip(parts[::2], parts[1::2], strict=True)}
    if not cells:
        raise SourceError(f"{path}: has no `# %% <grade_id>` line, so it answers no cell")
    return Answer(path, str(table["wrong" if points else "right"]), points, cells)


def answers(exercise: Path) -> list[Answer]:
    """All mutants and variants in an exercise's folder, in order of their names."""
    return [read_answer(path) for kind in ("mutants", "variants") for path in sorted((exercise / kind).glob("*.py"))]


def solutions(notebook: NotebookNode) -> dict[str, str]:
    """The solution cells of a notebook: grade_id → text."""
    return {nbgrader["grade_id"]: cell.source for cell, nbgrader in _nbgrader(notebook) if nbgrader["solution"]}


def points(notebook: NotebookNode) -> dict[str, float]:
    """The graded cells of a notebook: grade_id → points."""
    return {nbgrader["grade_id"]: nbgrader["points"] for _, nbgrader in _nbgrader(notebook) if nbgrader["grade"]}


def answered(notebook: NotebookNode, cells: Mapping[str, str]) -> NotebookNode:
    """A copy of a notebook whose solution cells have these texts.

    Raises:
        SourceError: the notebook has no solution cell of that grade_id.
    """
    missing = set(cells) - set(solutions(notebook))
    if missing:
        raise SourceError(f"no solution cell is called {', '.join(sorted(missing))}")
    filled = copy.deepcopy(notebook)
    for cell, nbgrader in _nbgrader(filled):
        if nbgrader["grade_id"] in cells:
            cell.source = cells[nbgrader["grade_id"]]
    return filled


def _nbgrader(notebook: NotebookNode) -> list[tuple[NotebookNode, NotebookNode]]:
    return [(cell, cell.metadata["nbgrader"]) for cell in notebook.cells if "nbgrader" in cell.metadata]
