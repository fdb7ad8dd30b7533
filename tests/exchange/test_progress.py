"""A student reads how far each submission is, in the class's language and time, and no score that is not shown yet."""

from __future__ import annotations

from typing import Any

import pytest

from gpuclass.exchange.client.receipts import progress

NOW = "2026-11-24 08:00:00.000000 UTC"  # 17:00 in Seoul
SIX = "2026-11-24 09:00:00.000000 UTC"
TOMORROW = "2026-11-25 00:30:00.000000 UTC"
PAGE = [{"path": "day.html", "checksum": "0" * 32}]
WAITING = {"state": "waiting"}
DONE = {"state": "done"}
SCORED = {**DONE, "score": 7.5, "max_score": 10.0, "feedback": PAGE}
LATER = {"feedback_opens": "after_deadline", "due": SIX}


def far(language: Any, item: dict[str, Any], more: dict[str, Any]) -> str:
    submission = {"state": None, "score": None, "max_score": None, "feedback": [], **more}
    return progress(language, "Asia/Seoul", {"feedback_opens": "now", "due": None, **item}, submission, NOW)


@pytest.mark.parametrize(
    ("item", "submission", "korean", "english"),
    [
        ({}, WAITING, "채점 기다리는 중", "waiting to be graded"),
        ({}, {**WAITING, "place": 0}, "채점 기다리는 중 · 다음 차례예요", "waiting to be graded · you are next"),
        ({}, {**WAITING, "place": 3}, "채점 기다리는 중 · 앞에 3개 있어요", "waiting to be graded · 3 before it"),
        (
            {},
            {**WAITING, "place": 3, "not_before": SIX},
            "잘 받았어요 · 한 시간에 채점하는 횟수를 다 써서 18:00에 채점해요",
            "received · graded at 18:00: the graded attempts of this hour are used up",
        ),
        (
            {},
            {**WAITING, "place": 0, "not_before": NOW},
            "채점 기다리는 중 · 다음 차례예요",
            "waiting to be graded · you are next",
        ),
        ({}, {"state": "running"}, "채점 중", "being graded"),
        ({}, {"state": "failed"}, "자동 채점 안 됨, 선생님이 확인해요", "not graded; your teacher will look at it"),
        ({}, SCORED, "10점 중 7.5점", "7.5 of 10 points"),
        (LATER, SCORED, "10점 중 7.5점", "7.5 of 10 points"),
        (
            {},
            {**DONE, "status": "quarantined", "score": 0.0, "max_score": 10.0, "feedback": PAGE},
            "자동으로 채점할 수 없는 파일이라 선생님이 직접 확인해요",
            "cannot be graded automatically; your teacher will look at it",
        ),
        ({}, {**SCORED, "status": "quarantined"}, "10점 중 7.5점", "7.5 of 10 points"),
        (
            LATER,
            DONE,
            "채점을 마쳤어요 · 결과는 마감(18:00) 뒤에 보여요",
            "graded · the result is shown after the deadline, 18:00",
        ),
        (
            {**LATER, "due": TOMORROW},
            DONE,
            "채점을 마쳤어요 · 결과는 마감(11월 25일(수) 09:30) 뒤에 보여요",
            "graded · the result is shown after the deadline, Wed 25 Nov 09:30",
        ),
        (
            {"feedback_opens": "on_release"},
            DONE,
            "채점을 마쳤어요 · 결과는 선생님이 공개하면 보여요",
            "graded · the result is shown when your teacher releases it",
        ),
        ({}, {**DONE, "feedback": PAGE}, "", ""),
        ({}, {}, "", ""),
    ],
)
def test_each_state_has_its_words(item: dict[str, Any], submission: dict[str, Any], korean: str, english: str) -> None:
    assert far("ko", item, submission) == korean
    assert far("en", item, submission) == english
