"""The ledger, kept true to what the engine's containers hold. Only here does a seat become free.

Nothing is believed but the engine's own list: not that a stop was asked for, not that a hook ran. While the engine is
silent, everything stays as the ledger has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from gpuclass.gpus.ledger import LeaseStateError, Ledger, LedgerError, SeatTakenError, settle
from gpuclass.gpus.model import Lease, Seat, State
from gpuclass.gpus.reconcile import Act, Action, Holder, join, others
from gpuclass.queue.docker_engine import Engine, EngineSilentError
from gpuclass.settings import Settings

GRACE_S = 15.0  # a container that the hub has no server for is left so long: the hub may be about to find it


@contextmanager
def unwritten(log: logging.Logger, what: str) -> Iterator[None]:
    """Go on though the ledger cannot be written, as on a full disk: the next look at the engine makes up for it.

    Args:
        log: for the operator.
        what: what the ledger does not know now.
    """
    try:
        yield
    except LedgerError as error:
        log.error("%s could not be written down; this is made up for later. %s", what, error)  # noqa: TRY400  # the text says it


class Server(Protocol):
    """What there is to know of a user's server in the hub; the spawner is one."""

    @property
    def active(self) -> bool:
        """Whether the hub has this server: running, or being started or stopped."""


@dataclass
class Hands:
    """People whose servers this process is busy with; what the engine says of them may be older than what was done.

    Attributes:
        asked: who asked this hub for a server, not the hub before it.
        waiting: who waits for their turn.
        starting, stopping: whose container is being started or stopped.
        touched: whose container changed since the engine was asked last.
        keeps_place: whose start failed through no fault of their own: their place in the queue stays theirs.
        servers: the hub's servers by login.
    """

    asked: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    starting: set[str] = field(default_factory=set)
    stopping: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    keeps_place: set[str] = field(default_factory=set)
    servers: WeakValueDictionary[str, Server] = field(default_factory=WeakValueDictionary)

    @property
    def full_of(self) -> set[str]:
        """Whose containers are nobody else's business now."""
        return self.waiting | self.starting | self.stopping | self.touched

    def has_server(self, user: str) -> bool:
        """Whether the hub has a server for this person."""
        server = self.servers.get(user)
        return server is not None and server.active


class Books:
    """Ledger and engine of one class, joined again and again."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        engine: Engine,
        hands: Hands,
        *,
        now: Callable[[], float],
        log: logging.Logger,
        freed: Callable[[Lease], None],
    ) -> None:
        """
        Args:
            settings: the class.
            ledger: who holds what.
            engine: the containers.
            hands: whom this process is busy with.
            now: the time.
            log: for the operator.
            freed: is told each lease that has ended, as it was.
        """
        self.engine_answers = False
        self.hub_is_up = False  # before, the hub itself does not know its servers
        self.others: tuple[Seat, ...] = ()  # seats that containers hold which no lease of ours is for
        self._settings = settings
        self._ledger = ledger
        self._engine = engine
        self._hands = hands
        self._now = now
        self._log = log
        self._freed = freed
        self._unanswered: dict[str, float] = {}  # containers that the hub has no server for, since when
        self._alarms: set[str] = set()
        self._one_at_a_time = asyncio.Lock()

    async def look(self, *, keep_s: float | None = None) -> None:
        """Ask the engine for its containers and set the ledger right.

        Args:
            keep_s: how long a seat is kept for its holder when the container has gone; None for ``[gpu] wait``.
        """
        async with self._one_at_a_time:
            self._hands.touched.clear()
            leases = self._ledger.live()
            holders = await self._ask()
            actions = join(
                leases,
                holders,
                class_name=self._settings.class_.name,
                starting=self._hands.full_of,
                answered=[self._engine.name] if self.engine_answers else [],
                now=self._now(),
                grace=self._settings.gpu.wait if keep_s is None else keep_s,
            )
            for action in actions:
                try:
                    with unwritten(self._log, action.why or action.act):
                        await self._do(action)
                except SeatTakenError as error:
                    self._alarm(f"{action.why}: {error}")
                except LeaseStateError as error:  # it moved on while the engine was asked; the next look sees it anew
                    self._log.info("%s: %s", action.why, error)
            self._alarms &= {action.why for action in actions}
            if self.engine_answers:
                self.others = tuple(others(self._ledger.live(), holders, self._settings.class_.name))
                await self._remove_unanswered(holders)

    async def clear(self, user: str) -> bool:
        """Have nothing left of an earlier server of this person: containers removed, seats free.

        Returns:
            Whether that is so; if not, the engine is silent.
        """
        async with self._one_at_a_time:
            for holder in await self._ask():
                if self._is_of(holder, user):
                    with suppress(EngineSilentError):
                        await self._engine.remove(holder.container)
            left = await self._ask()
            if not self.engine_answers or any(self._is_of(holder, user) and holder.holds for holder in left):
                return False
            lease = self._ledger.lease_of(user)
            if lease and lease.state is not State.QUEUED:
                self._end(lease, "somebody starts anew; the container is gone")
            return True

    async def _ask(self) -> list[Holder]:
        """What the engine says; nothing, and noted, when it is silent."""
        try:
            holders = await self._engine.holders()
        except EngineSilentError as error:
            if self.engine_answers:
                self._log.error(
                    "The engine does not say what runs; all seats stay held: %s", error
                )  # it is the engine's trouble, our stack says nothing about it
            self.engine_answers = False
            return []
        self.engine_answers = True
        return holders

    async def _do(self, action: Action) -> None:
        lease, holder = action.lease, action.holder
        match action.act:
            case Act.ALARM:
                self._alarm(action.why)
            case Act.REMOVE if holder:
                await self._remove(holder, action.why)
            case Act.REQUEUE if lease and lease.user in self._hands.asked - self._hands.keeps_place:
                self._end(lease, "the start failed or was cancelled")
            case Act.END if lease:
                self._end(lease, action.why)
            case _:
                if action.act in (Act.ADOPT, Act.LOSE):
                    whose = holder.user if holder else lease.user if lease else ""
                    self._log.warning("Lease of %s: %s", whose, action.why)
                settle(self._ledger, action)

    def _end(self, lease: Lease, why: str) -> None:
        self._ledger.end(lease.id, why)
        self._freed(lease)

    def _alarm(self, why: str) -> None:
        if why not in self._alarms:
            self._alarms.add(why)
            self._log.critical("Two holders of one seat, or two containers of one person: %s", why)

    async def _remove(self, holder: Holder, why: str) -> None:
        self._log.warning("Removing %s: it %s", holder.name, why)
        try:
            await self._engine.remove(holder.container)
        except EngineSilentError as error:
            self._log.warning("%s could not be removed yet: %s", holder.name, error)

    async def _remove_unanswered(self, holders: Iterable[Holder]) -> None:
        """Remove running containers that no server of the hub is for: it was killed while it started or stopped them.

        Somebody who waits for their turn has no server yet: what runs under their name is left from before.
        """
        found = {}
        now = self._now()
        for holder in holders:
            if not self.hub_is_up or not holder.running or not self._is_of(holder, holder.user):
                continue
            if holder.user in self._hands.waiting:
                await self._remove(holder, "is from before; its owner waits to start anew")
            elif not self._hands.has_server(holder.user) and holder.user not in self._hands.full_of:
                since = found[holder.container] = self._unanswered.get(holder.container, now)
                if now - since >= GRACE_S:
                    lease = self._ledger.lease_of(holder.user)
                    if lease and lease.container == holder.container:
                        with unwritten(self._log, f"The end of {holder.user}'s server"):
                            self._ledger.releasing(lease.id)
                    await self._remove(holder, "runs, and the hub has no server for it")
        self._unanswered = found

    def _is_of(self, holder: Holder, user: str) -> bool:
        return (
            holder.class_ == self._settings.class_.name and holder.user == user and holder.engine == self._engine.name
        )
