"""An assignment is tried before its release: what would not score the same in the notebook and when graded is named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import nbformat
import pytest

from gpuclass.curriculum.answers import Answer, read_answer
from gpuclass.grader import advice
from gpuclass.grader.candidates import answers_of
from gpuclass.grader.check import CheckError, check
from gpuclass.grader.findings import Finding, Report
from gpuclass.grader.pair import OpenPair, Pair
from gpuclass.grader.sandbox import EngineError
from tests.grader.agents import LIMITS, local_pair
from tests.grader.courses import cell, notebook

pytestmark = pytest.mark.slow

SOLUTION = """
def add(a, b):
    ### BEGIN SOLUTION
    return a + b
    ### END SOLUTION
def now():
    ### BEGIN SOLUTION
    import time
    return time.time()
    ### END SOLUTION
class Point:
    def __init__(self, x):
        ### BEGIN SOLUTION
        self.x = x
        ### END SOLUTION
    def __eq__(self, other):
        return self.x == other.x
def make(x):
    ### BEGIN SOLUTION
    return Point(x)
    ### END SOLUTION
"""
READ_ONLY = """
import random, sys, threading, time
class Clock:
    def read(self): return 5
"""

AWKWARD = {  # test: what is found, on which line of it, and a word of what to write instead
    "types": ("point = make(1)\nassert type(point) is Point", "differs", 2, "isinstance"),
    "equality": ("point = make(1)\n\nassert point == Point(1)", "differs", 3, "a.x == b.x"),
    "locks": ("key = threading.Lock()\nadd([key], [key])", "differs", 2, "_thread.lock"),
    "modules": ("assert add([time], []) == [time]", "differs", 1, "function"),
    "magics": ("x = add(1, 2)\n%time add(1, 2)\nassert x == 3", "differs", 2, "magics"),
    "patching": (
        "real, time.time = time.time, lambda: 5\ntry:\n    assert now() == 5\nfinally:\n    time.time = real",
        *("differs", 3, "as an argument"),
    ),
    "inheritance": ("class Mine(Point):\n    pass\nassert Mine(2).x == 2", "differs", 1, "inherit"),
    "numbers-of-objects": ("assert make(3).x + add(make(1), 0) if False else make(1) + 1", "solution", 1, "attribute"),
    "wrong": ("assert add(1, 2) == 3\nassert add(1, 2) == 4, 'not four'", "solution", 2, ""),
    "free": ("assert True", "blank", 0, ""),
    "credit": ("add(1, 2)", "credit", 0, ""),
    "stderr": ("print('careful', file=sys.stderr)\nassert add(1, 2) == 3", "stderr", 0, ""),
}
FINE = {
    "values": "assert add(1, 2) == 3 and make(4).x == 4 and isinstance(make(1), Point)",
    "fakes": "assert add([Clock().read()], [1]) == [5, 1]",
    "partial": "sum(add(x, 1) == x + 1 for x in (1, 2)) / 2",
}


@pytest.fixture
def opened() -> list[Path]:
    """The folders of the pairs that were opened."""
    return []


@pytest.fixture
def open_pair(tmp_path: Path, opened: list[Path]) -> OpenPair:
    def opens() -> AbstractContextManager[Pair]:
        opened.append(tmp_path / f"pair-{len(opened)}")
        return local_pair(opened[-1])

    return opens


def write(course: Path, tests: dict[str, str], solution: str = SOLUTION) -> None:
    folder = course / "source" / "ps1"
    folder.mkdir(parents=True, exist_ok=True)
    cells = [cell("code", READ_ONLY, "setup", locked=True), cell("code", solution, "answer", solution=True)]
    cells += [cell("code", test, name, grade=True, locked=True, points=1) for name, test in tests.items()]
    nbformat.write(notebook(*cells), folder / "ps1.ipynb")


def mutant(folder: Path, name: str, points: str, answer: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    block = f'# /// mutant\n# wrong = "it is"\n# points = {points}\n# ///\n\n'
    (folder / f"{name}.py").write_text(f"{block}# %% answer\n{answer}\n")


def found(report: Report, grade_id: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.grade_id == grade_id]


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Report:
    course = tmp_path_factory.mktemp("course")
    write(course, {name: test for name, (test, *_) in AWKWARD.items()} | FINE)
    count = iter(range(1000))
    return check(course, "ps1", lambda: local_pair(course / f"pair-{next(count)}"), LIMITS)


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_test_is_named_with_its_line_and_another_way_to_write_it(name: str, awkward: Report) -> None:
    source, kind, line, word = AWKWARD[name]
    (finding,) = found(awkward, name)
    assert (finding.kind, finding.line) == (kind, line), finding
    assert finding.code == (source.splitlines()[line - 1].strip() if line else "")
    english, korean = ("\n".join(advice.told(finding, language)) for language in ("en", "ko"))
    assert name in english
    assert name in korean
    assert word in english
    assert (f"line {line}" in english) == (f"{line}번째 줄" in korean) == bool(line)


@pytest.mark.parametrize("name", FINE)
def test_nothing_is_said_of_a_test_that_can_be_written_so(name: str, awkward: Report) -> None:
    assert not found(awkward, name)


def test_what_differs_refuses_the_release_and_a_remark_does_not(awkward: Report) -> None:
    assert awkward.refused
    assert not [finding for finding in found(awkward, "stderr") if finding.refuses]
    assert "not to be released" in advice.lines(awkward, "en")[-1]
    assert "배포하면 안 돼요" in advice.lines(awkward, "ko")[-1]


def test_a_report_survives_json(awkward: Report) -> None:
    assert Report.of(json.loads(json.dumps(awkward.as_dict()))) == awkward


def test_an_assignment_in_order_is_remembered_until_it_or_an_answer_changes(
    tmp_path: Path, open_pair: OpenPair, opened: list[Path]
) -> None:
    def again(**how: bool) -> tuple[bool, bool]:
        report = check(tmp_path, "ps1", open_pair, LIMITS, **how)  # type: ignore[arg-type]  # only ``anew``
        return report.refused, report.remembered

    write(tmp_path, FINE)
    assert again() == (False, False)
    pairs = len(opened)
    assert pairs == 3  # to record the contract, for the solution, for the release
    assert again() == (False, True)
    assert len(opened) == pairs
    assert again(anew=True) == (False, False)
    mutant(tmp_path / "mutants" / "ps1", "subtracts", "[1, 1]", "def add(a, b): return a - b\ndef make(x): return add")
    report = check(tmp_path, "ps1", open_pair, LIMITS)
    assert [(finding.kind, finding.answers, finding.apart) for finding in report.findings] == [
        ("mutant", ("subtracts",), 0.0)
    ]
    assert "must get 1 to 1 points and gets 0" in advice.lines(report, "en")[0]
    assert again() == (True, False)  # what was refused is tried each time
    write(tmp_path, {**FINE, "more": "assert add(1, 1) == 3"})
    assert again() == (True, False)


def test_a_test_that_depends_on_chance_is_told_of(tmp_path: Path, open_pair: OpenPair) -> None:
    names = [
        f"coin-{number}" for number in range(20)
    ]  # that each falls the same way three times is out of the question
    write(tmp_path, dict.fromkeys(names, "assert add(1, 2) == 3\nassert random.random() < 0.5"))
    chance = [finding for finding in check(tmp_path, "ps1", open_pair, LIMITS).findings if finding.kind == "chance"]
    assert chance
    assert {finding.line for finding in chance} == {2}
    assert {finding.apart for finding in chance} | {finding.together for finding in chance} == {0, 1}


def test_wrong_answers_wait_until_the_solution_is_in_order(tmp_path: Path, open_pair: OpenPair) -> None:
    write(tmp_path, {"wrong": AWKWARD["wrong"][0]})
    mutant(tmp_path / "mutants" / "ps1", "subtracts", "[0, 0]", "def add(a, b): return a - b")
    report = check(tmp_path, "ps1", open_pair, LIMITS)
    assert [tried.name for tried in report.tried] == ["solution", "blank"]
    assert report.untried == 1


def test_an_answer_that_ends_python_or_hangs_is_tried_all_the_same(tmp_path: Path, open_pair: OpenPair) -> None:
    write(tmp_path, {"values": "assert add(1, 2) == 3"})
    answers = tmp_path / "mutants" / "ps1"
    mutant(answers, "ends", "[0, 0]", "import os\ndef add(a, b): os._exit(0)")
    mutant(answers, "hangs", "[0, 0]", "def add(a, b):\n    while True: pass")
    limits = dataclasses.replace(LIMITS, cell_timeout=3.0)
    report = check(tmp_path, "ps1", open_pair, limits)
    assert not report.refused, advice.lines(report, "en")
    assert [tried.points for tried in report.tried] == [1, 0, 0, 0]


def test_what_an_earlier_run_left_behind_is_not_blamed_on_a_test(tmp_path: Path, open_pair: OpenPair) -> None:
    write(
        tmp_path,
        {"files": "assert add(1, 2) == 3 and now() > 0"},
        SOLUTION.replace(
            "    import time\n", "    import time, pathlib\n    pathlib.Path('mark').touch(exist_ok=False)\n"
        ),
    )
    report = check(tmp_path, "ps1", open_pair, LIMITS)
    assert not [finding for finding in report.findings if finding.answers == ("solution",)], report.findings


@pytest.mark.parametrize("damage", ["no notebook", '{"cells": 3}'])
def test_what_is_no_source_version_cannot_be_tried(damage: str, tmp_path: Path, open_pair: OpenPair) -> None:
    folder = tmp_path / "source" / "ps1"
    folder.mkdir(parents=True)
    (folder / "ps1.ipynb").write_text(damage)
    with pytest.raises(CheckError):
        check(tmp_path, "ps1", open_pair, LIMITS)


def test_without_containers_nothing_is_said_of_the_assignment(tmp_path: Path) -> None:
    def refuses() -> AbstractContextManager[Pair]:
        raise EngineError("no engine")

    write(tmp_path, FINE)
    with pytest.raises(EngineError):
        check(tmp_path, "ps1", refuses, LIMITS)
    assert not (tmp_path / "checks").exists()


def test_an_assignment_without_a_source_version_is_told_of(tmp_path: Path, open_pair: OpenPair) -> None:
    report = check(tmp_path, "ps1", open_pair, LIMITS)
    assert [finding.kind for finding in report.findings] == ["missing"]
    assert not report.refused


def test_an_assignment_without_a_test_is_told_of(tmp_path: Path, open_pair: OpenPair) -> None:
    write(tmp_path, {})
    report = check(tmp_path, "ps1", open_pair, LIMITS)
    assert [finding.kind for finding in report.findings] == ["none"]
    assert not report.refused


SOURCE = """# ---
# jupyter:
#   jupytext: {}
# ---

# %% nbgrader={"grade_id": "answer", "grade": false, "locked": false, "solution": true, "task": false}
x = 1
"""


def test_answers_of_the_curriculum_are_for_its_own_version_of_an_exercise(tmp_path: Path) -> None:
    exercise, course = tmp_path / "exercises" / "02-x", tmp_path / "course"
    mutant(exercise / "mutants", "wrong", "[0, 0]", "x = 2")
    (exercise / "x.py").write_text(SOURCE)
    names: Callable[[], list[str]] = lambda: [  # noqa: E731  # asked three times
        answer.name for answer in answers_of(course, "02-x", tmp_path / "exercises")
    ]
    assert names() == []
    from gpuclass.curriculum.building import exercise_files, write_files

    write_files(exercise_files(("02-x",), tmp_path / "exercises"), course / "source")
    assert names() == ["wrong"]
    (course / "source" / "02-x" / "x.ipynb").write_text("{}")
    assert names() == []
    mutant(course / "mutants" / "02-x", "own", "[0, 0]", "x = 3")
    assert names() == ["own"]
    answer: Answer = read_answer(course / "mutants" / "02-x" / "own.py")
    assert answer.cells == {"answer": "x = 3"}
