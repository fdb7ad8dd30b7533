"""Which of the instructor's cells a test comes after, whatever the student has left of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbformat import NotebookNode

from gpuclass.grader.cells import Cell, code_cells, grade_id, is_locked, is_test, originals, with_passed
from gpuclass.grader.execute import Plan, points_of, run
from tests.grader.agents import LIMITS, local_pair
from tests.grader.courses import cell, notebook

SOURCE = notebook(
    cell("code", "def helper(x):\n    return 2 * x", "helper", locked=True),
    cell("code", "def f(x):\n    return x + 1", "answer-1", solution=True),
    cell("code", "out = helper(3)\nassert f(1) == 2", "test-1", grade=True, locked=True, points=1),
    cell("code", "shown = 1"),
    cell("code", "out = helper(3)", "answer-2", solution=True),
    cell("code", "assert out == 6", "test-2", grade=True, locked=True, points=1),
)


def cells_of(submitted: NotebookNode) -> list[Cell]:
    """As `SandboxedExecute` makes them."""
    own = originals(SOURCE)
    made = [
        Cell(each.source, is_test(each), 1.0, own.get(grade_id(each)), is_locked(each), grade_id(each))
        for each in code_cells(submitted)
    ]
    return with_passed(made, SOURCE)


def without(*names: str) -> NotebookNode:
    return notebook(*(each for each in SOURCE.cells if grade_id(each) not in names))


def passed(cells: list[Cell]) -> dict[str, list[str]]:
    return {each.grade_id: [source for source, _ in each.passed] for each in cells if each.test}


def test_what_is_there_is_reached_when_it_runs() -> None:
    assert passed(cells_of(SOURCE)) == {"test-1": [], "test-2": ["shown = 1"]}


def test_a_lost_answer_is_passed_by_the_next_test_and_once() -> None:
    assert passed(cells_of(without("answer-1", "answer-2"))) == {
        "test-1": ["def f(x):\n    return x + 1"],
        "test-2": ["shown = 1", "out = helper(3)"],
    }


def test_a_read_only_cell_that_is_lost_is_passed_as_one() -> None:
    first = next(each for each in cells_of(without("helper")) if each.test)
    assert first.passed == (("def helper(x):\n    return 2 * x", True),)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("submitted", "wanted"),
    [
        (SOURCE, [1.0, 1.0]),
        (without("answer-2"), [1.0, 0.0]),
        (without("answer-1"), [0.0, 1.0]),
        (
            notebook(*(cell("code", "pass") if grade_id(each) == "answer-2" else each for each in SOURCE.cells)),
            [1.0, 0.0],
        ),
    ],
    ids=["complete", "deleted", "the first deleted", "its mark lost"],
)
def test_no_tests_own_value_stands_for_an_answer(tmp_path: Path, submitted: NotebookNode, wanted: list[float]) -> None:
    cells = cells_of(submitted)
    plan = Plan({}, list(originals(SOURCE).values()), None)
    ran = run(cells, lambda: local_pair(tmp_path, LIMITS), plan, 60)
    assert [points_of(one, 1.0) for each, one in zip(cells, ran, strict=True) if each.test] == wanted
