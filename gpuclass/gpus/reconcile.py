"""The ledger joined with the engine's containers: what has to be done so that seats are what containers hold.

Pure: it is told what the ledger says and what the engine says, and answers with a list. The labels of a running
container are right, whatever the ledger says; an engine that does not answer changes nothing about who holds what.

Read the ledger first and ask the engine then. A container that was started in between is then one too many at worst,
never one too few: a lease is ended only when the engine was asked after the lease was known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gpuclass.gpus.labels import DEVICE_LABEL, ENGINE_LABEL, LEASE_LABEL, MEMORY_LABEL, SLOTS_LABEL, USER_LABEL
from gpuclass.gpus.model import LOCAL, Lease, Seat, State
from gpuclass.network import CLASS_LABEL

_WITH_PROCESSES = frozenset({"running", "paused", "restarting", "removing"})  # Docker's words for a container's state
_HOLDING = _WITH_PROCESSES | {"created"}  # may be started at any moment


@dataclass(frozen=True)
class Holder:
    """A container of a class, as its engine shows it.

    Attributes:
        container: Docker's id.
        name: the container's name.
        user: whose it is.
        class_: the class it belongs to, which need not be this one.
        lease_id: the lease that it was started for; None when the label is not there or no number.
        seats: what it was started with; empty without a GPU.
        status: ``created``, ``running``, ``paused``, ``restarting``, ``removing``, ``exited`` or ``dead``.
        engine: whose container it is.
    """

    container: str
    name: str
    user: str
    class_: str
    lease_id: int | None
    seats: tuple[Seat, ...]
    status: str
    engine: str = LOCAL

    @property
    def running(self) -> bool:
        """Whether its processes may use the GPU now."""
        return self.status in _WITH_PROCESSES

    @property
    def holds(self) -> bool:
        """Whether its seats are taken: it runs, or may be started at any moment."""
        return self.status in _HOLDING


# Why ``join`` loses a lease; what it has lost so, it finds again. A lease that was lost for another reason (its device
# has failed) stays lost while its container runs.
UNANSWERED = "its engine does not answer"
KEPT = "its container is gone; the seat is kept for a while"


class Act(StrEnum):
    """What there is to do about a lease, a container, or both."""

    ADOPT = "adopt"  # the ledger takes over what the container's labels say
    ACTIVATE = "activate"  # the lease's container runs
    LOSE = "lose"  # nobody can say, or the container is gone and the seat is kept for a while
    REQUEUE = "requeue"  # the start ended before there was a container: back to the old place in the queue
    END = "end"  # the container is gone: the seat is free
    REMOVE = "remove"  # a container that was made and never started, and nobody is about to
    ALARM = "alarm"  # a person must look


@dataclass(frozen=True)
class Action:
    """One thing to do, and why, in English for the log."""

    act: Act
    why: str
    lease: Lease | None = None
    holder: Holder | None = None


def holder(container: str, name: str, labelled: Mapping[str, str], status: str, engine: str = LOCAL) -> Holder:
    """A container as the engine lists it (``Id``, ``Names[0]``, ``Labels``, ``State``).

    A device without readable slots or memory counts as held altogether: slot 0 with no memory, see ``seats.free``.
    """
    lease_id = labelled.get(LEASE_LABEL, "")
    return Holder(
        container=container,
        name=name.removeprefix("/"),
        user=labelled.get(USER_LABEL, ""),
        class_=labelled.get(CLASS_LABEL, ""),
        lease_id=int(lease_id) if lease_id.isdecimal() else None,
        seats=_seats(labelled, engine),
        status=status,
        engine=engine,
    )


def _seats(labelled: Mapping[str, str], engine: str) -> tuple[Seat, ...]:
    device = labelled.get(DEVICE_LABEL, "")
    if not device:
        return ()
    engine = labelled.get(ENGINE_LABEL, engine)
    slots = labelled.get(SLOTS_LABEL, "").split(",")
    memory = labelled.get(MEMORY_LABEL, "")
    if not memory.isdecimal() or not all(slot.isdecimal() for slot in slots):
        return (Seat(engine, device, 0, 0),)
    return tuple(sorted(Seat(engine, device, int(slot), int(memory) // len(slots)) for slot in slots))


def others(leases: Iterable[Lease], holders: Iterable[Holder], class_name: str) -> list[Seat]:
    """Seats of containers that none of these leases is for: another class's, or one that could not be adopted."""
    by_user = {lease.user: lease for lease in leases if lease.seats}
    found = []
    for each in holders:
        lease = by_user.get(each.user) if each.class_ == class_name else None
        ours = lease.seats if lease and lease.container in ("", each.container) else ()
        found += [seat for seat in each.seats if each.holds and seat not in ours]
    return found


def join(
    leases: Sequence[Lease],
    holders: Sequence[Holder],
    *,
    class_name: str,
    starting: Collection[str],
    answered: Collection[str],
    now: float,
    grace: float,
) -> list[Action]:
    """What to do so that the ledger and the engines agree. Doing it and joining again gives nothing but alarms.

    Args:
        leases: every lease that has not ended, read before the engines were asked.
        holders: containers of every class on the engines that answered, in whatever state.
        class_name: this class; other classes' containers are never touched.
        starting: people whose start or stop is in this process's hands; they are left alone.
        answered: the engines that answered.
        now: the time.
        grace: seconds that a seat is kept whose container has gone by itself.
    """
    by_user = {lease.user: lease for lease in leases}
    own: dict[str, list[Holder]] = defaultdict(list)
    for each in holders:
        if each.class_ == class_name and each.engine in answered and each.user not in starting:
            own[each.user].append(each)
    running = {user: one for user, found in sorted(own.items()) if (one := _running(found, by_user.get(user)))}
    owners = _owners(leases, running, starting)
    moved = [
        lease
        for lease in leases
        if lease.state is not State.QUEUED and any(owners[_key(seat)] != lease.user for seat in lease.seats)
    ]
    actions = [_displaced(lease, owners) for lease in moved]
    for user, found in sorted(own.items()):
        actions += [Action(Act.REMOVE, "was made and never started", holder=one) for one in found if _is_left(one)]
        actions += [
            Action(Act.ALARM, f"{user} has another container, {running[user].name}", holder=one)
            for one in found
            if one.running and one is not running[user]
        ]
    for user, one in running.items():
        before = by_user.get(user)
        actions += _with_container(None if before in moved else before, one, owners)
    for lease in leases:
        if lease.state is not State.QUEUED and lease not in moved and lease.user not in {*running, *starting}:
            actions += _without_container(lease, answered, now, grace)
    return actions + _shared_seats(holders)


def _running(containers: Iterable[Holder], lease: Lease | None) -> Holder | None:
    """Somebody's running container; of several, the one that their lease knows."""
    found = [each for each in containers if each.running]
    return next((each for each in found if lease and each.container == lease.container), found[0] if found else None)


def _is_left(container: Holder) -> bool:
    return container.status == "created"


def _owners(
    leases: Iterable[Lease], running: Mapping[str, Holder], starting: Collection[str]
) -> dict[tuple[str, str, int], str]:
    """Who has each seat: who is being given it, else whose container runs on it, else whose lease says so.

    Where containers of two people run on one seat, it is that of whoever's lease says so too.
    """
    leased = {_key(seat): lease.user for lease in leases for seat in lease.seats}
    found = dict(leased)
    for user, one in running.items():
        for seat in one.seats:
            before = leased.get(_key(seat))
            runs_too = before is not None and before in running and _key(seat) in map(_key, running[before].seats)
            if before not in starting and not runs_too:
                found[_key(seat)] = user
    return found


def _displaced(lease: Lease, owners: Mapping[tuple[str, str, int], str]) -> Action:
    """What becomes of a lease on whose seat somebody else's container runs. Its own container is adopted after it."""
    who = next(user for seat in lease.seats if (user := owners[_key(seat)]) != lease.user)
    why = f"the container of {who} runs on its seat"
    return Action(Act.REQUEUE if lease.state is State.RESERVED else Act.END, why, lease)


def _shared_seats(holders: Iterable[Holder]) -> list[Action]:
    found: dict[tuple[str, str, int], list[Holder]] = defaultdict(list)
    for each in holders:
        if each.holds:
            for seat in each.seats:
                found[_key(seat)].append(each)
    return [
        Action(
            Act.ALARM,
            f"{key[1]} slot {key[2]} of {key[0]} has {len(those)} holders: "
            + ", ".join(f"{each.name} (class {each.class_})" for each in those),
            holder=those[-1],
        )
        for key, those in sorted(found.items())
        if len({each.container for each in those}) > 1
    ]


def _with_container(lease: Lease | None, one: Holder, owners: Mapping[tuple[str, str, int], str]) -> list[Action]:
    """What somebody's running container means for their lease."""
    rivals = {owners[_key(seat)] for seat in one.seats} - {one.user}
    if rivals:
        return [Action(Act.ALARM, f"{one.name} runs on a seat of {', '.join(sorted(rivals))}", lease, one)]
    if lease is None:
        return [Action(Act.ADOPT, "runs, and the ledger does not know it", holder=one)]
    if lease.state is State.QUEUED:
        return [Action(Act.ADOPT, "runs, and its owner still queues", lease, one)]
    if set(lease.seats) != set(one.seats):
        return [Action(Act.ADOPT, "runs on other seats than the ledger says", lease, one)]
    if lease.container != one.container or _is_found_again(lease):
        return [Action(Act.ACTIVATE, f"runs, and its lease is {lease.state}", lease, one)]
    return []


def _is_found_again(lease: Lease) -> bool:
    return lease.state in (State.RESERVED, State.RELEASING) or (
        lease.state is State.LOST and lease.why in (UNANSWERED, KEPT)
    )


def _without_container(lease: Lease, answered: Collection[str], now: float, grace: float) -> list[Action]:
    """What becomes of a lease that no running container was found for."""
    engine = lease.seats[0].engine if lease.seats else LOCAL
    if engine not in answered:
        return [Action(Act.LOSE, UNANSWERED, lease)] if lease.state in (State.ACTIVE, State.RELEASING) else []
    if lease.state is State.RESERVED:
        return [Action(Act.REQUEUE, "its start ended before its container ran", lease)]
    if lease.state is State.RELEASING or not lease.seats or grace <= 0:
        return [Action(Act.END, "its container is gone", lease)]
    if lease.state is not State.LOST or lease.why != KEPT or lease.changed_at > now:
        return [Action(Act.LOSE, KEPT, lease)]  # the grace begins now, also after the clock was set back
    return [] if now - lease.changed_at < grace else [Action(Act.END, "its container is gone", lease)]


def _key(seat: Seat) -> tuple[str, str, int]:
    return seat.engine, seat.device, seat.slot
