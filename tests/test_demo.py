"""The parts of the demo that decide something."""

from typing import Any

import pytest
from nbformat import NotebookNode, from_dict

from gpuclass.demo import Outcome, Score, answered, score_in
from gpuclass.rehearsal import RehearsalError


def cell(grade_id: str, source: str, **more: Any) -> dict[str, Any]:
    nbgrader = {"grade_id": grade_id, "grade": False, "solution": False, **more}
    return {"cell_type": "code", "source": source, "metadata": {"nbgrader": nbgrader}}


REFERENCE = from_dict(
    {
        "cells": [
            cell("one", "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION", solution=True),
            cell("two", "### BEGIN SOLUTION\nx = 2\n### END SOLUTION\n", solution=True),
            cell("test", "assert f() == 1", solution=False, grade=True),
        ]
    }
)
RELEASED = from_dict(
    {
        "cells": [
            cell("one", "def f():\n    # YOUR CODE", solution=True),
            cell("two", "# YOUR CODE", solution=True),
            cell("test", "assert f() == 1", solution=False, grade=True),
            {"cell_type": "code", "source": "1 + 1", "metadata": {}},
        ]
    }
)


def sources(notebook: NotebookNode) -> list[str]:
    return [cell["source"] for cell in notebook["cells"]]


def test_the_right_student_gives_the_reference_answers() -> None:
    assert sources(answered(RELEASED, REFERENCE)) == [*sources(REFERENCE), "1 + 1"]


def test_the_wrong_student_leaves_the_last_answer_out() -> None:
    assert sources(answered(RELEASED, REFERENCE, wrong=True))[:2] == [sources(REFERENCE)[0], "# YOUR CODE"]


def test_answering_does_not_change_the_released_version() -> None:
    before = sources(RELEASED)
    answered(RELEASED, REFERENCE)
    assert sources(RELEASED) == before


def test_the_score_is_read_off_the_feedback_page() -> None:
    assert score_in('<p class="score">점수 1.5 / 10</p><p class="score">점수 0 / 1</p>') == Score(1.5, 10.0)


def test_a_page_without_a_score_is_an_error() -> None:
    with pytest.raises(RehearsalError):
        score_in("<h1>404</h1>")


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [((5, 5), (3, 5), True), ((4, 5), (3, 5), False), ((5, 5), (5, 5), False), ((0, 0), (0, 0), False)],
)
def test_the_demo_succeeds_only_with_the_expected_scores(
    right: tuple[float, float], wrong: tuple[float, float], expected: bool
) -> None:
    assert Outcome(Score(*right), Score(*wrong)).as_expected is expected
