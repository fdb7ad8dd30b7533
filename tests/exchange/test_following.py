"""What became of a submission is said in Lab by itself, once, and the exchange is asked no more often than need be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gpuclass.exchange.client.corner import Corner
from gpuclass.exchange.client.following import BUSY_S, FILE, KEPT_S, LATER_S, LONGEST_S, Following, follow, look

NOW = "2026-11-24 08:00:00.000000 UTC"  # 17:00 in Seoul
SIX = "2026-11-24 09:00:00.000000 UTC"
T = 1_000_000.0
PAGE = [{"path": "day.html", "checksum": "0" * 32}]
NOTHING: dict[str, Any] = {
    "score": None,
    "max_score": None,
    "feedback": [],
    "status": None,
    "place": None,
    "not_before": None,
}
SCORED = {"state": "done", "status": "graded", "score": 7.0, "max_score": 10.0, "feedback": PAGE}


class Exchange:
    """A double: one student's submission 17 to "day", and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.item: dict[str, Any] = {"name": "day", "due": SIX, "feedback_opens": "now"}
        self.submission: dict[str, Any] = {}

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        assert path == ("gpuclass", "v1", "assignments", "camp")
        self.asked += 1
        return {"now": NOW, "assignments": [{**self.item, "submissions": [{"submission": 17, **self.submission}]}]}

    def says(self, **more: Any) -> None:
        self.submission = {**NOTHING, **more}


@pytest.fixture
def corner(tmp_path: Path) -> Corner:
    made = Corner(tmp_path)
    follow(made, "camp", 17, T)
    return made


def told(corner: Corner) -> list[str]:
    return [notice["ko"] for notice in corner.notices()]


def test_a_score_is_told_once_and_then_nothing_is_left_to_follow(corner: Corner) -> None:
    exchange = Exchange()
    exchange.says(state="waiting", place=4)
    assert look(corner, exchange, "Asia/Seoul", T) == BUSY_S + 2
    exchange.says(state="running")
    assert look(corner, exchange, "Asia/Seoul", T) == BUSY_S
    assert told(corner) == []
    exchange.says(**SCORED)
    assert look(corner, exchange, "Asia/Seoul", T) is None
    assert told(corner) == ["day: 10점 중 7점 · 과제 탭에서 채점 결과를 받아 볼 수 있어요(Fetch Feedback)"]
    assert look(corner, exchange, "Asia/Seoul", T) is None
    assert exchange.asked == 3


def test_a_delay_and_a_hidden_result_are_told_once_each_and_then_the_score(corner: Corner) -> None:
    exchange = Exchange()
    exchange.item["feedback_opens"] = "after_deadline"
    exchange.says(state="waiting", not_before=SIX)
    for _ in range(3):
        assert look(corner, exchange, "Asia/Seoul", T) == LATER_S
    exchange.says(state="done", status="graded")
    for _ in range(3):
        assert look(corner, exchange, "Asia/Seoul", T) == LATER_S
    exchange.item["feedback_opens"] = "now"
    exchange.says(**SCORED)
    assert look(corner, exchange, "Asia/Seoul", T) is None
    said = told(corner)
    assert len(said) == 3
    assert "18:00에 채점해요" in said[0]
    assert "결과는 마감(18:00) 뒤에 보여요" in said[1]
    assert "10점 중 7점" in said[2]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ({"state": "failed"}, "자동 채점 안 됨, 선생님이 확인해요"),
        ({"state": "done", "status": "quarantined", "score": 0.0, "max_score": 10.0}, "선생님이 직접 확인해요"),
        ({"state": "done", "status": "quarantined"}, "선생님이 직접 확인해요"),
    ],
)
def test_that_a_person_will_look_is_told_as_a_warning(corner: Corner, outcome: dict[str, Any], words: str) -> None:
    exchange = Exchange()
    exchange.says(**outcome)
    assert look(corner, exchange, "Asia/Seoul", T) is None
    [notice] = corner.notices()
    assert notice["level"] == "warning"
    assert words in notice["ko"]


def test_a_long_line_is_asked_about_less_often_and_old_notes_and_nonsense_not_at_all(corner: Corner) -> None:
    exchange = Exchange()
    exchange.says(state="waiting", place=400)
    assert look(corner, exchange, "Asia/Seoul", T) == LONGEST_S
    assert look(corner, exchange, "Asia/Seoul", T + KEPT_S) is None
    corner.write({"17": {"course": ["camp"]}, "18": "?", "19": None}, FILE)
    assert look(corner, exchange, "Asia/Seoul", T) is None
    assert exchange.asked == 1


def test_the_server_asks_only_while_something_is_noted(tmp_path: Path) -> None:
    asked: list[int] = []
    slept: list[float] = []
    answers = [3.0, None]

    def ask(home: Path) -> float | None:
        asked.append(len(slept))
        return answers.pop(0)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 5:
            follow(Corner(tmp_path), "camp", 17, T)
        if len(slept) == 20:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Following(tmp_path, ask, sleep, chance=lambda: 0.5).run())
    assert asked == [5, 7]
