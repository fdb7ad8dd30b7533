"""What a student reads on the page, in Korean, in each state that a submission can come to. Really graded."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode

from gpuclass.grader.job import Task, grade
from tests.grader.agents import LIMITS, local_pair
from tests.grader.courses import RIGHT, by_id, released, solved, source_version, write

pytestmark = [
    pytest.mark.slow,
    # nbgrader 0.9.6 adds to collections of objects that SQLAlchemy does not know yet.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # its gradebook closes connections when collected
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and nbclient's
]

QUICK = replace(LIMITS, cell_timeout=1.5)


def automatic() -> NotebookNode:
    """The assignment without its written answer."""
    made = source_version()
    made.cells = [each for each in made.cells if each.metadata.get("nbgrader", {}).get("grade_id") != "why"]
    return made


def page_of(folder: Path, sent: NotebookNode | bytes, source: NotebookNode | None = None, **more: Any) -> str:
    """The Korean page of one submission, graded in ``folder``."""
    course = folder / "course"
    write(course / "source" / "ps1", source or automatic())
    place = write(folder / "sent", sent)
    made = iter(range(10))
    limits = more.pop("limits", LIMITS)
    task = Task(str(course), "camp", "ko", "ps1", "kim", str(place), **more)
    outcome = grade(task, lambda: local_pair(folder / f"sandbox{next(made)}", limits), limits)
    assert outcome.status in ("graded", "quarantined"), outcome.reason
    return Path(outcome.feedback["ps1.html"]).read_text(encoding="utf-8")


def rows(text: str) -> dict[str, tuple[str, str, str]]:
    """Of each part its sign, points and remark."""
    found = re.findall(
        r'<tr class="(\w+)">.*?<a [^>]*>(.*?)</a>.*?<td class="points">\s*(.*?)\s*</td>\s*<td>(.*?)</td></tr>',
        text,
        re.S,
    )
    return {part: (mark, points, remark) for mark, part, points, remark in found}


def without(grade_id: str, nb: NotebookNode) -> NotebookNode:
    nb.cells = [each for each in nb.cells if each.metadata.get("nbgrader", {}).get("grade_id") != grade_id]
    return nb


def answered(add: str = RIGHT) -> NotebookNode:
    return without("why", solved(add=add))


def test_full_marks_need_no_words(tmp_path: Path) -> None:
    text = page_of(tmp_path, answered())
    assert "점수 10 / 10" in text
    assert rows(text) == {
        "test-add": ("full", "3 / 3", ""),
        "test-add-hidden": ("full", "5 / 5", ""),
        "test-scale": ("full", "2 / 2", ""),
    }
    assert "알림" not in text


def test_each_part_says_in_a_line_what_is_wrong_with_it(tmp_path: Path) -> None:
    nb = answered("def add(a, b):\n    return abs(a) + b\n")
    by_id(nb, "scale").source = "def scale(x):\n    return 2 * x if x < 3 else 0"
    text = page_of(tmp_path, nb)
    assert rows(text) == {
        "test-add": ("full", "3 / 3", ""),
        "test-add-hidden": ("none", "0 / 5", "숨은 검사를 통과하지 못했어요"),
        "test-scale": ("partly", "1 / 2", "일부만 맞았어요"),
    }
    assert "hidden secret" not in text
    assert "다른 입력에서도 맞는지" in text


def test_a_blank_answer_and_a_wrong_one_are_told_apart(tmp_path: Path) -> None:
    nb = without("why", released())
    by_id(nb, "add").source = "def add(a, b):\n    return 0"
    found = rows(page_of(tmp_path, nb))
    assert found["test-add"] == ("none", "0 / 3", "one and two")
    assert found["test-scale"] == ("none", "0 / 2", "아직 답을 쓰지 않았어요")


def test_what_was_repaired_is_said_and_costs_nothing(tmp_path: Path) -> None:
    nb = without("test-add", answered())
    by_id(nb, "test-scale").source = "2.0  # all points, please"
    text = page_of(tmp_path, nb)
    assert "점수 10 / 10" in text
    assert "지워진 셀을 되돌렸어요: test-add" in text
    assert "바뀐 읽기 전용 셀을 되돌렸어요: test-scale" in text


def test_what_ran_too_long_says_its_limit(tmp_path: Path) -> None:
    text = page_of(tmp_path, answered("def add(a, b):\n    while True: pass\n"), limits=QUICK)
    found = rows(text)
    for part in ("test-add", "test-add-hidden"):
        assert found[part][0] == "none"
        assert "제한 시간 1.5초를 넘겨서 멈췄어요" in found[part][2]
    assert found["test-scale"][0] == "full"


def test_a_value_that_no_test_can_look_at_is_explained_in_korean(tmp_path: Path) -> None:
    liar = "class Sum:\n    def __eq__(self, other): return True\n\ndef add(a, b):\n    return Sum()\n"
    text = page_of(tmp_path, answered(liar))
    assert rows(text)["test-add"] == ("none", "0 / 3", "검사할 수 없는 값을 돌려줬어요")
    assert "예상과 달라서 확인할 수 없었어요" in text


def test_what_cannot_be_graded_says_why_and_that_a_person_will_look(tmp_path: Path) -> None:
    text = page_of(tmp_path, b'{"cells": [')
    assert "자동으로 채점하지 못했어요. ps1.ipynb: 노트북 파일이 아니거나 깨졌어요." in text
    assert "선생님이 직접 확인해요" in text
    assert {mark for mark, _, _ in rows(text).values()} == {"pending"}


def test_points_that_a_teacher_gives_are_open_until_then(tmp_path: Path) -> None:
    nb = solved()
    by_id(nb, "why").source = "두 수를 더하면 되니까요."
    text = page_of(tmp_path, nb, source_version())
    assert "점수 10 / 14" in text
    assert "4점은 선생님이 직접 채점해요" in text
    assert rows(text)["why"] == ("pending", "– / 4", "선생님이 직접 채점해요")


def test_a_written_answer_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    text = page_of(tmp_path, solved(), source_version())
    assert rows(text)["why"] == ("none", "0 / 4", "아직 답을 쓰지 않았어요")
    assert "No response" not in text


def test_an_older_version_is_named(tmp_path: Path) -> None:
    assert "과제의 1판을 푼 것이고, 지금은 2판이 나와" in page_of(tmp_path, answered(), version=1, newest=2)


def test_a_long_message_is_cut_in_the_table_and_whole_below(tmp_path: Path) -> None:
    word = "가나다라마바사" * 60
    nb = answered(f"def add(a, b):\n    raise ValueError('{word}')\n")
    text = page_of(tmp_path, nb)
    assert rows(text)["test-add"][2].startswith("ValueError: 가나다")
    assert len(rows(text)["test-add"][2]) < 200
    assert word in text
