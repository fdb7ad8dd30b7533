"""What holds for every layout, every queue and every course of events."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.seats import EVENTS, World
from gpuclass.gpus.ledger import faded
from gpuclass.gpus.model import LOCAL, Device, Inventory, Lease, Mode, Request, Seat, State
from gpuclass.gpus.seats import AGEING, PATIENCE_S, choose, free, possible, seats_of
from gpuclass.settings import GpuSection

GIB = 2**30
MEMORY = {f"{kind}-{number}": gib * GIB for kind in ("GPU", "MIG") for number, gib in enumerate((24, 24, 80, 40))}


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Seat, ...]:
    """Seats of up to four devices in any mode."""
    mode = draw(st.sampled_from([Mode.EXCLUSIVE, Mode.MIG, Mode.SHARED, Mode.MPS]))
    kind = "MIG" if mode is Mode.MIG else "GPU"
    count = draw(st.integers(1, 4))
    machine = Inventory(
        LOCAL,
        0.0,
        tuple(
            Device(LOCAL, f"{kind}-{n}", "", str(n), MEMORY[f"{kind}-{n}"], parent="GPU" if kind == "MIG" else "")
            for n in range(count)
        ),
    )
    keys = {"mode": mode, "seats_per_gpu": draw(st.integers(1, 6)), "headroom": "1G"}
    return seats_of([machine], GpuSection.model_validate(keys))


requests = st.builds(
    Request,
    user=st.just(""),
    gpu=st.sampled_from([True, True, True, False]),
    size=st.sampled_from([1, 1, 1, 2, 3]),
    priority=st.integers(0, 1),
    reserved=st.booleans(),
    asked_at=st.floats(0, 10_000),
    gpu_seconds=st.floats(0, 10_000),
)


@st.composite
def queues(draw: st.DrawFn, most: int = 12) -> list[Request]:
    """Different people, in any order."""
    drawn = draw(st.lists(requests, max_size=most))
    return [Request(**vars(each) | {"user": f"s{number}", "order": number}) for number, each in enumerate(drawn)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Request], tuple[Seat, ...], list[Lease], int, list[Seat]]:
    """A queue, a layout, leases that were given by another layout, a reservation, and another class's seats."""
    before = draw(layouts())
    held = [*choose([Request(f"h{n}", gpu=True, order=n) for n in range(20)], before, [])]
    kept = [seats for _, seats in held if draw(st.booleans())]
    split = draw(st.integers(0, len(kept)))
    leases = [
        Lease(n, f"h{n}", draw(st.sampled_from([State.RESERVED, State.ACTIVE, State.RELEASING, State.LOST])), seats)
        for n, seats in enumerate(kept[:split])
    ]
    others = [seat for seats in kept[split:] for seat in seats]
    return draw(queues()), draw(layouts()), leases, draw(st.integers(0, 4)), others


@given(situations())
def test_no_seat_is_given_twice_and_no_memory_oversold(
    situation: tuple[list[Request], tuple[Seat, ...], list[Lease], int, list[Seat]],
) -> None:
    queue, layout, leases, reserved, others = situation
    choice = choose(queue, layout, leases, reserved, others)
    held = [*others, *(seat for lease in leases for seat in lease.seats)]
    given_away = [seat for _, seats in choice for seat in seats]
    assert set(given_away) <= set(layout)
    slots = Counter((seat.device, seat.slot) for seat in [*held, *given_away])
    assert max(slots.values(), default=1) == 1
    memory: Counter[str] = Counter()
    for seat in [*held, *given_away]:
        memory[seat.device] += seat.memory
    assert all(total <= MEMORY[device] for device, total in memory.items())


@given(situations(), st.randoms(use_true_random=False))
def test_the_same_input_gives_the_same_choice_in_whatever_order(
    situation: tuple[list[Request], tuple[Seat, ...], list[Lease], int, list[Seat]], chance: random.Random
) -> None:
    queue, layout, leases, reserved, others = situation
    first = choose(queue, layout, leases, reserved, others)
    again = choose(
        chance.sample(queue, len(queue)),
        chance.sample(layout, len(layout)),
        chance.sample(leases, len(leases)),
        reserved,
        chance.sample(others, len(others)),
    )
    assert again == first


@given(situations())
def test_each_gets_what_they_asked_for_on_one_device(
    situation: tuple[list[Request], tuple[Seat, ...], list[Lease], int, list[Seat]],
) -> None:
    queue, layout, leases, reserved, others = situation
    per_device = Counter(seat.device for seat in layout)
    smallest = min((seat.memory for seat in layout), default=0)
    for request, seats in choose(queue, layout, leases, reserved, others):
        assert request.gpu
        assert len({seat.device for seat in seats}) == 1
        if per_device[seats[0].device] == 1:
            assert seats[0].memory >= request.size * smallest
        else:
            assert len(seats) == request.size


@given(situations())
def test_seats_that_are_set_aside_are_left_for_those_they_are_for(
    situation: tuple[list[Request], tuple[Seat, ...], list[Lease], int, list[Seat]],
) -> None:
    queue, layout, leases, reserved, others = situation
    open_before = len(free(layout, [*others, *(seat for lease in leases for seat in lease.seats)]))
    choice = choose(queue, layout, leases, reserved, others)
    taken = {kind: sum(len(seats) for request, seats in choice if request.reserved is kind) for kind in (True, False)}
    if taken[False]:
        assert open_before - taken[False] - taken[True] >= max(0, reserved - taken[True])


@given(situations())
def test_no_seat_stays_empty_while_somebody_could_have_it(
    situation: tuple[list[Request], tuple[Seat, ...], list[Lease], int, list[Seat]],
) -> None:
    queue, layout, leases, _, others = situation
    small = [Request(**vars(request) | {"size": 1}) for request in queue]
    open_before = len(free(layout, [*others, *(seat for lease in leases for seat in lease.seats)]))
    choice = choose(small, layout, leases, 0, others)
    assert len(choice) == min(open_before, sum(request.gpu for request in small))


@given(situations())
def test_nobody_of_the_same_kind_is_overtaken(
    situation: tuple[list[Request], tuple[Seat, ...], list[Lease], int, list[Seat]],
) -> None:
    queue, layout, leases, reserved, others = situation
    alike = [Request(**vars(request) | {"size": 1, "reserved": False, "gpu": True}) for request in queue]
    served = [request.user for request, _ in choose(alike, layout, leases, reserved, others)]
    in_turn = sorted(alike, key=lambda each: (each.priority, each.gpu_seconds + AGEING * each.asked_at, each.order))
    assert served == [request.user for request in in_turn][: len(served)]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(0, 2), st.randoms(use_true_random=False))
def test_a_large_request_is_served_however_many_small_ones_come(
    size: int, reserved: int, chance: random.Random
) -> None:
    """One device has a seat free, and its holders stay for ever; all other seats change hands one by one."""
    layout = seats_of(
        [Inventory(LOCAL, 0.0, tuple(Device(LOCAL, f"GPU-{n}", "", str(n), 80 * GIB) for n in range(3)))],
        GpuSection.model_validate({"mode": "shared", "seats_per_gpu": 4}),
    )
    leases = [Lease(n, f"h{n}", State.ACTIVE, (seat,), gpu=True) for n, seat in enumerate(layout) if n != 3]
    large = Request("large", gpu=True, size=size, asked_at=0.0, order=0)
    assert possible(large, layout, reserved)
    now = 0.0
    waiting: list[Request] = [large]
    for number in range(1, 300):
        now += PATIENCE_S / 10
        waiting += [Request(f"s{number}-{n}", gpu=True, asked_at=now, order=2 * number + n) for n in range(2)]
        mobile = [lease for lease in leases if lease.device != "GPU-0"]
        if mobile:
            leases.remove(chance.choice(mobile))
        for request, seats in choose(waiting, layout, leases, reserved):
            if request is large:
                return
            waiting.remove(request)
            leases.append(Lease(1000 + number, request.user, State.ACTIVE, seats, gpu=True))
    raise AssertionError(f"not served after {now:.0f} s")


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 3600), st.floats(10, 60))
def test_who_had_much_is_served_however_many_come_who_had_nothing(had: float, every: float) -> None:
    layout = (Seat(LOCAL, "GPU-a", 0, GIB),)
    waiting = [Request("had-much", gpu=True, gpu_seconds=had, asked_at=0.0, order=0)]
    now = 0.0
    while now <= had / AGEING + every:
        now += every
        waiting.append(Request(f"s{now}", gpu=True, asked_at=now, order=int(now) + 1))
        (request, _), *_ = choose(waiting, layout, [])
        if request.user == "had-much":
            return
        waiting.remove(request)
    raise AssertionError(f"not served after {now:.0f} s")


@given(st.floats(0, 10**6), st.floats(0, 10**6), st.floats(0, 10**6))
def test_time_fades_but_never_grows_nor_turns_negative(begin: float, end: float, now: float) -> None:
    """Also when the clock was set back and an end lies before its begin or after now."""
    assert 0 <= faded(begin, end, now) <= max(0.0, min(end, now) - begin) + 1e-6


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(list(EVENTS)), max_size=80), st.randoms(use_true_random=False))
def test_seats_are_what_containers_run_on_whatever_happens(events: list[str], chance: random.Random) -> None:
    """A hub, an engine and students as in benchmarks/seats.py, few enough that each has trouble with the others."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), chance, students=10, devices=1)
        for event in events:
            world.happen(event)
        world.take_stock()
        world.close_down()
    assert (world.doubles, world.oversold, world.leaked) == (0, 0, 0)
