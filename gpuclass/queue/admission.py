"""Whose start begins next, how many may run at once, and how long somebody will wait. Pure: values in, values out.

A start is one container from its creation until its server listens. It costs about a second of CPU, and the engine does
much of it one after the other: eighty at once end together and late, a few at a time end one after the other and no
later altogether, so the first student is in after seconds. How many is measured, not set: see `Pace`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gpuclass.gpus.model import Request, Seat
from gpuclass.gpus.seats import turn

Choose = Callable[[Sequence[Request]], Sequence[tuple[Request, tuple[Seat, ...]]]]

BEYOND_CORES = 2  # starts more than cores: some of each start is waiting for the engine or the disk
LEAST = 2
AT_FIRST = 16  # not more than this before any start was measured: an engine does much one after the other
MOST_PER_CORE = 4  # above, more starts at once only lengthen each of them
FIRST_GUESS_S = 3.0  # a start on an idle machine with two cores, until one was measured
TOLERANCE = 1.6  # how much longer than the fastest a start may take before fewer run at once
RECENT = 12  # measured starts that count as "lately"
RELEASES = 3  # seats that must have come back before the wait for one is estimated
RELEASES_WITHIN_S = 3600.0


class Why(StrEnum):
    """What somebody in the queue waits for."""

    START = "start"  # their turn: others start before them
    SEAT = "seat"  # a GPU seat that is free
    DEVICES = "unknown-devices"  # news of the GPUs: nobody is given one while their state is unknown
    SIZE = "too-large"  # a seat as large as theirs, which there is none of: waiting is in vain
    ENGINE = "engine"  # Docker, which does not answer


@dataclass(frozen=True)
class Place:
    """Where somebody is on the way in.

    Attributes:
        state: ``queued`` or ``starting``.
        ahead: how many are before them, waiting for the same; 0 when starting.
        of: how many wait for the same, they included; 0 when starting.
        seconds: until their server is ready, as far as measured; None where nothing can be said.
        why: what they wait for.
        gpu: whether they asked for a GPU seat.
    """

    state: str
    ahead: int
    of: int
    seconds: float | None
    why: Why
    gpu: bool


@dataclass(frozen=True)
class Free:
    """How full the class is.

    Attributes:
        known: whether the state of the GPUs is known.
        gpu_seats_free, gpu_seats: ordinary seats that nobody holds, and all of them; 0 while the GPUs are unknown.
        gpu_seats_open: of those that nobody holds, how many somebody who comes now could have: neither given to people
            whose turn has not come yet, nor set aside for others.
        waiting_for_gpu, waiting_to_start: people in the queue, by what they wait for.
        gpu_seconds, start_seconds: until the server of somebody who comes now is ready, with a seat and without; None
            where nothing can be said.
    """

    known: bool
    gpu_seats_free: int
    gpu_seats: int
    gpu_seats_open: int
    waiting_for_gpu: int
    waiting_to_start: int
    gpu_seconds: float | None
    start_seconds: float | None


@dataclass(frozen=True)
class Line:
    """The queue, told apart by what people wait for. Both in the order in which they go.

    Attributes:
        ready: who could start now if there were a turn, with their seats (none without a GPU).
        seatless: who waits for a seat.
    """

    ready: tuple[tuple[Request, tuple[Seat, ...]], ...]
    seatless: tuple[Request, ...]


def line_up(queue: Sequence[Request], choose: Choose | None) -> Line:
    """Tell apart who waits for a turn and who for a seat.

    Args:
        queue: everybody, in the ledger's order.
        choose: who of the people who want a GPU gets which seats now, in order; None while nobody may get one.
    """
    wanting = [request for request in queue if request.gpu]
    chosen = list(choose(wanting)) if choose and wanting else []
    served = {request.user for request, _ in chosen}
    plain = [(request, ()) for request in queue if not request.gpu]
    return Line(
        tuple(_merge(chosen, sorted(plain, key=lambda found: _rank(found[0])))),
        tuple(sorted((request for request in wanting if request.user not in served), key=turn)),
    )


def _rank(request: Request) -> tuple[int, int]:
    return request.priority, request.order


def _merge(
    first: Sequence[tuple[Request, tuple[Seat, ...]]], second: Sequence[tuple[Request, tuple[Seat, ...]]]
) -> list[tuple[Request, tuple[Seat, ...]]]:
    """Both in one line: each keeps its own order, and between their heads who is earlier goes first."""
    left, right = deque(first), deque(second)
    merged = []
    while left and right:
        merged.append((left if _rank(left[0][0]) <= _rank(right[0][0]) else right).popleft())
    return [*merged, *left, *right]


class Pace:
    """How many starts run at once, from the number of cores and from how long starts take.

    As long as starts take hardly longer than the fastest did, one more may run; when they get longer, the machine is
    full and more at once would only make each later. (The gradient that congestion control uses.)
    """

    def __init__(self, cores: int) -> None:
        self._most = MOST_PER_CORE * cores + BEYOND_CORES
        self._limit = float(min(AT_FIRST, cores + BEYOND_CORES))
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._fastest: float | None = None

    @property
    def limit(self) -> int:
        """How many starts may run at once."""
        return int(self._limit)

    @property
    def mean_s(self) -> float:
        """How long a start takes lately, in seconds."""
        return sum(self._recent) / len(self._recent) if self._recent else FIRST_GUESS_S

    def took(self, seconds: float, *, full: bool) -> None:
        """A start has ended well.

        Args:
            seconds: how long it took.
            full: whether as many ran as were allowed; a start on an idle machine says nothing about the limit.
        """
        self._recent.append(seconds)
        self._fastest = seconds if self._fastest is None else min(seconds, self._fastest)
        if not full or len(self._recent) < min(self._limit, RECENT):
            return
        gradient = min(1.0, max(0.5, TOLERANCE * self._fastest / self.mean_s))
        more = max(1.0, self._limit / 4)  # what is tried beyond, once a start of each turn was measured
        step = (gradient * self._limit + more - self._limit) / self._limit
        self._limit = min(float(self._most), max(float(LEAST), self._limit + step))

    def seconds(self, ahead: int, *, running: int) -> float:
        """How long until the server of somebody with ``ahead`` others before them is ready."""
        turns = max(0, ahead + 1 - max(0, self.limit - running))
        return self.mean_s * (1 + turns / self.limit)


class Releases:
    """When seats came back lately, to estimate the wait for one."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque(maxlen=200)

    def happened(self, now: float, seats: int = 1) -> None:
        """Seats came back."""
        self._moments.extend([now] * seats)

    def seconds(self, seats: int, now: float) -> float | None:
        """How long until so many seats will have come back; None where too few did lately."""
        lately = [moment for moment in self._moments if now - moment < RELEASES_WITHIN_S]
        if len(lately) < RELEASES:
            return None
        return seats * max(1.0, now - lately[0]) / len(lately)


def places(  # one value each, all needed
    line: Line,
    *,
    starting: Collection[Request],
    pace: Pace,
    releases: Releases,
    now: float,
    stopped: Why | None,
    seats_known: bool,
    possible: Callable[[Request], bool],
) -> dict[str, Place]:
    """Everybody's place.

    Args:
        line: who waits.
        starting: whose start runs.
        pace, releases: what was measured.
        now: the time.
        stopped: why nobody at all is let in now; None when people are.
        seats_known: whether the state of the GPUs is known.
        possible: whether there is a seat for somebody at all, whoever holds it now.
    """
    found = {request.user: Place("starting", 0, 0, pace.mean_s, Why.START, request.gpu) for request in starting}
    total = len(line.ready)
    for ahead, (request, _) in enumerate(line.ready):
        seconds = None if stopped else pace.seconds(ahead, running=len(starting))
        found[request.user] = Place("queued", ahead, total, seconds, stopped or Why.START, request.gpu)
    before = 0
    for ahead, request in enumerate(line.seatless):
        before += request.size
        why = stopped or (Why.DEVICES if not seats_known else Why.SEAT if possible(request) else Why.SIZE)
        wait = releases.seconds(before, now) if why is Why.SEAT else None
        seconds = None if wait is None else wait + pace.mean_s
        found[request.user] = Place("queued", ahead, len(line.seatless), seconds, why, True)
    return found
