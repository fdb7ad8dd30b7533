"""The one queue of the class, inside the hub: whose server starts next, and who gets which GPU seat.

Everybody who wants a server waits here for their turn to start and, if they asked for one, for a GPU seat. The ledger
remembers both, so that a started-again hub goes on where the last one was killed. A seat is given by `Broker.turn`; it
comes back in `gpuclass.queue.books` and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gpuclass.gpus.ledger import Ledger, SeatTakenError
from gpuclass.gpus.model import Device, Inventory, Lease, Mode, Request, Seat, State
from gpuclass.gpus.seats import choose, free, may_use_reserved, possible, seats_of, size_for
from gpuclass.queue.admission import Free, Line, Pace, Place, Releases, Why, line_up, places
from gpuclass.queue.books import Books, Hands, unwritten
from gpuclass.queue.docker_engine import Engine
from gpuclass.roster import Role
from gpuclass.settings import Settings

LOOK_S = 10.0  # from one look at the engine to the next, when nothing happens
RETRY_S = 2.0  # the same while the engine is silent; and how often the state of the GPUs is read while people wait
BETWEEN_LOOKS_S = 0.2  # of many servers that stop at once, not each makes a look of its own
BACK_WITHIN_S = 15.0  # how long a started-again hub waits for the people in its queue before it lets anybody in
_ALIVE = "hub.alive"  # its age says, after a restart, how long the hub was away

__all__ = ["Applicant", "Broker", "Free", "Hub", "Place", "current", "install"]


class Hub(Protocol):
    """What the broker asks of the hub that it is in, through the hub's own API."""

    async def answers(self) -> None:
        """Return when the hub answers requests."""

    async def start_server(self, user: str) -> bool:
        """Start a user's server with the options that they chose last; False when there is no such user."""


@dataclass(frozen=True)
class Applicant:
    """Somebody who wants a server.

    Attributes:
        user: their login.
        gpu: whether they asked for a GPU seat.
        role: as in the roster.
        teams: names of their teams.
    """

    user: str
    gpu: bool
    role: str = Role.STUDENT
    teams: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Waiting:
    lease: Lease
    turn: asyncio.Future[Lease]


@dataclass(frozen=True)
class _Start:
    request: Request
    began: float
    full: bool  # it took the last turn that there was


class Broker:
    """The queue, for one hub. All methods belong to the hub's event loop; the ledger is quick enough for it."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        engine: Engine,
        *,
        inventories: Callable[[], Sequence[Inventory]],
        cores: int,
        now: Callable[[], float] = time.time,
        log: logging.Logger | None = None,
    ) -> None:
        """
        Args:
            settings: the class.
            ledger: who holds what.
            engine: the containers.
            inventories: what is known of the GPUs now; empty while nothing recent is.
            cores: CPU cores of the machine.
            now: the time.
            log: for the operator.
        """
        self.settings = settings
        self.ledger = ledger
        self.hands = Hands()
        self.pace = Pace(cores)
        self.releases = Releases()
        self.reclaimed: set[str] = set()  # whose idle seat was taken since their last start: their page says so
        self._log = log or logging.getLogger(__name__)
        self._books = Books(settings, ledger, engine, self.hands, now=now, log=self._log, freed=self._freed)
        self._inventories = inventories
        self._now = now
        self._waiting: dict[str, _Waiting] = {}
        self._starting: dict[str, _Start] = {}
        self._places: dict[str, Place] = {}
        self._line = Line((), ())
        self._layout: tuple[Seat, ...] = ()
        self._seen: tuple[Inventory, ...] = ()
        self._known = False
        self._open = False
        self._opened_at = 0.0
        self._life: asyncio.Task[None] | None = None
        self._round_is_due = False
        self._look_again = asyncio.Event()

    # The way in

    async def turn(self, applicant: Applicant) -> Lease:
        """Wait until this person's server may start, with a seat if they asked for one.

        Cancelled, it leaves the place in the queue as it is; `over` gives it up.

        Returns:
            Their lease, reserved. The caller starts the container, then says `started`, and at last `ready` or `over`.
        """
        user = applicant.user
        gpu = applicant.gpu and self.settings.gpu.mode is not Mode.OFF
        self.hands.asked.add(user)
        self.reclaimed.discard(user)
        self.hands.keeps_place.discard(user)
        returns = await self._settle(user, gpu=gpu)
        lease = self.ledger.enqueue(
            user,
            gpu=gpu,
            size=size_for(self.settings.gpu, applicant.role, applicant.teams) if gpu else 1,
            priority=0 if applicant.role == Role.INSTRUCTOR or returns else 1,
            reserved=may_use_reserved(applicant.role),
        )
        waiting = self._waiting[user] = _Waiting(lease, asyncio.get_running_loop().create_future())
        self.hands.waiting.add(user)
        self._soon()
        try:
            return await waiting.turn
        finally:
            if self._waiting.get(user) is waiting:
                self._leave_line(user)

    def started(self, lease: Lease, container: str) -> None:
        """The lease's container runs."""
        self.hands.touched.add(lease.user)
        self.ledger.activate(lease.id, container)

    def ready(self, user: str) -> None:
        """The server listens: its start is over and the next one may begin."""
        start = self._end_start(user)
        if start:
            self.pace.took(self._clock() - start.began, full=start.full)

    def failed(self, user: str, *, keeps_place: bool) -> None:
        """The start failed. With ``keeps_place`` it was nobody's fault, and trying again goes on at the same place."""
        if keeps_place:
            self.hands.keeps_place.add(user)

    def stopping(self, user: str) -> None:
        """The hub begins to stop the container. Never fails: a container is stopped, whatever can be written."""
        self.hands.stopping.add(user)
        with unwritten(self._log, f"That the server of {user} is being stopped"):
            lease = self.ledger.lease_of(user)
            if lease and lease.state in (State.ACTIVE, State.LOST):
                self.ledger.releasing(lease.id)

    def stopped(self, user: str) -> None:
        """The hub has stopped the container, or tried to."""
        self.hands.touched.add(user)
        self.hands.stopping.discard(user)
        self.look_soon()

    def over(self, user: str) -> None:
        """The hub is done with the server, however that went: waiting, starting or running.

        Somebody who only waited leaves the queue. A seat stays held until the engine says that its container is gone.
        """
        self._end_start(user)
        if user in self.hands.asked - self.hands.keeps_place:
            with unwritten(self._log, f"That {user} has left the queue"):
                self.ledger.withdraw(user)
        self.look_soon()

    def waits_only(self, user: str) -> bool:
        """Whether this person has a place in the queue and nothing else; False when nobody can say."""
        with unwritten(self._log, f"The stop of {user}'s server"):
            lease = self.ledger.lease_of(user)
            return lease is not None and lease.state is State.QUEUED
        return False

    def device_of(self, lease: Lease) -> tuple[Device | None, int]:
        """The device of a lease as it was seen last, and how many seats it has; None where it is not seen."""
        of = sum(seat.device == lease.device for seat in self._layout)
        found = (device for inventory in self._seen for device in inventory.devices if device.uuid == lease.device)
        return next(found, None), of

    # What people are told

    def place(self, user: str) -> Place | None:
        """Where somebody is on the way in; None when they are not."""
        return self._places.get(user)

    def free(self, role: str = Role.STUDENT) -> Free:
        """How full the class is, for somebody in this role who would come now."""
        live = self.ledger.live()
        seats = free(self._layout, [*(seat for lease in live for seat in lease.seats), *self._books.others])
        given = sum(len(each) for _, each in self._line.ready)
        inside = sum(len(lease.seats) for lease in live if lease.reserved)
        aside = 0 if may_use_reserved(role) else max(0, self.settings.gpu.reserved - inside)
        can_have = max(0, len(seats) - given - aside)
        start = self.pace.seconds(len(self._line.ready), running=len(self._starting))
        before = sum(request.size for request in self._line.seatless)
        wait = 0.0 if can_have > before else self.releases.seconds(before + 1 - can_have, self._now())
        return Free(
            known=self._known,
            gpu_seats_free=len(seats),
            gpu_seats=len(self._layout),
            gpu_seats_open=can_have,
            waiting_for_gpu=len(self._line.seatless),
            waiting_to_start=len(self._line.ready),
            gpu_seconds=None if wait is None or not self._known or self._stopped else wait + start,
            start_seconds=None if self._stopped else start,
        )

    # Letting people in

    def _soon(self) -> None:
        """Let people in when what happens now is over: of many events at once, only one round is made."""
        if not self._round_is_due:
            self._round_is_due = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        self._round_is_due = False
        self._look_at_devices()
        queue = self.ledger.queue()
        line = line_up([request for request in queue if request.user in self._waiting], self._choose)
        if self._stopped is None:
            turns = max(0, self.pace.limit - len(self._starting))
            for number, (request, seats) in enumerate(line.ready[:turns], start=1):
                self._let_in(request, seats, full=number == turns)
        self._line = Line(tuple(each for each in line.ready if each[0].user in self._waiting), line.seatless)
        self._places = places(
            self._line,
            starting=[start.request for start in self._starting.values()],
            pace=self.pace,
            releases=self.releases,
            now=self._now(),
            stopped=self._stopped,
            seats_known=self._known and bool(self._layout),  # no seat at all: nobody is "next"
            possible=lambda request: possible(request, self._layout, self.settings.gpu.reserved),
        )
        for request in queue:  # whoever is still to come back to their place
            self._places.setdefault(request.user, self._unplaced(gpu=request.gpu))

    @property
    def _stopped(self) -> Why | None:
        """Why nobody is let in; None when people are."""
        if not self._books.engine_answers:
            return Why.ENGINE
        return None if self._open else Why.START

    def _unplaced(self, *, gpu: bool) -> Place:
        return Place("queued", 0, 1, None, self._stopped or Why.START, gpu)

    def _let_in(self, request: Request, seats: tuple[Seat, ...], *, full: bool) -> None:
        waiting = self._waiting[request.user]
        if waiting.turn.done():  # cancelled this moment
            return
        try:
            lease = self.ledger.reserve(waiting.lease.id, seats)
        except SeatTakenError:
            self._log.exception("A seat that looked free is held; %s goes on waiting", request.user)
            return
        self._starting[request.user] = _Start(request, self._clock(), full)
        self.hands.starting.add(request.user)
        self._leave_line(request.user)
        waiting.turn.set_result(lease)

    def _leave_line(self, user: str) -> None:
        del self._waiting[user]
        self.hands.waiting.discard(user)
        self.hands.touched.add(user)
        self._soon()

    def _end_start(self, user: str) -> _Start | None:
        self.hands.touched.add(user)
        self.hands.starting.discard(user)
        self._soon()
        return self._starting.pop(user, None)

    def _choose(self, queue: Sequence[Request]) -> list[tuple[Request, tuple[Seat, ...]]]:
        if not self._known:
            return []
        return choose(queue, self._layout, self.ledger.live(), self.settings.gpu.reserved, self._books.others)

    @staticmethod
    def _clock() -> float:
        """For durations: it never jumps."""
        return asyncio.get_running_loop().time()

    def _look_at_devices(self) -> None:
        if self.settings.gpu.mode is not Mode.OFF:
            self._seen = tuple(self._inventories())
            self._known = bool(self._seen)
            self._layout = seats_of(self._seen, self.settings.gpu)

    def _freed(self, lease: Lease) -> None:
        self.releases.happened(self._now(), len(lease.seats))
        self._soon()

    async def _settle(self, user: str, *, gpu: bool) -> bool:
        """Have nothing left of an earlier server of this person; whether it had ended by itself."""
        lease = self.ledger.lease_of(user)
        # Who ends their own server without a GPU comes first to no seat.
        broke = lease is not None and lease.state in (State.ACTIVE, State.LOST) and lease.gpu >= gpu
        while lease is not None and lease.state is not State.QUEUED:
            self._places[user] = self._unplaced(gpu=gpu)
            self.hands.touched.add(user)
            if not await self._books.clear(user):
                await asyncio.sleep(RETRY_S)
            lease = self.ledger.lease_of(user)
        return broke

    # A hub's life

    def begin(self, hub: Hub) -> None:
        """Begin `run` in the running event loop."""
        self._life = asyncio.get_running_loop().create_task(self.run(hub))

    async def run(self, hub: Hub) -> None:
        """What nobody asks for: recovery, the queue's return, and looking at the engine. Never ends by itself."""
        await self._insist(self.recover)
        await hub.answers()
        self._books.hub_is_up = True
        await self._insist(lambda: self.bring_back(hub))
        self._open = True
        self._opened_at = self._now()
        self._soon()
        while True:
            await self._until_next_look()
            try:
                await self._books.look()
                self._forget_who_left()
                self._note_that_we_live()
            except Exception:
                self._log.exception("The ledger could not be compared with the engine; this is tried again")
            self._soon()

    async def _insist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step of opening until it can be taken, as with a full disk it cannot: else nobody ever gets in."""
        while True:
            try:
                return await step()
            except Exception:
                self._log.exception("The queue cannot open yet; this is tried again")
                await asyncio.sleep(RETRY_S)

    async def recover(self) -> None:
        """Join what the ledger remembers with what the engine has, before anybody is let in.

        Whose start the last hub was killed in is in the queue again, at the old place. After a longer absence of the
        hub no place and no seat is kept for anybody: those people have left.
        """
        long_ago = self._absence() > self.settings.gpu.wait
        if long_ago:
            for request in self.ledger.queue():
                if request.user not in self.hands.asked:
                    self.ledger.withdraw(request.user, "the hub was away for long")
        while True:
            await self._books.look(keep_s=0.0 if long_ago else None)
            self._soon()
            if self._books.engine_answers:
                break
            await asyncio.sleep(RETRY_S)
        self._note_that_we_live()

    async def bring_back(self, hub: Hub) -> None:
        """Start anew, in order, whatever waited in the queue when the last hub ended; wait until they are in line."""
        for request in self.ledger.queue():
            if request.user not in self.hands.asked and not await hub.start_server(request.user):
                self.ledger.withdraw(request.user, "the hub does not know this person")
        with suppress(TimeoutError):
            async with asyncio.timeout(BACK_WITHIN_S):
                while any(request.user not in self._waiting for request in self.ledger.queue()):  # noqa: ASYNC110  # seldom
                    await asyncio.sleep(0.05)

    def look_soon(self) -> None:
        """Ask the engine soon what became of its containers."""
        self._look_again.set()

    async def _until_next_look(self) -> None:
        """Wait until the engine should be asked; meanwhile people who wait for a seat see what the GPUs do."""
        await asyncio.sleep(BETWEEN_LOOKS_S)
        rest = LOOK_S if self._books.engine_answers else RETRY_S
        while rest > 0 and not self._look_again.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(rest, RETRY_S)):
                    await self._look_again.wait()
            rest -= RETRY_S
            if self._line.seatless:
                self._soon()
        self._look_again.clear()

    def _forget_who_left(self) -> None:
        """Give up the places of people who did not come back to them in time."""
        for request in self.ledger.queue():
            lease = self.ledger.lease_of(request.user)
            since = max(lease.changed_at if lease else 0.0, self._opened_at)
            if request.user not in self._waiting and self._now() - since > self.settings.gpu.wait:
                self.ledger.withdraw(request.user, "did not come back")

    def _absence(self) -> float:
        """Seconds since a hub of this class was alive."""
        with suppress(FileNotFoundError):
            return self._now() - self._alive.stat().st_mtime
        return 0.0

    def _note_that_we_live(self) -> None:
        self._alive.parent.mkdir(parents=True, exist_ok=True)
        self._alive.touch()
        os.utime(self._alive, (self._now(), self._now()))

    @property
    def _alive(self) -> Path:
        return self.settings.gpus_folder / _ALIVE


_current: Broker | None = None


def current() -> Broker | None:
    """The broker of this hub process; None where there is no hub."""
    return _current


def install(broker: Broker) -> None:
    """Make this the broker of the hub process."""
    global _current  # one hub, one queue: JupyterHub makes the spawners, so nobody could pass it in
    _current = broker
