"""Which seats there are and who gets which."""

from __future__ import annotations

from typing import Any

import pytest

from gpuclass.gpus.model import LOCAL, Device, Inventory, Lease, Mode, Request, Seat, State
from gpuclass.gpus.seats import AGEING, choose, free, possible, seats_of, size_for, unmatched
from gpuclass.settings import GpuSection

GIB = 2**30


def section(mode: Mode = Mode.SHARED, **keys: Any) -> GpuSection:
    return GpuSection.model_validate({"mode": mode, "seats_per_gpu": 4, "headroom": "1G"} | keys)


def gpu(name: str, index: int = 0, gib: int = 25, fault: str = "") -> Device:
    return Device(LOCAL, f"GPU-{name}", "H100", str(index), gib * GIB, fault=fault)


def instance(name: str, index: int, gib: int, parent: str = "GPU-a") -> Device:
    return Device(LOCAL, f"MIG-{name}", "H100", f"0:{index}", gib * GIB, parent=parent, profile=f"{gib}g")


def inventory(*devices: Device, at: float = 1.0) -> Inventory:
    return Inventory(LOCAL, at, devices, driver="580.1")


TWO = inventory(gpu("a"), gpu("b", 1))
SHARED = seats_of([TWO], section())


def ask(user: str, order: int = 0, **keys: Any) -> Request:
    return Request(user, gpu=True, order=order, asked_at=1000.0 + order, **keys)


def lease(user: str, *seats: Seat, reserved: bool = False, state: State = State.ACTIVE) -> Lease:
    return Lease(1, user, state, tuple(seats), gpu=True, reserved=reserved)


def users(choice: list[tuple[Request, tuple[Seat, ...]]]) -> list[str]:
    return [request.user for request, _ in choice]


def test_sharing_divides_what_the_headroom_leaves() -> None:
    assert [(seat.device, seat.slot, seat.memory) for seat in SHARED] == [
        (device, slot, 6 * GIB) for device in ("GPU-a", "GPU-b") for slot in range(4)
    ]


def test_exclusive_gives_each_whole_gpu_and_mig_each_instance() -> None:
    machine = inventory(gpu("b", 1), instance("x", 0, 10), instance("y", 1, 20))
    assert seats_of([machine], section(Mode.EXCLUSIVE)) == (Seat(LOCAL, "GPU-b", 0, 25 * GIB),)
    assert seats_of([machine], section(Mode.MIG)) == (
        Seat(LOCAL, "MIG-x", 0, 10 * GIB),
        Seat(LOCAL, "MIG-y", 0, 20 * GIB),
    )
    assert seats_of([machine], section(Mode.OFF)) == ()


def test_a_device_with_a_fault_gives_no_seat() -> None:
    assert seats_of([inventory(gpu("a", fault="Xid 79"), gpu("b", 1))], section(Mode.EXCLUSIVE)) == (
        Seat(LOCAL, "GPU-b", 0, 25 * GIB),
    )


@pytest.mark.parametrize("name", ["GPU-b", "1"])
def test_only_devices_that_are_named_are_used(name: str) -> None:
    assert {seat.device for seat in seats_of([TWO], section(devices=[name]))} == {"GPU-b"}
    assert unmatched([TWO], section(devices=[name, "7"])) == ("7",)


def test_a_device_smaller_than_the_headroom_gives_no_seat() -> None:
    assert seats_of([inventory(gpu("a", gib=1))], section()) == ()


def test_people_are_spread_over_the_devices() -> None:
    choice = choose([ask(f"s{n}", n) for n in range(4)], SHARED, [])
    assert [seats[0].device for _, seats in choice] == ["GPU-a", "GPU-b", "GPU-a", "GPU-b"]


def test_who_had_less_gpu_time_goes_first_but_waiting_makes_up_for_it() -> None:
    one = SHARED[:1]
    had, fresh = ask("had", 0, gpu_seconds=600.0), ask("fresh", 300)
    assert users(choose([had, fresh], one, [])) == ["fresh"]
    late = ask("late", 1 + int(600 / AGEING))
    assert users(choose([had, late], one, [])) == ["had"]


def test_seats_that_are_set_aside_are_for_instructors() -> None:
    queue = [ask(f"s{n:02}", n) for n in range(10)]
    assert len(choose(queue, SHARED, [], reserved=2)) == 6
    teacher = ask("teacher", 99, reserved=True, priority=0, size=2)
    choice = choose([*queue, teacher], SHARED, [], reserved=2)
    assert users(choice) == ["teacher", *(f"s{n:02}" for n in range(6))]
    inside = [lease("teacher", *choice[0][1], reserved=True)]
    assert len(choose(queue, SHARED, inside, reserved=2)) == 6


def test_seats_that_are_set_aside_stay_on_one_device() -> None:
    students = choose([ask(f"s{n:02}", n) for n in range(10)], SHARED, [], reserved=2)
    inside = [lease(request.user, *seats) for request, seats in students]
    choice = choose([ask("teacher", 99, reserved=True, size=2)], SHARED, inside, reserved=2)
    assert len({seat.device for seat in choice[0][1]}) == 1


def test_a_large_request_keeps_its_device_from_small_ones_behind_it() -> None:
    inside = [lease(f"s{n}", seat) for n, seat in enumerate(SHARED[:3] + SHARED[4:])]  # one seat of GPU-a is free
    team, small = ask("team", 0, size=2), ask("small", 1)
    assert choose([team, small], SHARED, inside) == []
    assert choose([team, small], SHARED, inside[1:]) == [(team, (SHARED[0], SHARED[3]))]


def test_a_request_that_can_never_be_met_holds_nobody_up() -> None:
    giant, small = ask("giant", 0, size=5), ask("small", 1)
    assert not possible(giant, SHARED)
    assert users(choose([giant, small], SHARED, [])) == ["small"]


def test_a_request_that_the_reservation_makes_impossible_holds_nobody_up() -> None:
    one_device = SHARED[:4]
    team, small = ask("team", 0, size=3), ask("small", 1)
    assert not possible(team, one_device, reserved=2)
    assert users(choose([team, small], one_device, [], reserved=2)) == ["small"]


def test_a_large_request_that_waits_leaves_instructors_what_is_set_aside() -> None:
    inside = [lease(f"s{n}", seat) for n, seat in enumerate(SHARED[:2] + SHARED[4:])]  # two seats of GPU-a are free
    team, teacher = ask("team", 0, size=3), ask("teacher", 1, reserved=True, size=2)
    assert users(choose([team, teacher], SHARED, inside, reserved=2)) == ["teacher"]


def test_a_larger_mig_seat_is_the_smallest_instance_that_is_large_enough() -> None:
    instances = inventory(instance("s", 0, 10), instance("m", 1, 20), instance("l", 2, 40))
    layout = seats_of([instances], section(Mode.MIG))
    choice = choose([ask("team", 0, size=2), ask("one", 1), ask("two", 2)], layout, [])
    assert [(request.user, seats[0].device) for request, seats in choice] == [
        ("team", "MIG-m"),
        ("one", "MIG-s"),
        ("two", "MIG-l"),
    ]


@pytest.mark.parametrize("state", [state for state in State if state not in (State.QUEUED, State.ENDED)])
def test_a_lease_keeps_its_seat_in_every_state(state: State) -> None:
    layout = SHARED[:1]
    assert choose([ask("s")], layout, [lease("kim", layout[0], state=state)]) == []


def test_fewer_larger_seats_never_oversell_a_device_with_old_small_ones_on_it() -> None:
    halves = seats_of([inventory(gpu("a"))], section(seats_per_gpu=2))  # 12 GiB each, of 24
    assert free(halves, [SHARED[3]]) == (halves[0],)
    assert free(halves, [SHARED[0]]) == (halves[1],)
    assert free(halves, SHARED[1:3]) == (halves[0],)
    assert free(halves, SHARED[1:4]) == ()


def test_a_container_of_another_class_holds_its_device() -> None:
    whole = Seat(LOCAL, "GPU-a", 0, 25 * GIB)
    assert {seat.device for seat in free(SHARED, [whole])} == {"GPU-b"}
    unknown = Seat(LOCAL, "GPU-a", 0, 0)
    assert {seat.device for seat in free(SHARED, [unknown])} == {"GPU-b"}


@pytest.mark.parametrize(
    ("role", "teams", "size"),
    [("student", [], 1), ("student", ["red"], 2), ("student", ["blue"], 3), ("instructor", ["red"], 4)],
)
def test_the_largest_size_that_fits_a_person_counts(role: str, teams: list[str], size: int) -> None:
    assert size_for(section(seats={"instructor": 4, "team": 2, "blue": 3}), role, teams) == size
