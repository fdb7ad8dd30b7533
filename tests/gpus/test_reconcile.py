"""The ledger joined with the engine's containers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from gpuclass.gpus.labels import USER_LABEL, seat_labels
from gpuclass.gpus.model import LOCAL, Lease, Mode, Seat, State
from gpuclass.gpus.reconcile import KEPT, UNANSWERED, Act, Action, Holder, holder, join, others
from gpuclass.network import CLASS_LABEL

GIB = 2**30
A0, A1 = Seat(LOCAL, "GPU-a", 0, 8 * GIB), Seat(LOCAL, "GPU-a", 1, 8 * GIB)
NOW = 1_800_000_000.0


def lease(state: State = State.ACTIVE, *seats: Seat, **keys: Any) -> Lease:
    known: dict[str, Any] = {"id": 7, "user": "kim", "container": "c1", "changed_at": NOW - 1000} | keys
    return Lease(state=state, seats=seats or (A0,), gpu=True, **known)


def container(*seats: Seat, **keys: Any) -> Holder:
    known: dict[str, Any] = {"container": "c1", "name": "camp-kim", "user": "kim", "class_": "camp", "lease_id": 7}
    return Holder(seats=seats or (A0,), **(known | {"status": "running"} | keys))


def acts(
    leases: Sequence[Lease],
    holders: Sequence[Holder],
    *,
    starting: Collection[str] = (),
    answered: Collection[str] = (LOCAL,),
    grace: float = 180.0,
) -> list[Act]:
    return [action.act for action in joined(leases, holders, starting=starting, answered=answered, grace=grace)]


def joined(leases: Sequence[Lease], holders: Sequence[Holder], **keys: Any) -> list[Action]:
    known: dict[str, Any] = {"starting": (), "answered": (LOCAL,), "grace": 180.0, "now": NOW}
    return join(leases, holders, class_name="camp", **(known | keys))


def test_labels_are_read_back() -> None:
    written = seat_labels(lease(State.RESERVED, A0, A1), Mode.SHARED) | {CLASS_LABEL: "camp", USER_LABEL: "kim"}
    assert holder("c1", "/camp-kim", written, "running") == container(A0, A1)
    assert holder("c1", "/camp-kim", written | {"gpuclass.seat.memory": "?"}, "running").seats == (
        Seat(LOCAL, "GPU-a", 0, 0),
    )


def test_nothing_to_do_when_they_agree() -> None:
    assert acts([lease()], [container()]) == []


@pytest.mark.parametrize("state", [State.RESERVED, State.RELEASING])
def test_a_running_container_makes_its_lease_active(state: State) -> None:
    assert acts([lease(state)], [container()]) == [Act.ACTIVATE]


@pytest.mark.parametrize(("why", "found"), [(UNANSWERED, [Act.ACTIVATE]), (KEPT, [Act.ACTIVATE]), ("Xid 79", [])])
def test_a_lost_lease_is_found_again_unless_its_device_failed(why: str, found: list[Act]) -> None:
    assert acts([lease(State.LOST, why=why)], [container()]) == found


def test_a_container_that_the_ledger_does_not_know_is_adopted() -> None:
    assert acts([], [container()]) == [Act.ADOPT]
    assert acts([lease(State.ACTIVE, A1)], [container()]) == [Act.ADOPT]


def test_a_start_that_ended_without_a_container_goes_back_to_the_queue() -> None:
    assert acts([lease(State.RESERVED)], []) == [Act.REQUEUE]
    assert acts([lease(State.RESERVED)], [], starting=["kim"]) == []
    assert acts([lease(State.RESERVED)], [container(status="created")]) == [Act.REMOVE, Act.REQUEUE]


def test_a_stopped_container_frees_its_seat_at_once_if_it_was_to_stop() -> None:
    assert acts([lease(State.RELEASING)], []) == [Act.END]
    assert acts([lease(State.RELEASING)], [container(status="exited")]) == [Act.END]


def test_a_container_that_went_by_itself_leaves_its_seat_kept_for_a_while() -> None:
    assert acts([lease()], [container(status="exited")]) == [Act.LOSE]
    assert acts([lease(State.LOST, why=KEPT, changed_at=NOW - 179)], []) == []
    assert acts([lease(State.LOST, why=KEPT, changed_at=NOW - 181)], []) == [Act.END]
    assert acts([lease()], [], grace=0) == [Act.END]


def test_a_clock_that_was_set_back_starts_the_grace_anew() -> None:
    (action,) = joined([lease(State.LOST, why=KEPT, changed_at=NOW + 3600)], [])
    assert (action.act, action.why) == (Act.LOSE, KEPT)


def test_an_engine_that_does_not_answer_frees_nothing() -> None:
    states = [State.RESERVED, State.ACTIVE, State.RELEASING, State.LOST]
    leases = [lease(state, Seat(LOCAL, "GPU-a", n, GIB), user=state.value) for n, state in enumerate(states)]
    assert acts(leases, [], answered=()) == [Act.LOSE, Act.LOSE]
    assert acts([lease(State.LOST, why=UNANSWERED)], []) == [Act.LOSE]  # it answered: gone, and the grace begins


def test_two_containers_on_one_seat_raise_an_alarm_and_nobody_loses_work() -> None:
    other = container(container="c2", name="camp-lee", user="lee", lease_id=8)
    assert acts([lease()], [container(), other]) == [Act.ALARM, Act.ALARM]
    assert others([lease()], [container(), other], "camp") == [A0]


def test_another_class_is_never_touched_but_its_seats_are_held() -> None:
    theirs = container(container="c2", class_="other", status="created")
    assert acts([lease(container="")], [theirs, container()]) == [Act.ACTIVATE, Act.ALARM]
    assert others([lease()], [theirs, container()], "camp") == [A0]


def test_who_runs_two_containers_keeps_both_and_a_person_looks() -> None:
    second = container(A1, container="c2", name="camp-kim-2")
    assert acts([lease()], [second, container()]) == [Act.ALARM]
    assert others([lease()], [second, container()], "camp") == [A1]


def test_labels_win_over_a_ledger_that_is_an_old_one() -> None:
    """A backup says that kim has the seat that lee's container runs on now."""
    lees = container(container="c2", name="camp-lee", user="lee", lease_id=8)
    for state, act in ((State.ACTIVE, Act.END), (State.LOST, Act.END), (State.RESERVED, Act.REQUEUE)):
        assert acts([lease(state)], [lees]) == [act, Act.ADOPT]
    assert acts([lease(State.RESERVED)], [lees], starting=["kim"]) == [Act.ALARM]


def test_two_people_whose_seats_the_ledger_has_the_wrong_way_round_are_put_right() -> None:
    leases = [lease(State.ACTIVE, A0), lease(State.ACTIVE, A1, id=8, user="lee", container="c2")]
    holders = [container(A1), container(A0, container="c2", name="camp-lee", user="lee", lease_id=8)]
    assert acts(leases, holders) == [Act.END, Act.END, Act.ADOPT, Act.ADOPT]
