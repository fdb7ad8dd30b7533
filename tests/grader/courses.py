"""An assignment and submissions to it, made by hand in nbgrader's form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

ADD = "def add(a, b):\n    ### BEGIN SOLUTION\n    return a + b\n    ### END SOLUTION\n"
RIGHT = "def add(a, b):\n    return a + b\n"
STUB = "def add(a, b):\n    # YOUR CODE HERE\n    raise NotImplementedError()\n"
VISIBLE = "assert add(1, 2) == 3, 'one and two'\n"
HIDDEN = "assert add(-4, 1) == -3, 'a hidden secret'"
CREDIT = "round(sum(scale(x) == 2 * x for x in (1, 2, 3, 4)) / 4 * 2, 2)"


def cell(kind: str, source: str, grade_id: str | None = None, **known: Any) -> NotebookNode:
    made: NotebookNode = getattr(nbformat.v4, f"new_{kind}_cell")(source)
    if grade_id:
        roles = {"grade": False, "solution": False, "locked": False, "task": False, **known}
        made.metadata["nbgrader"] = {"schema_version": 3, "grade_id": grade_id, **roles}
    return made


def notebook(*cells: NotebookNode) -> NotebookNode:
    made: NotebookNode = nbformat.v4.new_notebook(cells=list(cells))
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def source_version() -> NotebookNode:
    """Answer, visible and hidden tests, partial credit, a written answer."""
    return notebook(
        cell("markdown", "# 더하기 Adding"),
        cell("code", "import math", "imports", locked=True),
        cell("code", ADD, "add", solution=True),
        cell("code", VISIBLE, "test-add", grade=True, locked=True, points=3),
        cell(
            "code",
            f"{VISIBLE}### BEGIN HIDDEN TESTS\n{HIDDEN}\n### END HIDDEN TESTS",
            "test-add-hidden",
            grade=True,
            locked=True,
            points=5,
        ),
        cell(
            "code",
            "def scale(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION",
            "scale",
            solution=True,
        ),
        cell("code", CREDIT, "test-scale", grade=True, locked=True, points=2),
        cell("markdown", "Because.", "why", grade=True, solution=True, points=4),
    )


def released(source: NotebookNode | None = None) -> NotebookNode:
    """What students get of `source_version`."""
    made: NotebookNode = nbformat.from_dict(source or source_version())
    for each in made.cells:
        known = each.metadata.get("nbgrader", {})
        if known.get("solution"):
            each.source = (
                STUB
                if known["grade_id"] == "add"
                else "def scale(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
            )
        if known["grade_id"] == "why" if known else False:
            each.source = "YOUR ANSWER HERE"
        if HIDDEN in each.source:
            each.source = VISIBLE.rstrip()
    return made


def by_id(nb: NotebookNode, grade_id: str) -> NotebookNode:
    found: NotebookNode = next(c for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)
    return found


def solved(change: Callable[[NotebookNode], None] | None = None, add: str = RIGHT) -> NotebookNode:
    """A right submission, or what ``change`` makes of it."""
    made = released()
    by_id(made, "add").source = add
    by_id(made, "scale").source = "def scale(x):\n    return 2 * x"
    if change:
        change(made)
    return made


def write(folder: Path, nb: NotebookNode | str | bytes, name: str = "ps1") -> Path:
    """``folder`` with the notebook in it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = nb if isinstance(nb, bytes) else (nb if isinstance(nb, str) else nbformat.writes(nb)).encode()
    (folder / f"{name}.ipynb").write_bytes(content)
    return folder
