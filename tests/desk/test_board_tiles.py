"""What a tile says of its student, who comes first, and the totals."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuclass.desk.board.snapshot import Student, Work
from gpuclass.desk.board.tiles import Need, Tile, lively, ranked, tiles, totals
from gpuclass.gpus.model import Lease, Seat, State
from tests.desk.boards import NOW, Raised, ago, lease, report, snapshot, student

GIB = 2**30


def tile(**more: Any) -> Tile:
    (found,) = tiles(snapshot(student(**more)))
    return found


def order(*students: Student) -> list[str]:
    return [each.login for each in ranked(tiles(snapshot(*students)))]


@pytest.mark.parametrize(
    ("lease", "wanted"),
    [
        (None, "off"),
        (lease("s001", State.QUEUED), "queued"),
        (lease("s001", State.RESERVED), "starting"),
        (lease("s001", State.ACTIVE), "on"),
        (lease("s001", State.RELEASING), "stopping"),
        (lease("s001", State.LOST), "lost"),
    ],
)
def test_a_tile_says_where_the_server_is(lease: Lease | None, wanted: str) -> None:
    assert tile(lease=lease).server == wanted


def test_memory_of_the_seat_is_shown_in_tenths_of_a_gib_so_that_a_tile_rests() -> None:
    seat = (Seat("local", "GPU-1", 0, 9 * GIB),)
    first = tile(lease=lease("s001", seats=seat, gpu=True), used=3 * GIB + 1000)
    assert (first.memory, first.used) == (9 * GIB, (3 * GIB + 1000) // (GIB // 10) * (GIB // 10))
    assert tile(lease=lease("s001", seats=seat, gpu=True), used=3 * GIB + 99_000) == first
    assert tile(lease=lease("s001")).used is None


def test_while_somebody_works_on_a_tile_changes_once_a_minute() -> None:
    first = tile(active=NOW.replace(second=1), report=report(busy=True))
    assert tile(active=NOW.replace(second=14), report=report(busy=True, seconds=1)) == first


def test_a_hand_that_waits_longest_is_first_and_taken_ones_follow() -> None:
    assert order(
        student("calm"),
        student("taken", hand=Raised("taken", ago(30), "mentor1", ago(1))),
        student("short", hand=Raised("short", ago(1))),
        student("long", hand=Raised("long", ago(9))),
    ) == ["long", "short", "taken", "calm"]


def test_after_hands_come_errors_then_servers_then_idle_ones_then_names() -> None:
    assert order(
        student("n2", "나"),
        student("n1", "가"),
        student("idle", active=ago(30)),
        student("lost", lease=lease("lost", State.LOST)),
        student("slow", lease=lease("slow", State.RESERVED, minutes=5)),
        student("errors", report=report(3)),
        student("more", report=report(7)),
        student("hand", hand=Raised("hand", ago(0.1))),
    ) == ["hand", "more", "errors", "lost", "slow", "idle", "n1", "n2"]


@pytest.mark.parametrize(
    ("more", "need"),
    [
        ({"report": report(2)}, Need.NONE),
        ({"report": report(3)}, Need.ERRORS),
        ({"report": report(3, seconds=120)}, Need.NONE),  # the server is silent since: nobody knows
        ({"report": report(3), "lease": None}, Need.NONE),
        ({"lease": lease("s001", State.RESERVED, minutes=1)}, Need.NONE),
        ({"lease": lease("s001", State.RELEASING, minutes=4)}, Need.SERVER),
        ({"lease": lease("s001", State.QUEUED, minutes=40)}, Need.NONE),  # it waits: nobody can help
        ({"active": ago(11)}, Need.IDLE),
        ({"active": ago(11), "report": report(busy=True)}, Need.NONE),  # a long training is no idleness
        ({"active": None}, Need.IDLE),
        ({"active": None, "lease": lease("s001", minutes=2)}, Need.NONE),  # has only just come
        ({"active": ago(90), "lease": lease("s001", minutes=2)}, Need.NONE),
        ({"active": ago(90), "lease": None}, Need.NONE),
    ],
)
def test_who_needs_help(more: dict[str, Any], need: Need) -> None:
    assert tile(**more).need is need


def test_nobody_is_idle_in_a_class_that_does_not_work() -> None:
    (found,) = tiles(snapshot(student(active=ago(60)), lively=False))
    assert found.need is Need.NONE


def test_a_class_works_when_half_of_those_who_are_there_do() -> None:
    at_work, idle = [student(f"w{n}") for n in range(2)], [student(f"i{n}", active=ago(30)) for n in range(2)]
    assert lively([*at_work, *idle], NOW)
    assert not lively([*at_work, *idle, student("i9", active=None)], NOW)
    assert lively([*at_work, *idle, student("off", active=ago(30), lease=None)], NOW)
    assert not lively([at_work[0]], NOW)  # one alone is no class


def test_submissions_and_scores_are_counted_over_what_is_released() -> None:
    work = {
        "ps1": Work("graded", ago(9), 3.0, 4.0),
        "ps2": Work("quarantined", ago(8)),
        "hidden": Work("graded", ago(7), 1.0, 1.0),
    }
    found = tile(work=work)
    assert (found.submitted, found.scored, found.trouble, found.assignments, found.share) == (2, 1, 1, 2, 0.75)


def test_totals_and_progress() -> None:
    given = snapshot(
        student("a", work={"ps1": Work("graded", ago(9), 1.0, 2.0)}, hand=Raised("a", ago(4))),
        student("b", work={"ps1": Work("graded", ago(9), 2.0, 2.0), "ps2": Work("failed", ago(1))}),
        student("c", lease=None, hand=Raised("c", ago(8), "mentor1", ago(1))),
        student("d", lease=None, work={"ps1": Work("graded", ago(9), 0.0, 0.0)}),  # worth nothing: no share
    )
    found = totals(given, tiles(given))
    assert (found.students, found.servers, found.helpless, found.hand) == (4, {"off": 2, "on": 2}, 2, ago(4))
    assert found.needs == {Need.HAND: 1, Need.TAKEN: 1, Need.NONE: 2}
    first, second = found.progress
    assert (first.assignment, first.submitted, first.scored, first.mean) == ("ps1", 3, 2, 0.75)
    assert (second.assignment, second.submitted, second.scored, second.trouble, second.mean) == ("ps2", 1, 0, 1, None)


_STUDENTS = st.lists(
    st.builds(
        lambda number, state, minutes, repeated, hand, taken, name: student(
            f"s{number:03}",
            name,
            lease=None if state is None else lease(f"s{number:03}", state, minutes),
            active=ago(minutes / 2),
            report=report(repeated),
            hand=Raised("x", ago(hand), "mentor1" if taken else None) if hand else None,
        ),
        st.integers(0, 999),
        st.none() | st.sampled_from([state for state in State if state is not State.ENDED]),
        st.floats(0, 120),
        st.integers(0, 9),
        st.integers(0, 60),
        st.booleans(),
        st.text(max_size=4),
    ),
    max_size=20,
    unique_by=lambda each: each.person.login,
)


@given(_STUDENTS, st.randoms())
def test_the_order_does_not_depend_on_where_somebody_stands_in_the_roster(students: list[Student], chance: Any) -> None:
    before = order(*students)
    chance.shuffle(students)
    assert order(*students) == before
    assert sorted(before) == sorted(each.person.login for each in students)


@given(_STUDENTS)
def test_nobody_without_a_hand_stands_before_one_that_nobody_has_taken(students: list[Student]) -> None:
    found = ranked(tiles(snapshot(*students)))
    untaken = [each.hand for each in found if each.need is Need.HAND]
    assert [each.need for each in found[: len(untaken)]] == [Need.HAND] * len(untaken)
    assert untaken == sorted(hand for hand in untaken if hand is not None)


@given(_STUDENTS, st.floats(0, 40))
def test_a_moment_later_only_needs_may_be_others(students: list[Student], seconds: float) -> None:
    """A tile holds no duration: what nobody did anything about is drawn once."""
    now = snapshot(*students)
    later = replace(now, at=now.at + timedelta(seconds=seconds))
    for before, after in zip(tiles(now), tiles(later), strict=True):
        moved = before.need is not after.need or before.stuck != after.stuck
        assert moved or before == after
