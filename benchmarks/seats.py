"""Seats under fire: students who start, stop and crash, a hub that is killed anywhere, and who gets how much.

    python benchmarks/seats.py [--short] [--seed 1]

Three parts, one after the other; the engine and the students are simulated, the ledger is the real one, on disk:

1. 500 students on 8 devices, 10,000 random events. Each step of a start and a stop is an event of its own, so that the
   hub dies between any two; the engine goes away and comes back, containers die by themselves, the ledger is found as
   it was some time ago, the number of seats on a device changes, the clock is set back. After each event: no seat with
   two holders, no device with more memory given than it has. Every 500 events the hub gets time to look: the seats
   held are those of running containers. At the end everybody leaves, and every seat is free.
2. 80 grants at the same moment, from 80 threads.
3. Fairness: 500 students who always want a GPU, some for ten minutes and some for an hour. Largest over smallest share
   of GPU time by our choice, by drawing lots, and by Docker's ``count=1``, which gives everybody the first GPU.

The last line is one line of JSON; ``ratio`` is our fairness over that of drawing lots.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gpuclass.gpus.labels import USER_LABEL, seat_labels
from gpuclass.gpus.ledger import LeaseStateError, Ledger, SeatTakenError, faded, settle
from gpuclass.gpus.model import LOCAL, Device, Inventory, Lease, Mode, Request, Seat, State
from gpuclass.gpus.reconcile import Act, Holder, holder, join, others
from gpuclass.gpus.seats import choose, free, seats_of
from gpuclass.network import CLASS_LABEL
from gpuclass.settings import GpuSection

GIB = 2**30
CLASS = "camp"
DEVICE_MEMORY = 80 * GIB
GRACE_S = 180.0
STARTS_AT_ONCE = 16
STOCK_EVERY = 500  # events
LIMIT = 0.5  # our largest share over our smallest one is at most half of that when lots are drawn


def main() -> int:
    """Measure, print, say whether all holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="60 students, 2 devices, 1,000 events; for tests")
    parser.add_argument("--seed", type=int, default=1, help="another course of events (default: 1)")
    arguments = parser.parse_args()
    students, devices, events, hours = (60, 2, 1000, 40) if arguments.short else (500, 8, 10_000, 60)

    with tempfile.TemporaryDirectory(prefix="gpuclass-seats-") as folder:
        world = World(Path(folder), random.Random(arguments.seed), students=students, devices=devices)  # noqa: S311  # a simulation is to be repeated
        for number in range(events):
            world.happen(*world.chance.choices(list(EVENTS), list(EVENTS.values())))
            if number % STOCK_EVERY == 0:
                world.take_stock()
        world.close_down()
        print(f"{events} events: " + ", ".join(f"{number} {name}" for name, number in sorted(world.events.items())))
        print(f"double leases {world.doubles}, oversold devices {world.oversold}, leaked seats {world.leaked}")
        grants = measure_grants(Path(folder), students=80)
    milliseconds = {"p50": percentile(grants, 50), "p99": percentile(grants, 99)}
    print(f"80 grants at once: p50 {milliseconds['p50']:.1f} ms, p99 {milliseconds['p99']:.1f} ms")
    shares = fairness(students, devices=devices, hours=hours, seed=arguments.seed)
    for name, share in shares.items():
        print(
            f"{name}: a student had {min(share) / 60:.1f} to {max(share) / 60:.1f} minutes of a whole GPU, "
            f"{spread_of(share):.2f} to 1; {sum(share) / 3600:.0f} GPU hours given"
        )
    spread = {name: round(spread_of(share), 3) for name, share in shares.items()}
    ratio = round(spread["gpuclass"] / spread["random"], 3)
    print(
        json.dumps(
            {
                "benchmark": "seats",
                "ratio": ratio,
                "limit": LIMIT,
                "students": students,
                "devices": devices,
                "events": events,
                "seed": arguments.seed,
                "double_leases": world.doubles,
                "oversold_devices": world.oversold,
                "leaked_seats": world.leaked,
                "happened": dict(sorted(world.events.items())),
                "grant_ms": {name: round(value, 2) for name, value in milliseconds.items()},
                "fairness": spread,
                "gpu_hours": {name: round(sum(share) / 3600, 1) for name, share in shares.items()},
                "least_minutes": {name: round(min(share) / 60, 2) for name, share in shares.items()},
            }
        )
    )
    return 0 if ratio <= LIMIT and not (world.doubles or world.oversold or world.leaked) else 1


def spread_of(share: Sequence[float]) -> float:
    """Largest over smallest. Less than a minute counts as a minute: lots can give somebody nothing at all."""
    return max(share) / max(60.0, min(share))


def percentile(values: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


# Part 1: a hub, an engine and students


# How often each thing happens, of World's methods
EVENTS = {
    "somebody_asks": 30.0,
    "somebody_leaves": 12.0,
    "a_start_goes_on": 35.0,
    "a_stop_goes_on": 25.0,
    "the_hub_looks": 25.0,
    "a_container_dies": 4.0,
    "the_hub_is_killed": 3.0,
    "the_engine_goes": 2.0,
    "the_engine_comes": 10.0,
    "the_ledger_is_an_old_one": 1.0,
    "seats_are_divided_anew": 1.0,
    "the_clock_is_set_back": 1.0,
}


class Killed(Exception):  # noqa: N818  # it is not an error but what happens to the hub
    """The hub's process ends at this point."""


@dataclass
class ContainerDouble:
    """What the engine knows of a container."""

    name: str
    labels: dict[str, str]
    status: str = "created"


@dataclass
class EngineDouble:
    """A Docker engine: containers with labels, names that are unique, and times when it does not answer."""

    containers: dict[str, ContainerDouble] = field(default_factory=dict)
    answers: bool = True
    made: int = 0

    def create(self, name: str, labelled: dict[str, str]) -> str:
        """Make a container and give its id; as the spawner does, what is left of an earlier start goes first."""
        for known, container in list(self.containers.items()):
            if container.name == name:
                assert container.status != "running", f"{name} would be started twice"  # noqa: S101  # a fault of the hub
                del self.containers[known]
        self.made += 1
        self.containers[f"c{self.made}"] = ContainerDouble(name, labelled)
        return f"c{self.made}"

    def holders(self) -> list[Holder]:
        """All containers, as the hub lists them."""
        return [holder(known, each.name, each.labels, each.status) for known, each in self.containers.items()]


class World:
    """A class, event by event. What the hub has in memory is in ``starting`` and ``stopping`` and dies with it."""

    def __init__(self, folder: Path, chance: random.Random, *, students: int, devices: int) -> None:
        self.folder, self.chance = folder, chance
        self.time = 1_800_000_000.0
        self.path = folder / "ledger.sqlite"
        self.ledger = Ledger(self.path, self.now)
        self.students = [f"s{number:03}" for number in range(students)]
        self.teachers = set(self.students[:4])
        self.machine = Inventory(
            LOCAL, self.time, tuple(Device(LOCAL, f"GPU-{n}", "H100", str(n), DEVICE_MEMORY) for n in range(devices))
        )
        self.seats_per_gpu = 4
        self.engine = EngineDouble()
        self.starting: dict[str, tuple[Lease, str]] = {}  # by user: the lease and its container, "" before there is one
        self.stopping: dict[str, Lease] = {}
        self.recovered = False  # nobody is admitted before the ledger was joined with the engine
        self.events: Counter[str] = Counter()
        self.doubles = self.oversold = self.leaked = 0
        for number in range(3):  # another class has some of the first device
            lease = Lease(number, f"guest{number}", State.ACTIVE, (Seat(LOCAL, "GPU-0", number, 19 * GIB),), gpu=True)
            made = self.engine.create(f"other-{number}", labels("other", lease))
            self.engine.containers[made].status = "running"

    def now(self) -> float:
        """The hub's clock."""
        return self.time

    # What the hub does

    @property
    def layout(self) -> tuple[Seat, ...]:
        """All seats, by the settings of now."""
        section = {"mode": "shared", "seats_per_gpu": self.seats_per_gpu, "headroom": "4G"}
        return seats_of([self.machine], GpuSection.model_validate(section))

    def ask(self, user: str) -> None:
        """Somebody presses start; who lost their container by itself comes back to a seat that was kept."""
        before = self.ledger.lease_of(user)
        if before and before.state is State.LOST and self._is_gone(before):
            self.ledger.requeue(before.id, priority=0)
        teaches = user in self.teachers
        self.ledger.enqueue(
            user,
            gpu=self.chance.random() < 0.9,
            size=2 if teaches else 1,
            priority=0 if teaches else 1,
            reserved=teaches,
        )

    def _is_gone(self, lease: Lease) -> bool:
        found = self.engine.containers.get(lease.container)
        return self.engine.answers and (found is None or found.status == "exited")

    def agree(self) -> None:
        """Join the ledger with the engine. The hub may be killed at every step."""
        leases = self.ledger.live()
        holders = self.engine.holders() if self.engine.answers else []
        actions = join(
            leases,
            holders,
            class_name=CLASS,
            starting={*self.starting, *self.stopping},
            answered=[LOCAL] if self.engine.answers else [],
            now=self.time,
            grace=GRACE_S,
        )
        for action in actions:
            self.events[f"action: {action.act}"] += 1
            if action.act is Act.REMOVE and action.holder:
                self.engine.containers.pop(action.holder.container, None)
            with suppress(SeatTakenError, LeaseStateError):  # the hub raises an alarm, and looks again
                settle(self.ledger, action)
            self._may_be_killed()
        self.recovered |= self.engine.answers

    def admit(self) -> None:
        """Let in those whose turn it is. The hub may be killed at every step."""
        if not (self.recovered and self.engine.answers):
            return
        leases, queue = self.ledger.live(), self.ledger.queue()
        elsewhere = others(leases, self.engine.holders(), CLASS)
        granted = {
            request.user: seats for request, seats in choose(queue, self.layout, leases, reserved=2, others=elsewhere)
        }
        for request in queue:
            if (not request.gpu or request.user in granted) and len(self.starting) < STARTS_AT_ONCE:
                lease = self.ledger.reserve(request.order, granted.get(request.user, ()))
                self._may_be_killed()
                self.starting[request.user] = lease, ""

    def _may_be_killed(self) -> None:
        if self.chance.random() < 0.002:
            raise Killed

    def start_step(self, user: str) -> None:
        """Create, then start, then tell the ledger; a start fails when the engine does not answer."""
        lease, container = self.starting[user]
        if not self.engine.answers:
            del self.starting[user]
        elif not container:
            self.starting[user] = lease, self.engine.create(f"{CLASS}-{user}", labels(CLASS, lease))
        elif self.engine.containers[container].status == "created":
            self.engine.containers[container].status = "running"
        else:
            self.ledger.activate(lease.id, container)
            del self.starting[user]

    def stop_step(self, user: str) -> None:
        """Tell the ledger, then remove, then tell the ledger again."""
        lease = self.stopping[user]
        if lease.state is not State.RELEASING:
            self.stopping[user] = self.ledger.releasing(lease.id)
        elif not self.engine.answers:
            del self.stopping[user]
        elif lease.container in self.engine.containers:
            del self.engine.containers[lease.container]
        else:
            self.ledger.end(lease.id, "stopped")
            del self.stopping[user]

    # What happens to it

    def happen(self, event: str) -> None:
        """One of ``EVENTS``; then look whether all still holds."""
        self.time += self.chance.expovariate(1 / 10)
        self.events[event.replace("_", " ")] += 1
        try:
            getattr(self, event)()
        except Killed:
            self.the_hub_is_killed()
        self.look()

    def somebody_asks(self) -> None:
        """Mostly somebody who has nothing; else it changes nothing."""
        user = self.chance.choice(self.students)
        if user not in self.starting and user not in self.stopping:
            self.ask(user)

    def somebody_leaves(self) -> None:
        """By the stop button, say."""
        leases = [lease for lease in self.ledger.live() if lease.state is State.ACTIVE]
        if leases:
            lease = self.chance.choice(leases)
            self.stopping.setdefault(lease.user, lease)

    def a_start_goes_on(self) -> None:
        """One step of each of a few of them."""
        for user in self.chance.sample(sorted(self.starting), min(4, len(self.starting))):
            self.start_step(user)

    def a_stop_goes_on(self) -> None:
        """One step of one of them."""
        if self.stopping:
            self.stop_step(self.chance.choice(sorted(self.stopping)))

    def the_hub_looks(self) -> None:
        """As it does every few seconds."""
        self.agree()
        self.admit()

    def a_container_dies(self) -> None:
        """Out of memory, say; if it was being started, that start has failed."""
        running = [each for each in self.engine.containers.values() if each.status == "running"]
        if running:
            died = self.chance.choice(running)
            died.status = "exited"
            self.starting.pop(died.labels[USER_LABEL], None)

    def the_hub_is_killed(self) -> None:
        """And started again; sometimes somebody makes a backup of the ledger meanwhile."""
        self.starting.clear()
        self.stopping.clear()
        self.recovered = False
        self.ledger.close()
        if self.chance.random() < 0.3:
            shutil.copy(self.path, self.folder / "backup")
        self.ledger = Ledger(self.path, self.now)

    def the_engine_goes(self) -> None:
        """The containers run on."""
        self.engine.answers = False

    def the_engine_comes(self) -> None:
        """If it was away."""
        self.engine.answers = True

    def the_ledger_is_an_old_one(self) -> None:
        """A backup was put back, or nothing was left at all; the containers run on."""
        self.the_hub_is_killed()
        self.ledger.close()
        self.path.unlink()
        if (self.folder / "backup").exists() and self.chance.random() < 0.7:
            shutil.copy(self.folder / "backup", self.path)
        self.ledger = Ledger(self.path, self.now)

    def seats_are_divided_anew(self) -> None:
        """class.toml was edited and the hub started again; the containers run on."""
        self.seats_per_gpu = self.chance.choice([2, 3, 4, 6])
        self.the_hub_is_killed()

    def the_clock_is_set_back(self) -> None:
        """By an hour."""
        self.time -= 3600

    # What must hold

    def look(self) -> None:
        """Count seats with two holders, for the engine or the ledger, and devices with more memory given than is."""
        running = Counter(_key(seat) for each in self.engine.holders() if each.running for seat in each.seats)
        leased = Counter(_key(seat) for lease in self.ledger.live() for seat in lease.seats)
        self.doubles += sum(number > 1 for found in (running, leased) for number in found.values())
        given: Counter[str] = Counter()
        for each in self.engine.holders():
            for seat in each.seats if each.running else ():
                given[seat.device] += seat.memory
        self.oversold += sum(memory > DEVICE_MEMORY for memory in given.values())

    def take_stock(self) -> None:
        """Give the hub time to notice everything; then the seats that are held are those of running containers."""
        self.engine.answers = True
        for _ in range(4):
            while self.starting:
                self.start_step(next(iter(self.starting)))
            while self.stopping:
                self.stop_step(next(iter(self.stopping)))
            self.time += GRACE_S + 1
            try:
                self.agree()
            except Killed:
                self.the_hub_is_killed()
        running = Counter(
            _key(seat) for each in self.engine.holders() if each.running and each.class_ == CLASS for seat in each.seats
        )
        held = Counter(_key(seat) for lease in self.ledger.live() for seat in lease.seats)
        self.leaked += ((running - held) + (held - running)).total()

    def close_down(self) -> None:
        """Everybody leaves, and every seat is free again."""
        for container in self.engine.containers.values():
            container.status = "exited"
        self.starting.clear()
        self.take_stock()
        elsewhere = others(self.ledger.live(), self.engine.holders(), CLASS)
        self.leaked += len(self.layout) - len(free(self.layout, elsewhere))
        self.ledger.close()


def labels(class_name: str, lease: Lease) -> dict[str, str]:
    """As the spawner labels a container."""
    return {CLASS_LABEL: class_name, USER_LABEL: lease.user} | seat_labels(lease, Mode.SHARED)


def _key(seat: Seat) -> tuple[str, str, int]:
    return seat.engine, seat.device, seat.slot


# Part 2: the ledger's grant


def measure_grants(folder: Path, students: int) -> list[float]:
    """Milliseconds that each of so many grants took which began at the same moment."""
    path = folder / "grants.sqlite"
    took: list[float] = []
    with Ledger(path) as ledger:
        leases = [ledger.enqueue(f"s{number}", gpu=True) for number in range(students)]
        barrier = threading.Barrier(students)

        def grant(lease: Lease, seat: Seat) -> None:
            barrier.wait()
            begin = time.perf_counter()
            ledger.reserve(lease.id, [seat])
            took.append((time.perf_counter() - begin) * 1000)

        threads = [
            threading.Thread(target=grant, args=(lease, Seat(LOCAL, f"GPU-{n % 8}", n // 8, GIB)))
            for n, lease in enumerate(leases)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(took) == students  # noqa: S101  # a grant that failed would not be counted
    return took


# Part 3: fairness

PAUSE_S = 300.0  # from leaving until the same student asks again
Pick = Callable[[Sequence[Request], Sequence[Seat], Sequence[Lease]], Sequence[tuple[Request, Seat]]]


def fairness(students: int, devices: int, hours: float, seed: int) -> dict[str, list[float]]:
    """GPU time of each student, as seconds of a whole GPU, by who chooses."""
    machine = Inventory(
        LOCAL, 0.0, tuple(Device(LOCAL, f"GPU-{n}", "H100", str(n), DEVICE_MEMORY) for n in range(devices))
    )
    layout = seats_of([machine], GpuSection.model_validate({"mode": "shared", "seats_per_gpu": 4}))
    lots = random.Random(seed)  # noqa: S311  # a simulation is to be repeated

    def by_choice(
        queue: Sequence[Request], open_seats: Sequence[Seat], leases: Sequence[Lease]
    ) -> list[tuple[Request, Seat]]:
        return [(request, seats[0]) for request, seats in choose(queue, layout, leases)]

    def by_lot(
        queue: Sequence[Request], open_seats: Sequence[Seat], leases: Sequence[Lease]
    ) -> list[tuple[Request, Seat]]:
        return list(zip(lots.sample(queue, len(queue)), open_seats, strict=False))

    return {
        "gpuclass": play(by_choice, layout, students, hours, seed),
        "random": play(by_lot, layout, students, hours, seed),
        "count=1": play_on_first_gpu(students, hours, seed),
    }


def habits(students: int, seed: int) -> tuple[random.Random, list[float]]:
    """Chance, and how long each student stays on average: ten minutes, twenty, or an hour."""
    chance = random.Random(seed)  # noqa: S311  # a simulation is to be repeated
    return chance, [chance.choice([600.0, 1200.0, 3600.0]) for _ in range(students)]


def play(pick: Pick, layout: Sequence[Seat], students: int, hours: float, seed: int) -> list[float]:
    """Seconds of a whole GPU that each student had, all of whom ask again and again."""
    chance, habit = habits(students, seed)
    per_gpu = len(layout) / len({seat.device for seat in layout})
    had: dict[int, list[tuple[float, float]]] = defaultdict(list)
    asks = {student: chance.uniform(0, 60) for student in range(students)}
    waiting: dict[int, float] = {}
    sessions: dict[int, tuple[float, float, Seat]] = {}  # by student: begin, end, seat
    now, end = 0.0, hours * 3600
    while (now := min([*asks.values(), *(until for _, until, _ in sessions.values())])) < end:
        for student in [student for student, (_, until, _) in sessions.items() if until <= now]:
            begin, until, _ = sessions.pop(student)
            had[student].append((begin, until))
            asks[student] = now + PAUSE_S
        for student in [student for student, at in asks.items() if at <= now]:
            waiting[student] = asks.pop(student)
        leases = [
            Lease(student, str(student), State.ACTIVE, (seat,), gpu=True) for student, (_, _, seat) in sessions.items()
        ]
        open_seats = free(layout, [seat for lease in leases for seat in lease.seats])
        if not open_seats or not waiting:
            continue
        queue = [
            Request(
                str(student),
                gpu=True,
                asked_at=at,
                order=number,
                gpu_seconds=sum(faded(*session, now) for session in had[student]),
            )
            for number, (student, at) in enumerate(waiting.items())
        ]
        for request, seat in pick(queue, open_seats, leases):
            student = int(request.user)
            del waiting[student]
            sessions[student] = (now, now + chance.uniform(0.5, 1.5) * habit[student], seat)
    for student, (begin, until, _) in sessions.items():
        had[student].append((begin, min(until, end)))
    return [sum(until - begin for begin, until in had[student]) / per_gpu for student in range(students)]


def play_on_first_gpu(students: int, hours: float, seed: int) -> list[float]:
    """The same with ``count=1``: nobody waits, and the first GPU's time is divided by all who are on it.

    Its memory is taken to be without end; with a real one, all but the first few get an out-of-memory error.
    """
    chance, habit = habits(students, seed)
    changes = [(chance.uniform(0, 60), student) for student in range(students)]  # who comes or goes next, and when
    heapq.heapify(changes)
    inside: dict[int, float] = {}  # by student: what one on the GPU all the time would have had when they came
    had = [0.0] * students
    now = share = 0.0
    while changes[0][0] < hours * 3600:
        at, student = heapq.heappop(changes)
        share += (at - now) / len(inside) if inside else 0.0
        now = at
        if student in inside:
            had[student] += share - inside.pop(student)
            heapq.heappush(changes, (now + PAUSE_S, student))
        else:
            inside[student] = share
            heapq.heappush(changes, (now + chance.uniform(0.5, 1.5) * habit[student], student))
    share += (hours * 3600 - now) / max(1, len(inside))
    for student, before in inside.items():
        had[student] += share - before
    return had


if __name__ == "__main__":
    sys.exit(main())
