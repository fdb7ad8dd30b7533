"""The code cells of a notebook as they are run: which are tests, and what the instructor has in their place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from nbformat import NotebookNode

NOT_FILES = frozenset(("timestamp.txt", "feedback"))


@dataclass(frozen=True)
class Cell:
    """A code cell as it is to be run.

    Attributes:
        source: what runs.
        test: an automatically graded test cell.
        points: that it may give.
        original: the same cell in the instructor's notebook, if it has one.
        locked: the student could not change it.
        grade_id: nbgrader's name for it; empty if it has none.
        passed: for a test, the instructor's cells before it that the submission lost, and whether each is read-only.
    """

    source: str
    test: bool = False
    points: float = 0.0
    original: str | None = None
    locked: bool = False
    grade_id: str = ""
    passed: tuple[tuple[str, bool], ...] = ()


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that are run, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def grade_id(cell: NotebookNode) -> str:
    """nbgrader's name for a cell; empty if it has none."""
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def is_test(cell: NotebookNode) -> bool:
    """Automatically graded: graded, and not an answer."""
    known = cell.metadata.get("nbgrader", {})
    return bool(known.get("grade")) and not known.get("solution")


def is_locked(cell: NotebookNode) -> bool:
    """Read-only for students."""
    return bool(cell.metadata.get("nbgrader", {}).get("locked"))


def originals(source: NotebookNode) -> dict[str, str]:
    """The code cells of the instructor's notebook that are no tests, by grade_id or else by their place."""
    code = [cell for cell in code_cells(source) if not is_test(cell)]
    return {grade_id(cell) or f"{number}.": str(cell.source) for number, cell in enumerate(code)}


def with_passed(cells: Iterable[Cell], source: NotebookNode) -> list[Cell]:
    """The same cells, each test with the instructor's cells that it should come after and that nobody reached.

    A student can delete an answer cell, or its mark. What a test before it called by the answer's names would else be
    taken for the answer.
    """
    order = code_cells(source)
    names = [grade_id(cell) or f"{number}." for number, cell in enumerate(order)]
    reached: set[str] = set()
    found = []
    for cell in cells:
        reached.add(cell.grade_id)
        passed: tuple[tuple[str, bool], ...] = ()
        if cell.test and cell.grade_id in names:
            before = zip(names[: names.index(cell.grade_id)], order, strict=False)
            lost = [(name, own) for name, own in before if name not in reached and not is_test(own)]
            passed = tuple((str(own.source), is_locked(own)) for _, own in lost)
            reached |= {name for name, _ in lost}
        found.append(replace(cell, passed=passed) if passed else cell)
    return found


def beside(folder: Path) -> dict[str, bytes]:
    """The files that lie beside a notebook and go into the sandbox with it."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.suffix != ".ipynb" and path.name not in NOT_FILES and not path.is_symlink()
    }
