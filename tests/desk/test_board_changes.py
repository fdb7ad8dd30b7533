"""What is said to a board that shows something else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gpuclass.desk.board.changes import View, changes, view
from gpuclass.desk.board.snapshot import Snapshot
from tests.desk.boards import Raised, ago, report, snapshot, student


def test_nothing_is_said_while_nothing_happens() -> None:
    students = [student("a"), student("b")]
    assert not changes(view(snapshot(*students)), view(snapshot(*students)))


def test_one_tile_is_said_when_one_student_changes() -> None:
    before = view(snapshot(student("a"), student("b"), student("c")))
    after = view(snapshot(student("a"), student("b", report=report(1, busy=True)), student("c")))
    said = changes(before, after)
    assert (said.tiles, said.gone, said.order, said.totals) == (("b",), (), None, False)


def test_a_raised_hand_moves_its_tile_to_the_front() -> None:
    before = view(snapshot(student("a"), student("b")))
    said = changes(before, view(snapshot(student("a"), student("b", hand=Raised("b", ago(0))))))
    assert (said.tiles, said.order, said.totals) == (("b",), ("b", "a"), True)


def test_who_leaves_the_class_has_no_tile() -> None:
    said = changes(view(snapshot(student("a"), student("b"))), view(snapshot(student("b"))))
    assert (said.tiles, said.gone, said.order) == ((), ("a",), ("b",))


def test_a_board_that_shows_nothing_is_told_everything() -> None:
    after = view(snapshot(student("b"), student("a")))
    said = changes(None, after)
    assert (said.tiles, said.order, said.totals) == (("a", "b"), ("a", "b"), True)


def test_a_tile_that_is_the_same_takes_no_more_room() -> None:
    first = view(snapshot(student("a"), student("b")))
    second = view(snapshot(student("a"), student("b", report=report(1, busy=True))), first.tiles)
    assert second.tiles["a"] is first.tiles["a"]
    assert second.tiles["b"] is not first.tiles["b"]


def test_a_teams_board_has_that_team_alone() -> None:
    both = snapshot(student("a", team="1"), student("b", team="2"), student("c", team=""))
    assert view(both.of_team("1")).order == ("a",)
    assert view(both.of_team("1")).totals.students == 1


_STUDENT = st.builds(
    lambda number, repeated, hand: student(
        f"s{number}", report=report(repeated), hand=Raised("x", ago(hand)) if hand else None
    ),
    st.integers(0, 6),
    st.integers(0, 5),
    st.integers(0, 3),
)
_SNAPSHOT = st.lists(_STUDENT, max_size=7, unique_by=lambda each: each.person.login).map(lambda them: snapshot(*them))


@given(st.lists(_SNAPSHOT, min_size=2, max_size=6))
def test_a_board_that_follows_what_is_said_shows_what_a_new_one_would(snapshots: list[Snapshot]) -> None:
    last: View | None = None
    shown: dict[str, object] = {}
    order: tuple[str, ...] = ()
    totals = None
    for each in snapshots:
        now = view(replace(each), last.tiles if last else None)
        said = changes(last, now)
        for login in said.gone:
            del shown[login]
        shown |= {login: now.tiles[login] for login in said.tiles}
        order = order if said.order is None else said.order
        totals = now.totals if said.totals else totals
        last = now
        assert (shown, order, totals) == (dict(now.tiles), now.order, now.totals)
