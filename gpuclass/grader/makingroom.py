"""Cells added to, or removed from, an assignment that has submissions. nbgrader's generator refuses these.

It would have to know what becomes of the scores that are there. Here: an added cell has no points yet, a removed one
takes its automatic points with it, and one to which a person gave points or a remark may not go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbformat import NotebookNode
from nbgrader import utils
from nbgrader.api import Comment, Grade, Gradebook, GradeCell, Notebook, SolutionCell, SourceCell, TaskCell

KINDS = (GradeCell, SolutionCell, TaskCell, SourceCell)
NAMED = 5  # students in one sentence


class ByHand(Exception):  # noqa: N818  # what was found
    """A cell with points or remarks that a person gave is to go; the text says which, whose, and what to do."""


def make_room(gradebook: Gradebook, assignment: str, notebooks: Mapping[str, NotebookNode]) -> None:
    """Bring the gradebook's cells to those of the new version, so that nbgrader's generator takes it.

    In one transaction. Points and text of cells that stay are the generator's.

    Args:
        gradebook: has the assignment.
        assignment: its name.
        notebooks: the instructor's new version, by name.

    Raises:
        ByHand: somebody's manual grading would be lost; nothing was changed.
    """
    for known in gradebook.find_assignment(assignment).notebooks:
        if known.name in notebooks:  # others are refused by nbgrader itself
            for kind in KINDS:
                _to(gradebook, known, kind, _wanted(notebooks[known.name], kind))
    gradebook.db.commit()


def _wanted(notebook: NotebookNode, kind: Any) -> dict[str, NotebookNode]:
    test = {GradeCell: utils.is_grade, SolutionCell: utils.is_solution, TaskCell: utils.is_task, SourceCell: _is_source}
    return {cell.metadata.nbgrader["grade_id"]: cell for cell in notebook.cells if test[kind](cell)}


def _is_source(cell: NotebookNode) -> bool:
    return any(test(cell) for test in (utils.is_grade, utils.is_solution, utils.is_locked, utils.is_task))


def _to(gradebook: Gradebook, notebook: Notebook, kind: Any, wanted: Mapping[str, NotebookNode]) -> None:
    there = {cell.name: cell for cell in gradebook.db.query(kind).filter(kind.notebook_id == notebook.id)}
    for name in there.keys() - wanted.keys():
        _remove(gradebook, there[name], kind, notebook.name)
    for name in wanted.keys() - there.keys():
        cell = kind(name=name, notebook_id=notebook.id, cell_type=wanted[name].cell_type)
        if kind in (GradeCell, TaskCell):
            cell.max_score = float(wanted[name].metadata.nbgrader["points"])
        gradebook.db.add(cell)
        gradebook.db.flush()
        for submitted in notebook.submissions:
            if kind in (GradeCell, TaskCell):
                gradebook.db.add(Grade(cell_id=cell.id, notebook_id=submitted.id))
            if kind in (SolutionCell, TaskCell):
                gradebook.db.add(Comment(cell_id=cell.id, notebook_id=submitted.id))


def _remove(gradebook: Gradebook, cell: Any, kind: Any, notebook: str) -> None:
    rows = [
        *(gradebook.db.query(Grade).filter(Grade.cell_id == cell.id) if kind is not SourceCell else ()),
        *(gradebook.db.query(Comment).filter(Comment.cell_id == cell.id) if kind is not SourceCell else ()),
    ]
    by_hand = sorted({row.notebook.student.id for row in rows if _is_by_hand(row)})
    if by_hand:
        gradebook.db.rollback()
        whose = ", ".join(by_hand[:NAMED]) + (f" and {len(by_hand) - NAMED} more" if len(by_hand) > NAMED else "")
        raise ByHand(
            f"cell {cell.name!r} of {notebook} is not in the new version, and somebody graded it by hand ({whose}): "
            "these points would be lost. Put the cell back under its name; it may be worth 0 points."
        )
    for row in rows:
        gradebook.db.delete(row)
    gradebook.db.delete(cell)


def _is_by_hand(row: Grade | Comment) -> bool:
    if isinstance(row, Grade):
        return row.manual_score is not None or bool(row.extra_credit)
    return bool(row.manual_comment)
