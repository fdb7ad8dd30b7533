"""Sources are checked by file and line, and answers to exercises are read with care."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuclass.curriculum import check
from gpuclass.curriculum.answers import answered, answers, points, read_answer, solutions
from gpuclass.curriculum.building import EXERCISES, read_source, session_names, sources
from gpuclass.curriculum.errors import SourceError

HEADER = "# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n#     name: python3\n# ---\n\n"
TOP = "# %% [markdown]\n# # 07 합성곱 / CNN\n#\n# ⏱ 70분\n#\n# 이 시간이 끝나면\n\n"
END = "\n# %% [markdown]\n# ## 기억할 것\n"
GRADED = (
    '# %% nbgrader={"grade": false, "grade_id": "f", "locked": false, "schema_version": 3, "solution": true}\n'
    "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION\n\n"
    '# %% nbgrader={"grade": true, "grade_id": "t", "points": 2, "schema_version": 3, "solution": false}\n'
    "assert f() == 1\n"
)
MUTANT = '# /// mutant\n# wrong = "no"\n# points = [0, 1]\n# ///\n\n# %% f\ndef f():\n    return 2\n'


def problems(tmp_path: Path, *, lecture: str | None = None, exercise: str | None = None, **mutants: str) -> list[str]:
    """What check says of one session, as ``line: text``."""
    for place, text in (("notebooks", lecture), ("exercises", exercise)):
        if text is not None:
            (tmp_path / place / "07-cnn").mkdir(parents=True)
            (tmp_path / place / "07-cnn" / "cnn.py").write_text(HEADER + text, encoding="utf-8")
    for name, text in mutants.items():
        path = tmp_path / "exercises/07-cnn/mutants" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    found = check(tmp_path / "notebooks", tmp_path / "exercises")
    return [f"{problem.path.name}:{problem.line}: {problem.text}" for problem in found]


def test_the_curriculum_is_in_order() -> None:
    assert check() == []


def test_a_lecture_in_order_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, lecture=TOP + "# %%\nx = 1\n" + END) == []


@pytest.mark.parametrize(
    ("lecture", "said"),
    [
        (TOP.replace(" / CNN", "") + END, "cnn.py:8: the first cell opens with"),
        (TOP.replace("⏱ 70분", "") + END, "cnn.py:8: the first cell says how long"),
        (TOP.replace("이 시간이 끝나면", "") + END, "cnn.py:8: the first cell says what students"),
        (TOP, "cnn.py:8: no section"),
        (TOP + "# %% [markdown]\n#\n# ## 1. 처음\n" + END, "cnn.py:17: a section's heading ends with its time"),
        (TOP + "# %%\n" + "x = 1\n" * 41 + END, "cnn.py:15: more than 40 lines"),
        (TOP + '# %%\nx = 1\nopen("/home/jovyan/x")\n' + END, "cnn.py:17: absolute path"),
        (TOP + "# %%\nMNIST(download=True)\n" + END, "cnn.py:16: reaches for the network"),
        (TOP + "# %%\n!pip install x\n" + END, "cnn.py:16: reaches for the network"),
        (TOP + "# %%\nx = 1\nx =\n" + END, "cnn.py:17: not Python"),
    ],
)
def test_a_lecture_at_fault_is_named_by_line(tmp_path: Path, lecture: str, said: str) -> None:
    (found,) = problems(tmp_path, lecture=lecture)
    assert found.startswith(said)


def test_an_exercise_in_order_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, exercise=GRADED, a=MUTANT, b=MUTANT, c=MUTANT) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"grade_id": "t"', '"grade_id": "f"', "cnn.py:14: grade_id 'f' is taken by line 8"),
        ("    ### END SOLUTION\n", "", "cnn.py:8: ### BEGIN SOLUTION and ### END SOLUTION do not pair"),
        (
            "    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION\n",
            "    pass\n",
            "cnn.py:8: a solution cell without",
        ),
        ('"points": 2', '"points": 0', "cnn.py:14: a graded cell is worth more"),
        ("assert f() == 1\n", "assert f()\n\n# %%\nx = 1\n", "cnn.py:17: a cell without nbgrader metadata"),
        (
            '"schema_version": 3, "solution": false',
            '"schema_version": 2, "solution": false',
            "cnn.py:14: nbgrader schema",
        ),
    ],
)
def test_an_exercise_at_fault_is_named_by_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = problems(tmp_path, exercise=GRADED.replace(old, new), a=MUTANT, b=MUTANT, c=MUTANT)
    assert any(line.startswith(said) for line in found), found


@pytest.mark.parametrize(
    ("mutant", "said"),
    [
        (MUTANT.replace("[0, 1]", "[0, 2]"), "a.py:3: a mutant must stay below the full 2 points"),
        (MUTANT.replace("[0, 1]", "[1, 0]"), "a.py:2: points must be"),
        (MUTANT.replace("# points = [0, 1]\n", ""), "a.py:2: a mutant has the keys points and wrong"),
        (MUTANT.replace('"no"', "no"), "a.py:2: the opening block is not TOML"),
        (MUTANT.replace("# %% f", "# %% g"), "a.py:1: no solution cell is called g"),
        (MUTANT.replace("# %% f", "# f"), "a.py:1: has no `# %% <grade_id>` line"),
        ("def f(): ...\n", "a.py:1: must open with"),
    ],
)
def test_a_mutant_at_fault_is_named(tmp_path: Path, mutant: str, said: str) -> None:
    found = problems(tmp_path, exercise=GRADED, a=mutant, b=MUTANT, c=MUTANT, d=MUTANT)
    assert any(line.startswith(said) for line in found), found


def test_too_few_mutants_are_said(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, exercise=GRADED, a=MUTANT)
    assert found.startswith("cnn.py:1: 1 mutants")


def test_a_folder_without_a_source_is_said(tmp_path: Path) -> None:
    (tmp_path / "notebooks/07-cnn").mkdir(parents=True)
    (found,) = check(tmp_path / "notebooks", tmp_path / "exercises")
    assert "holds no py:percent source" in str(found)


def test_an_answer_replaces_its_own_cells_only() -> None:
    folder = EXERCISES / "01-pixels-to-tensors"
    source = read_source(sources(folder)[0])
    answer = read_answer(folder / "mutants" / "no_channel.py")
    filled = answered(source, answer.cells)
    assert solutions(filled)["normalise"] == "def normalise(images):\n    return images.float() / 255"
    assert solutions(filled)["one-hot"] == solutions(source)["one-hot"]
    assert "BEGIN SOLUTION" in solutions(source)["normalise"], "the source itself is as it was"
    with pytest.raises(SourceError, match="nothing"):
        answered(source, {"nothing": ""})


def test_exercises_are_worth_what_their_texts_say() -> None:
    worth = {name: sum(points(read_source(sources(EXERCISES / name)[0])).values()) for name in session_names(EXERCISES)}
    assert worth == {"00-warm-up": 1, "01-pixels-to-tensors": 10}
    assert all(answers(EXERCISES / name) for name in worth)
