"""Every exercise through the real pipeline: its solution is full, its release 0, each mutant inside its range."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions, ComputeChecksums, LockCells

from gpuclass import images
from gpuclass.curriculum.answers import answered, answers, points, solutions
from gpuclass.curriculum.building import EXERCISES, read_source, session_names, sources
from gpuclass.grader.execute import points_of
from gpuclass.grader.sandbox import Limits, connect, open_sandbox
from gpuclass.settings import GradingSection

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
def notebooks(exercise: Path) -> dict[str, NotebookNode]:
    """What a student might hand in: the release as it is, the solution, and each answer by its name."""
    source = read_source(sources(exercise)[0])
    blank = released(nbformat.from_dict(source))
    made = {"blank": blank, "solution": answered(blank, solutions(source))}
    for answer in answers(exercise):
        made[answer.name] = answered(blank, {**solutions(source), **answer.cells})
    return made


@pytest.fixture(scope="module")
def graded(
    exercise: Path, notebooks: dict[str, NotebookNode], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What ``gpuclass grade`` says of each answer, by the answer's name."""
    folder = tmp_path_factory.mktemp("grading")
    (path,) = sources(exercise)
    source = read_source(path)
    assignment = folder / exercise.name
    for place, notebook in [(assignment, source), *((folder / name, made) for name, made in notebooks.items())]:
        place.mkdir()
        nbformat.write(notebook, place / f"{path.stem}.ipynb")
    command = [sys.executable, "-m", "gpuclass", "grade", str(assignment), "--json"]
    halves = [list(notebooks)[half::2] for half in range(2)]  # one for each of two cores
    running = [
        subprocess.Popen(
            [*command, *(str(folder / name) for name in half)],
            cwd=folder,  # no class.toml here
            env={name: value for name, value in os.environ.items() if name != "GPUCLASS_CONFIG"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for half in halves
    ]
    results: dict[str, dict[str, Any]] = {}
    for grade in running:
        out, err = grade.communicate()
        assert grade.returncode == 0, err
        results |= {line["student"]: line for line in map(json.loads, out.splitlines())}
    assert set(results) == set(notebooks)
    return results


def test_the_solution_is_full_and_quick(exercise: Path, graded: dict[str, dict[str, Any]]) -> None:
    full = sum(points(read_source(sources(exercise)[0])).values())
    assert (graded["solution"]["status"], graded["solution"]["score"]) == ("graded", full), graded["solution"]
    assert graded["solution"]["max_score"] == full
    assert graded["solution"]["seconds"] < SECONDS_PER_SUBMISSION


def test_the_release_gets_nothing(graded: dict[str, dict[str, Any]]) -> None:
    assert (graded["blank"]["status"], graded["blank"]["score"]) == ("graded", 0), graded["blank"]


def test_each_wrong_answer_gets_what_it_deserves(exercise: Path, graded: dict[str, dict[str, Any]]) -> None:
    for answer in answers(exercise):
        if answer.points is not None:
            least, most = answer.points
            assert least <= graded[answer.name]["score"] <= most, (answer.says, graded[answer.name])
            assert graded[answer.name]["score"] < graded["solution"]["score"]


def test_a_right_answer_in_another_manner_is_full(exercise: Path, graded: dict[str, dict[str, Any]]) -> None:
    for answer in answers(exercise):
        if answer.points is None:
            assert graded[answer.name]["score"] == graded["solution"]["score"], (answer.says, graded[answer.name])


def test_each_answer_scores_the_same_with_the_referee_as_in_one_kernel(
    exercise: Path, notebooks: dict[str, NotebookNode], graded: dict[str, dict[str, Any]]
) -> None:
    tests = {
        cell.metadata["nbgrader"]["grade_id"]: cell.source  # hidden tests in it
        for cell in read_source(sources(exercise)[0]).cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    worth = points(read_source(sources(exercise)[0]))
    client = connect()
    try:
        image = images.build(["grader"], client=client)["grader"]
        for name, notebook in notebooks.items():
            with open_sandbox(client, image, LIMITS, "test-exercises") as sandbox:
                sandbox.start({})
                scores = {}
                for cell in notebook.cells:
                    if cell.cell_type == "code":
                        grade_id = cell.metadata["nbgrader"]["grade_id"]
                        ran = sandbox.run(tests.get(grade_id, cell.source))
                        if grade_id in tests:
                            scores[grade_id] = points_of(ran, worth[grade_id])
            assert scores == graded[name]["cells"], name
    finally:
        client.close()
