"""`gpuclass check` and what stands before `gpuclass curriculum release`. What trying an assignment brings is given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpuclass.cli import app, checks
from gpuclass.grader import check as checking
from gpuclass.grader.findings import Finding, Report

EXERCISE = "00-warm-up"
CLASS = f"""\
[class]
name = "camp"
title = "Camp"
language = "en"
[curriculum]
sessions = ["{EXERCISE}"]
"""


class Trying:
    """A double of the check: what it was asked for, and whether it refuses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuses = True
        self.asked: list[str] = []
        monkeypatch.setattr(checking, "check", self.check)
        monkeypatch.setattr(checks, "_containers", self.containers)

    def check(self, course: Path, assignment: str, *_: object, **__: object) -> Report:
        assert list((course / "source" / assignment).glob("*.ipynb"))
        self.asked.append(assignment)
        wrong = Finding("blank", "exercise-00", ("blank",), "greet-value", apart=1.0, most=1.0)
        return Report(assignment, (wrong,) if self.refuses else ())

    @contextmanager
    def containers(self, _: object) -> Iterator[tuple[Any, Any]]:
        yield None, None


@pytest.fixture
def trying(monkeypatch: pytest.MonkeyPatch) -> Trying:
    return Trying(monkeypatch)


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "class.toml").write_text(CLASS)
    monkeypatch.setenv("GPUCLASS_CONFIG", str(tmp_path / "class.toml"))
    from gpuclass.settings import load

    return load().course_folder


def run(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(app, arguments)
    return outcome.exit_code, outcome.output


def test_a_release_that_must_be_mended_lays_nothing_out_unless_it_is_told_to(course: Path, trying: Trying) -> None:
    code, said = run("curriculum", "release")
    assert code == 1
    assert "greet-value: the untouched release gets 1 points." in said
    assert "nothing is changed" in said
    assert not (course / "source").exists()
    code, _ = run("curriculum", "release", "--unchecked")
    assert code == 0
    assert list((course / "source" / EXERCISE).glob("*.ipynb"))
    assert trying.asked == [EXERCISE]


def test_only_what_a_release_would_write_is_tried(course: Path, trying: Trying) -> None:
    trying.refuses = False
    assert run("curriculum", "release")[0] == 0
    assert run("curriculum", "release")[0] == 0
    assert trying.asked == [EXERCISE]
    assert list((course / "source" / EXERCISE).glob("*.ipynb"))


def test_an_assignment_of_the_course_or_a_folder_is_tried_and_told_of(course: Path, trying: Trying) -> None:
    from gpuclass.curriculum.building import EXERCISES

    code, said = run("check", str(EXERCISES / EXERCISE))
    assert (code, said.splitlines()[-1]) == (1, f"{EXERCISE}: not to be released, 1 to be mended.")
    assert run("curriculum", "release", "--unchecked")[0] == 0
    trying.refuses = False
    code, said = run("check", EXERCISE, "--json")
    assert code == 0
    assert json.loads(said.splitlines()[-1])["refused"] is False


@pytest.mark.parametrize(
    ("arguments", "why"), [(("check", "99-nothing"), "no assignment '99-nothing'"), (("check", "--json"), "goes with")]
)
def test_what_cannot_be_tried_says_why(arguments: tuple[str, ...], why: str, course: Path, trying: Trying) -> None:
    code, said = run(*arguments)
    assert code == 2
    assert why in said
    assert not trying.asked
