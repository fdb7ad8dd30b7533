"""What the queue says: both languages alike, estimates that never promise too much."""

import re
import string

import pytest

from gpuclass.queue import words
from gpuclass.queue.admission import Why

KEYS = sorted(words.words("ko"))


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", KEYS)
def test_every_text_is_there_in_both_languages_with_the_same_numbers(key: str) -> None:
    korean, english = words.words("ko")[key], words.words("en")[key]
    assert re.search(r"[가-힣]", korean)
    assert not re.search(r"[가-힣]", english)
    assert fields(korean) == fields(english)
    assert "니다" not in korean, "해요체, as on every page"


@pytest.mark.parametrize(
    ("seconds", "korean", "english"),
    [
        (None, "얼마나 걸릴지 아직 몰라요", "nobody can say yet how long"),
        (0, "곧", "any moment"),
        (9.9, "곧", "any moment"),
        (10, "약 10초", "about 10 seconds"),
        (11, "약 20초", "about 20 seconds"),
        (90, "약 90초", "about 90 seconds"),
        (91, "약 2분", "about 2 minutes"),
        (3600, "약 60분", "about 60 minutes"),
        (3601, "한 시간 넘게", "more than an hour"),
    ],
)
def test_an_estimate_is_rounded_up(seconds: float | None, korean: str, english: str) -> None:
    assert words.duration(seconds, "ko") == korean
    assert words.duration(seconds, "en") == english


@pytest.mark.parametrize(
    ("ahead", "korean", "english"),
    [
        (0, "다음이 내 차례예요", "You are next"),
        (1, "앞에 1명", "1 person before you"),
        (79, "앞에 79명", "79 people before you"),
    ],
)
def test_a_place_is_told_by_who_stands_before(ahead: int, korean: str, english: str) -> None:
    assert words.place(ahead, "ko") == korean
    assert words.place(ahead, "en") == english


def test_one_line_says_what_one_waits_for_where_one_stands_and_how_long() -> None:
    assert words.queued("ko", why="seat", ahead=3, seconds=125) == "GPU 자리를 기다리고 있어요: 앞에 3명, 약 3분."
    assert words.queued("en", why="start", ahead=1, seconds=20) == (
        "Waiting for your turn: 1 person before you, about 20 seconds."
    )
    assert "GPU가 보이지 않아" in words.queued("ko", why="unknown-devices", ahead=0, seconds=None)


@pytest.mark.parametrize("why", Why)
def test_there_are_words_for_whatever_somebody_waits_for(why: Why) -> None:
    assert {f"title-{why}", f"hint-{why}"} <= words.words("ko").keys()
    assert words.queued("ko", why=why.value, ahead=0, seconds=None)
