"""The ledger: one lease a person, one holder a seat, whatever happens to the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuclass.gpus.ledger import LeaseStateError, Ledger, SeatTakenError
from gpuclass.gpus.model import LOCAL, Seat, State

GIB = 2**30
A0, A1 = Seat(LOCAL, "GPU-a", 0, 8 * GIB), Seat(LOCAL, "GPU-a", 1, 8 * GIB)
B0 = Seat(LOCAL, "GPU-b", 0, 8 * GIB)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger(tmp_path / "gpus" / "ledger.sqlite", clock) as ledger:
        yield ledger


def test_a_seat_has_one_holder(ledger: Ledger) -> None:
    first, second = ledger.enqueue("kim", gpu=True), ledger.enqueue("lee", gpu=True)
    assert ledger.reserve(first.id, [A0]).seats == (A0,)
    with pytest.raises(SeatTakenError):
        ledger.reserve(second.id, [A0])
    left = ledger.lease_of("lee")
    assert left is not None
    assert (left.state, left.seats) == (State.QUEUED, ())


def test_a_seat_is_free_only_when_its_lease_has_ended(ledger: Ledger) -> None:
    first, second = ledger.enqueue("kim", gpu=True), ledger.enqueue("lee", gpu=True)
    ledger.reserve(first.id, [A0])
    ledger.activate(first.id, "c1")
    for state in (State.RELEASING, State.LOST):
        moved = ledger.releasing(first.id) if state is State.RELEASING else ledger.lose(first.id, "no answer")
        assert moved.state is state
        with pytest.raises(SeatTakenError):
            ledger.reserve(second.id, [A0])
    ledger.end(first.id, "its container is gone")
    assert ledger.reserve(second.id, [A0]).seats == (A0,)
    assert ledger.lease_of("kim") is None


def test_asking_twice_keeps_the_place(ledger: Ledger, clock: Clock) -> None:
    first = ledger.enqueue("kim", gpu=True)
    clock.time += 60
    ledger.enqueue("lee", gpu=True)
    again = ledger.enqueue("kim", gpu=False)
    assert (again.id, again.asked_at, again.gpu) == (first.id, first.asked_at, False)
    assert [request.user for request in ledger.queue()] == ["kim", "lee"]


def test_a_failed_start_goes_back_to_its_place(ledger: Ledger, clock: Clock) -> None:
    first = ledger.enqueue("kim", gpu=True)
    clock.time += 60
    ledger.enqueue("lee", gpu=True)
    ledger.reserve(first.id, [A0])
    assert ledger.requeue(first.id).id == first.id
    assert [request.user for request in ledger.queue()] == ["kim", "lee"]
    second = ledger.lease_of("lee")
    assert second is not None
    assert ledger.reserve(second.id, [A0]).seats == (A0,)


def test_a_queued_lease_cannot_be_active(ledger: Ledger) -> None:
    lease = ledger.enqueue("kim", gpu=True)
    with pytest.raises(LeaseStateError, match="is queued"):
        ledger.activate(lease.id, "c1")


def test_a_container_that_is_not_in_the_ledger_is_taken_over_under_its_number(ledger: Ledger) -> None:
    lease = ledger.adopt("kim", [A0, A1], "c1", lease_id=41)
    assert (lease.id, lease.state, lease.seats, lease.gpu, lease.container) == (41, State.ACTIVE, (A0, A1), True, "c1")
    assert ledger.enqueue("lee", gpu=True).id > 41
    with pytest.raises(SeatTakenError):
        ledger.adopt("park", [A1], "c2", lease_id=42)
    assert ledger.lease_of("park") is None


def test_a_container_on_other_seats_than_the_ledger_says_is_right(ledger: Ledger) -> None:
    lease = ledger.enqueue("kim", gpu=True)
    ledger.reserve(lease.id, [A0])
    assert ledger.adopt("kim", [B0], "c1", lease.id).seats == (B0,)
    other = ledger.enqueue("lee", gpu=True)
    assert ledger.reserve(other.id, [A0]).seats == (A0,)


def test_a_lease_that_ended_comes_back_with_its_container(ledger: Ledger, clock: Clock) -> None:
    lease = ledger.enqueue("kim", gpu=True)
    ledger.reserve(lease.id, [A0])
    ledger.end(lease.id, "by mistake")
    clock.time += 60
    again = ledger.adopt("kim", [A0], "c1", lease.id)
    assert (again.id, again.state, again.granted_at, again.ended_at) == (lease.id, State.ACTIVE, clock.time - 60, 0.0)


def test_a_number_that_is_somebody_elses_is_not_used(ledger: Ledger) -> None:
    lees = ledger.enqueue("lee", gpu=True)
    assert ledger.adopt("kim", [A0], "c1", lees.id).id != lees.id


def test_after_the_clock_was_set_back_nobody_comes_before_those_who_wait(ledger: Ledger, clock: Clock) -> None:
    ledger.enqueue("kim", gpu=True)
    clock.time -= 3600
    ledger.enqueue("lee", gpu=True)
    assert [request.user for request in ledger.queue()] == ["kim", "lee"]


def test_a_hub_that_starts_again_finds_queue_and_leases(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, clock)
    for user in ("kim", "lee", "park"):
        clock.time += 1
        ledger.enqueue(user, gpu=True)
    ledger.reserve(ledger.live()[0].id, [B0])
    with Ledger(path, clock) as again:
        assert [request.user for request in again.queue()] == ["lee", "park"]
        assert [(lease.user, lease.seats) for lease in again.live()] == [("kim", (B0,)), ("lee", ()), ("park", ())]
    ledger.close()
