"""Whatever happened to a notebook on its way: no crash, all tests back, and no answer lost that can be recognised.

Each answer here is a function that says whose it is. The rebuilt notebook is run with Python's own ``exec``, and at
each test the function there must be the student's.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions, ComputeChecksums, LockCells

from gpuclass.curriculum.building import EXERCISES, read_source, session_names, sources
from gpuclass.grader.sanitise import Quarantined, rebuild
from gpuclass.grader.template import SourceCell, Template
from tests.grader import courses, mangling
from tests.grader.mangling import FILE_MANGLINGS, MANGLINGS, Notebook, mark

OWN = "by-hand"
WRITTEN = f"Because, {OWN}."  # the answer in words
BODY = "'{function}, {own}'"
BODY_END = "\n\n    return text"
WHOLE = BODY + BODY_END
EXAMPLES = int(os.environ.get("GPUCLASS_MANGLINGS", "60"))  # a notebook; more for a long run


class LostAnswer(AssertionError):  # noqa: N818  # a failure of a test
    """At a test, the function was not the student's."""


@dataclass(frozen=True)
class Exercise:
    """A real exercise, and a submission to it whose answers say that they are the student's."""

    template: Template
    solved: Notebook
    asked: dict[str, str]  # grade_id → the function that it is to define


def answer(name: str, released: str) -> str:
    head = next(line for line in released.split("\n") if line.startswith(f"def {name}("))
    return f"{head}\n    text = '{name}, {OWN}'\n\n    return text"


@cache
def exercise(name: str) -> Exercise:
    if name == "ps1":
        source, blank = courses.source_version(), courses.released()
    else:
        source = read_source(sources(EXERCISES / name)[0])
        blank = nbformat.from_dict(copy.deepcopy(source))
        resources: dict[str, Any] = {}
        for step in (LockCells, ClearSolutions, ComputeChecksums, ClearHiddenTests):
            blank, resources = step().preprocess(blank, resources)
    cells: list[SourceCell] = []
    plain: set[tuple[str, str]] = set()
    asked: dict[str, str] = {}
    made: Notebook = json.loads(nbformat.writes(blank))
    stubs = []
    for whole, public, cell in zip(source.cells, blank.cells, made["cells"], strict=True):
        cell["source"] = public.source
        known = whole.metadata.get("nbgrader")
        if not known:
            plain.add((public.cell_type, public.source))
            continue
        text = whole.source if known["locked"] else public.source
        locked, grade, solution, task = (bool(known.get(role)) for role in ("locked", "grade", "solution", "task"))
        points = float(known.get("points", 0))
        about = (known["grade_id"], whole.cell_type, text, locked, grade, solution, task, points, None, public.source)
        cells.append(SourceCell(*about))
        if known["solution"]:
            stubs.append(copy.deepcopy(cell))
            if whole.cell_type == "code":
                (function,) = re.findall(r"^def (\w+)\(", public.source, re.MULTILINE)
                asked[known["grade_id"]] = function
                cell["source"] = answer(function, public.source)
            else:
                cell["source"] = f"{WRITTEN}\n\nAnd so."
    made["stubs"] = stubs
    return Exercise(Template(tuple(cells), {}, frozenset(plain)), made, asked)


NAMES = ("ps1", *session_names(EXERCISES))


def run(made: NotebookNode, known: Exercise) -> dict[str, list[str]]:
    """What each asked function says when each test begins, by test."""
    names: dict[str, Any] = {}
    said: dict[str, list[str]] = {}
    for cell in made.cells:
        if cell.cell_type != "code":
            continue
        about = cell.metadata.get("nbgrader", {})
        if about.get("grade") and about.get("locked"):
            said[about["grade_id"]] = [
                function
                for grade_id, function in known.asked.items()
                if says(names.get(function)) == f"{function}, {OWN}"
            ]
        else:
            with suppress(BaseException):
                exec(compile(cell.source, "cell", "exec"), names)  # noqa: S102  # text of this test's own
    return said


def says(function: Any) -> object:
    try:
        return function(*[None] * function.__code__.co_argcount)
    except Exception:
        return None


def check(notebook: Notebook, known: Exercise, lost: set[str]) -> list[str]:
    """Rebuild, look at all that must hold, and return what was repaired."""
    data = json.dumps({key: value for key, value in notebook.items() if key != "stubs"}).encode()
    made, repairs = rebuild(data, known.template, "x.ipynb", "en")
    nbformat.validate(made)
    text = nbformat.writes(made)
    again, _ = rebuild(text.encode(), known.template, "x.ipynb", "en")
    for one, other in zip(made.cells, again.cells, strict=True):
        assert (one.cell_type, one.source, one.metadata) == (other.cell_type, other.source, other.metadata)
    by_id = {mark(cell): cell for cell in made.cells if mark(cell)}
    ids = [mark(cell) for cell in made.cells if mark(cell)]
    assert len(ids) == len(by_id), "no mark twice"
    fixed = [cell for cell in known.template.cells if cell.locked]
    for cell in fixed:
        assert (by_id[cell.grade_id].source, by_id[cell.grade_id].cell_type) == (cell.source, cell.cell_type)
        assert by_id[cell.grade_id].metadata["nbgrader"] == cell.metadata()
    tests = [cell.grade_id for cell in fixed if cell.grade]
    assert [each for each in ids if each in tests] == tests, "in the instructor's order"
    place = {cell.grade_id: number for number, cell in enumerate(known.template.cells)}
    for test, functions in run(made, known).items():
        for grade_id, function in known.asked.items():
            asked_before = place[grade_id] < place[test] and grade_id not in lost
            if asked_before and function not in functions:
                raise LostAnswer(f"{grade_id} is lost before {test}: {repairs}")
    sent, kept = ("\n".join(str(cell["source"]) for cell in each["cells"]) for each in (notebook, made))
    for words in (WRITTEN, "And so."):
        assert (words in sent) <= (words in kept), "what was written stays, if nowhere else as a cell of its own"
    return repairs


def gone(notebook: Notebook, known: Exercise, part: str) -> set[str]:
    """The answers of which ``part`` stands in no cell any more."""
    texts = [str(cell.get("source")) for cell in notebook["cells"]]
    halves = [each for each in texts if OWN in each and BODY_END not in each] if part == WHOLE else []
    texts = [] if halves else texts  # of halves nobody can tell which belongs to which
    wanted = {grade_id: part.format(function=function, own=OWN) for grade_id, function in known.asked.items()}
    return {grade_id for grade_id, text in wanted.items() if not any(text in each for each in texts)}


def mangled(name: str, number: int, steps: int) -> tuple[Notebook, Exercise, set[str]]:
    """A submission after several manglings, and the answers that are not there whole: halves may be anywhere."""
    chance = random.Random(number)  # noqa: S311  # not a secret
    known = exercise(name)
    notebook = copy.deepcopy(known.solved)
    for _ in range(steps):
        chance.choice(MANGLINGS)(notebook, chance)
    return notebook, known, gone(notebook, known, WHOLE)


@pytest.mark.parametrize("name", NAMES)
def test_the_answers_say_whose_they_are(name: str) -> None:
    known = exercise(name)
    assert check(copy.deepcopy(known.solved), known, set()) == []
    assert known.asked


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", MANGLINGS, ids=lambda change: change.__name__)
def test_one_mangling_is_repaired(change: mangling.Mangling, name: str) -> None:
    for number in range(20):
        known = exercise(name)
        notebook = copy.deepcopy(known.solved)
        change(notebook, random.Random(number))  # noqa: S311  # not a secret
        check(notebook, known, gone(notebook, known, BODY))


def test_a_written_answer_that_lost_its_mark_reaches_the_teacher_as_that_answer() -> None:
    known = exercise("ps1")
    notebook = copy.deepcopy(known.solved)
    for cell in notebook["cells"]:
        cell["metadata"] = {} if WRITTEN in cell["source"] else cell["metadata"]
    made, repairs = rebuild(json.dumps(notebook).encode(), known.template, "x.ipynb", "en")
    assert WRITTEN in next(cell for cell in made.cells if mark(cell) == "why").source
    assert repairs == ["cells that had lost their mark were recognised: why"]


@pytest.mark.parametrize("answer_first", [True, False])
def test_a_released_cell_that_was_pasted_again_does_not_undo_the_answer(answer_first: bool) -> None:
    known = exercise("ps1")
    notebook = copy.deepcopy(known.solved)
    at = next(number for number, cell in enumerate(notebook["cells"]) if mark(cell) == "add")
    notebook["cells"].insert(at + answer_first, copy.deepcopy(notebook["stubs"][0]))
    assert check(notebook, known, set()) == ["of duplicated cells the last was kept: add"]


def test_an_import_added_below_a_read_only_one_is_kept() -> None:
    known = exercise("ps1")
    notebook = copy.deepcopy(known.solved)
    notebook["cells"][1]["source"] += "\nimport collections"
    made, _ = rebuild(json.dumps(notebook).encode(), known.template, "x.ipynb", "en")
    assert [cell.source for cell in made.cells[1:3]] == ["import math", "import collections"]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 10**9), st.integers(2, 6))
def test_after_any_manglings_all_tests_are_back_and_a_second_pass_changes_nothing(
    name: str, number: int, steps: int
) -> None:
    notebook, known, _ = mangled(name, number, steps)
    check(notebook, known, set(known.asked))


def test_after_several_manglings_hardly_an_answer_is_lost() -> None:
    """The figures in docs/explanation/grading.md: two to five manglings each, much more than one meets."""
    quarantined, lost, repaired = 0, [], 0
    for number in range(300):
        notebook, known, gone_ = mangled(NAMES[number % len(NAMES)], number, 2 + number % 4)
        try:
            repaired += bool(check(notebook, known, gone_))
        except Quarantined:
            quarantined += 1
        except LostAnswer:
            lost.append(number)
    print(f"300 mangled: {repaired} repaired, {quarantined} quarantined, {len(lost)} with an answer lost: {lost}")
    assert quarantined == 0
    assert len(lost) <= 2
    assert repaired > 200


@pytest.mark.parametrize("change", FILE_MANGLINGS, ids=lambda change: change.__name__)
def test_a_damaged_file_is_rebuilt_or_put_aside_with_a_reason(change: Callable[[bytes, random.Random], bytes]) -> None:
    for number in range(5):
        known = exercise(NAMES[number % len(NAMES)])
        data = json.dumps({key: value for key, value in known.solved.items() if key != "stubs"}).encode()
        damaged = change(data, random.Random(number))  # noqa: S311  # not a secret
        try:
            made, _ = rebuild(damaged, known.template, "x.ipynb", "ko")
        except Quarantined as error:
            reasons = error.reason("ko"), error.reason("en")
        else:
            reasons = "", "rebuilt"
            nbformat.validate(made)
            assert change.__name__ == "other_encoding", "what is whole in another encoding can be read"
        assert reasons[0] != reasons[1]
