"""Every exercise as it would be released: everything scores the same both ways, and right through the real pipeline."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions, ComputeChecksums, LockCells

from gpuclass import ROOT, images
from gpuclass.curriculum.answers import answered, answers, points, solutions
from gpuclass.curriculum.building import EXERCISES, read_source, session_names, sources
from gpuclass.grader import advice
from gpuclass.grader.candidates import located
from gpuclass.grader.check import check
from gpuclass.grader.findings import Report
from gpuclass.grader.pair import OpenPair, open_pair
from gpuclass.grader.sandbox import Limits, connect
from gpuclass.settings import GradingSection
from tests.grader.courses import cell
from tests.grader.courses import notebook as assembled

pytestmark = pytest.mark.images

LIMITS = Limits.of(GradingSection.model_validate({}))
SECONDS_PER_SUBMISSION = 20  # on one core; what an exercise may take in grading


def released(source: NotebookNode) -> NotebookNode:
    """What a student fetches."""
    resources: dict[str, Any] = {}
    for step in (LockCells, ClearSolutions, ComputeChecksums, ClearHiddenTests):
        source, resources = step().preprocess(source, resources)
    return source


@pytest.fixture(scope="module", params=session_names(EXERCISES))
def exercise(request: pytest.FixtureRequest) -> Path:
    return EXERCISES / str(request.param)


@pytest.fixture(scope="module")
def pairs() -> Iterator[OpenPair]:
    client = connect()
    image = images.build(["grader"], client=client)["grader"]
    yield lambda: open_pair(client, image, LIMITS, "test-exercises")
    client.close()


@pytest.fixture(scope="module")
def report(exercise: Path, pairs: OpenPair, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What a check says of it."""
    course, name, given = located(str(exercise), None, tmp_path_factory.mktemp("course"))
    return check(course, name, pairs, LIMITS, answers=given)


def test_every_answer_scores_the_same_in_the_notebook_and_when_graded_and_what_it_deserves(report: Report) -> None:
    assert not report.refused, "\n".join(advice.lines(report, "en"))


def test_nothing_else_is_remarked_on(report: Report) -> None:
    slow = [finding for finding in report.findings if finding.kind == "slow"]  # a busy machine's fault, perhaps
    assert [finding for finding in report.findings if finding not in slow] == []


def test_every_answer_was_tried(exercise: Path, report: Report) -> None:
    given = answers(exercise)
    assert [tried.name for tried in report.tried] == ["solution", "blank", *(answer.name for answer in given)]
    full = sum(points(read_source(sources(exercise)[0])).values())
    got = {tried.name: tried.points for tried in report.tried}
    assert (got["solution"], got["blank"]) == (full, 0)
    assert all(got[answer.name] < full for answer in given if answer.points is not None)


@pytest.fixture(scope="module")
def graded(exercise: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What ``gpuclass grade`` says of the solution, the release as it is, and a wrong answer."""
    folder = tmp_path_factory.mktemp("grading")
    (path,) = sources(exercise)
    source = read_source(path)
    blank = released(nbformat.from_dict(source))
    wrong = next(answer for answer in answers(exercise) if answer.points is not None)
    notebooks = {
        "blank": blank,
        "solution": answered(blank, solutions(source)),
        "wrong": answered(blank, {**solutions(source), **wrong.cells}),
    }
    assignment = folder / exercise.name
    for place, notebook in [(assignment, source), *((folder / name, made) for name, made in notebooks.items())]:
        place.mkdir()
        nbformat.write(notebook, place / f"{path.stem}.ipynb")
    command = [sys.executable, "-m", "gpuclass", "grade", str(assignment), "--json"]
    grade = subprocess.run(
        [*command, *(str(folder / name) for name in notebooks)],
        cwd=folder,  # no class.toml here
        env={name: value for name, value in os.environ.items() if name != "GPUCLASS_CONFIG"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert grade.returncode == 0, grade.stderr
    return {line["student"]: line for line in map(json.loads, grade.stdout.splitlines())}


def test_the_solution_is_full_and_quick(exercise: Path, graded: dict[str, dict[str, Any]]) -> None:
    full = sum(points(read_source(sources(exercise)[0])).values())
    assert (graded["solution"]["status"], graded["solution"]["score"]) == ("graded", full), graded["solution"]
    assert graded["solution"]["max_score"] == full
    assert graded["solution"]["seconds"] < SECONDS_PER_SUBMISSION


def test_the_release_gets_nothing(graded: dict[str, dict[str, Any]]) -> None:
    assert (graded["blank"]["status"], graded["blank"]["score"]) == ("graded", 0), graded["blank"]


def test_a_wrong_answer_gets_what_the_check_said(
    exercise: Path, report: Report, graded: dict[str, dict[str, Any]]
) -> None:
    wrong = next(answer for answer in answers(exercise) if answer.points is not None)
    (tried,) = [tried for tried in report.tried if tried.name == wrong.name]
    assert graded["wrong"]["score"] == tried.points


def examples() -> list[tuple[str, str]]:
    """The cells of the how-to's long example: kind and text."""
    page = (ROOT / "docs" / "howto" / "write-an-exercise.md").read_text(encoding="utf-8")
    block = page.split("```python\n")[1].split("```")[0]
    parts = re.split(r"^# (read-only|answer|test) cell.*\n", block, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_what_the_how_to_shows_can_be_written_so(tmp_path: Path, pairs: OpenPair) -> None:
    roles: dict[str, dict[str, Any]] = {
        "read-only": {"locked": True},
        "answer": {"solution": True},
        "test": {"grade": True, "locked": True, "points": 1},
    }
    cells = [cell("code", text, f"{kind}-{number}", **roles[kind]) for number, (kind, text) in enumerate(examples())]
    assert len(cells) >= 6
    folder = tmp_path / "source" / "ps1"
    folder.mkdir(parents=True)
    nbformat.write(assembled(*cells), folder / "ps1.ipynb")
    report = check(tmp_path, "ps1", pairs, LIMITS)
    assert not report.refused, "\n".join(advice.lines(report, "en"))
