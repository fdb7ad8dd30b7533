"""Deadlines and extensions in the exchange's store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.deadlines import Deadline, Deadlines
from gpuclass.exchange.store.store import NotFound, Store
from gpuclass.roster import Roster

SIX = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # 18:00 in Seoul
HOUR = timedelta(hours=1)


@pytest.fixture
def deadlines(tmp_path: Path) -> Iterator[Deadlines]:
    with Store(tmp_path) as store:
        Courses(store, "camp", lambda: Roster(()))
        store.release("camp", "warm-up", {"warm-up.ipynb": b"{}"}, by="teacher")
        yield Deadlines(store)


def test_without_a_deadline_nobody_is_late() -> None:
    assert not Deadline(None, {"student1": SIX}).late("student1", SIX + HOUR)


def test_the_very_moment_is_in_time_and_a_microsecond_later_is_late() -> None:
    assert not Deadline(SIX).late("student1", SIX)
    assert Deadline(SIX).late("student1", SIX + timedelta(microseconds=1))


def test_an_extension_is_one_students_and_never_shortens() -> None:
    deadline = Deadline(SIX, {"student1": SIX + HOUR, "student2": SIX - HOUR})
    assert [deadline.of(f"student{n}") for n in (1, 2, 3)] == [SIX + HOUR, SIX, SIX]


def test_the_newest_counts_and_none_takes_it_away(deadlines: Deadlines) -> None:
    deadlines.put("camp", "warm-up", SIX, by="teacher")
    deadlines.put("camp", "warm-up", SIX + HOUR, by="teacher", student="student1")
    deadlines.put("camp", "warm-up", SIX - HOUR, by="teacher")
    assert deadlines.of("camp", "warm-up") == Deadline(SIX - HOUR, {"student1": SIX + HOUR})
    deadlines.put("camp", "warm-up", None, by="teacher", student="student1")
    deadlines.put("camp", "warm-up", None, by="teacher")
    assert deadlines.of("camp", "warm-up") == Deadline()


def test_an_assignment_that_is_not_there_gets_none(deadlines: Deadlines) -> None:
    with pytest.raises(NotFound):
        deadlines.put("camp", "another", SIX, by="teacher")
