"""Who holds which seat, who waits, and who had how much: one SQLite file, written by the hub, read by the command line.

That nobody has two leases and no seat two holders is held by unique indices, not by looking first. A commit survives a
killed process; the last ones before a power cut may be gone (``synchronous=NORMAL``), and that is enough: a power cut
ends the containers too, and whoever holds a seat stands in the labels of the containers anyway. What only the ledger
knows is the order of the queue and the hours that people had.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DatabaseError, IntegrityError

from gpuclass.errors import PlainError
from gpuclass.gpus.model import Lease, Request, Seat, State
from gpuclass.gpus.reconcile import Act, Action
from gpuclass.gpus.seats import turn

SCHEMA_VERSION = 1
BUSY_WAIT_S = 5.0  # how long a write waits for another process's; the hub is the only one that writes for long
HALVING_S = 24 * 3600.0  # GPU time of a day ago counts half, of two days ago a quarter, …
LATELY_S = 7 * HALVING_S  # and what is older than this not at all

_metadata = MetaData()
_leases = Table(
    "lease",
    _metadata,
    Column("id", Integer, primary_key=True),  # rises: the order of asking
    Column("user", String, nullable=False),
    Column("state", String, nullable=False),
    Column("gpu", Boolean, nullable=False),
    Column("size", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("reserved", Boolean, nullable=False),
    Column("container", String, nullable=False, default=""),
    Column("asked_at", Float, nullable=False),
    Column("granted_at", Float, nullable=False, default=0.0),
    Column("changed_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False, default=0.0),
    Column("why", String, nullable=False, default=""),
    Index("lease_by_user", "user", "ended_at"),
    Index("lease_by_end", "ended_at"),
    sqlite_autoincrement=True,  # numbers are never used twice: they stand in labels
)
_seats = Table(
    "seat",
    _metadata,
    Column("lease", ForeignKey("lease.id"), nullable=False, index=True),
    Column("engine", String, nullable=False),
    Column("device", String, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("memory", Integer, nullable=False),
    Column("held", Boolean, nullable=False, default=True),
)
Index("one_live_lease_a_user", _leases.c.user, unique=True, sqlite_where=text("state != 'ended'"))
Index("one_holder_a_seat", _seats.c.engine, _seats.c.device, _seats.c.slot, unique=True, sqlite_where=text("held = 1"))
# A start that was cancelled before there was a container gave nobody anything, however often it is pressed.
_HAD_A_GPU = _leases.c.gpu & (_leases.c.granted_at > 0) & (_leases.c.container != "")


class LedgerError(PlainError):
    """The ledger cannot be used; the text says what to do."""


class DamagedLedgerError(LedgerError):
    """The file is no ledger, or not a whole one any more."""


class SeatTakenError(PlainError):
    """A seat has a holder already."""


class LeaseStateError(PlainError):
    """What was asked does not go with the state that the lease is in; it was left as it is."""


@dataclass(frozen=True)
class UsageRow:
    """What one person had in a time.

    Attributes:
        user: their login.
        leases: how many GPU seats they held.
        seconds: how long they held a GPU seat.
        seat_seconds: the same, times the number of ordinary seats that theirs was worth.
        waits: how many GPU seats they were given in that time, so waited for.
        wait_mean, wait_max: seconds from asking to being given one; 0 without a wait.
    """

    user: str
    leases: int
    seconds: float
    seat_seconds: float
    waits: int
    wait_mean: float
    wait_max: float


class Ledger:
    """The ledger at ``path``, opened. Safe for several threads; other processes may read and write too.

    Args:
        path: ``settings.ledger_path``; made, with its folder, when it is not there.
        now: the time, in seconds since the epoch.

    Raises:
        LedgerError: the file is damaged, or of another version, or may not be written.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self.now = now
        self._writing = threading.Lock()  # in line here, instead of SQLite's polling for its lock
        with self._plainly():
            _make_file(path)
            self._engine = _connect(path)
            with self._engine.begin() as connection:
                version = _checked_version(connection, path)
            if not version:
                with self._engine.execution_options(writes=True).begin() as connection:
                    _metadata.create_all(connection)
                    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The queue

    def enqueue(self, user: str, *, gpu: bool, size: int = 1, priority: int = 1, reserved: bool = False) -> Lease:
        """Put somebody into the queue.

        Who is in it already keeps their place; what they want may change. Who holds a lease in another state keeps it
        as it is: look at the state of what comes back.
        """
        wanted = {"gpu": gpu, "size": size, "priority": priority, "reserved": reserved}
        with self._transaction() as connection:
            lease = _live_lease(connection, user)
            if lease is None:
                return self._ask(connection, user=user, **wanted)
            if lease.state is not State.QUEUED:
                return lease
            connection.execute(update(_leases).where(_leases.c.id == lease.id).values(**wanted))
            return _lease(connection, lease.id)

    def queue(self) -> list[Request]:
        """Everybody who waits, in the order of their turn."""
        with self._reading() as connection:
            rows = connection.execute(select(_leases).where(_leases.c.state == State.QUEUED.value)).all()
            had = _gpu_time_lately(connection, self.now()) if rows else {}
        return sorted(
            (
                Request(
                    user=row.user,
                    gpu=row.gpu,
                    size=row.size,
                    priority=row.priority,
                    reserved=row.reserved,
                    asked_at=row.asked_at,
                    order=row.id,
                    gpu_seconds=had.get(row.user, 0.0),
                )
                for row in rows
            ),
            key=turn,
        )

    def withdraw(self, user: str, why: str = "withdrawn") -> bool:
        """Take somebody out of the queue; False, and nothing happens, if they are not in it."""
        with self._transaction() as connection:
            lease = _live_lease(connection, user)
            if lease is None or lease.state is not State.QUEUED:
                return False
            self._finish(connection, lease, why)
            return True

    # A lease's way

    def reserve(self, lease_id: int, seats: Sequence[Seat] = ()) -> Lease:
        """Queued → reserved: it is their turn, and these seats (none for a CPU) are theirs from now on.

        Raises:
            SeatTakenError: one of them has a holder; nothing was changed.
            LeaseStateError: the lease is not queued.
        """
        with self._transaction() as connection:
            lease = _in_state(connection, lease_id, State.QUEUED)
            _check_seats(seats)
            if lease.gpu is not bool(seats):
                raise ValueError(f"{lease.user} asked for gpu={lease.gpu} and would get {len(seats)} seats")
            lease = _hold(connection, lease, seats)
            return self._change(connection, lease, State.RESERVED, granted_at=self.now())

    def activate(self, lease_id: int, container: str) -> Lease:
        """Its container runs. Also for a lost or releasing lease whose container is found running after all.

        Raises:
            LeaseStateError: the lease is queued or has ended.
        """
        with self._transaction() as connection:
            lease = _in_state(connection, lease_id, State.RESERVED, State.ACTIVE, State.RELEASING, State.LOST)
            if (lease.state, lease.container) == (State.ACTIVE, container):
                return lease
            return self._change(connection, lease, State.ACTIVE, container=container, why="")

    def releasing(self, lease_id: int) -> Lease:
        """Its container is being stopped; the seats stay held until ``end``.

        Raises:
            LeaseStateError: the lease is queued or has ended.
        """
        with self._transaction() as connection:
            lease = _in_state(connection, lease_id, State.RESERVED, State.ACTIVE, State.RELEASING, State.LOST)
            return lease if lease.state is State.RELEASING else self._change(connection, lease, State.RELEASING)

    def lose(self, lease_id: int, why: str) -> Lease:
        """Nobody can say whether its container runs, or its device has failed; the seats stay held.

        Raises:
            LeaseStateError: the lease is queued or has ended.
        """
        with self._transaction() as connection:
            lease = _in_state(connection, lease_id, State.RESERVED, State.ACTIVE, State.RELEASING, State.LOST)
            return self._change(connection, lease, State.LOST, why=why)

    def requeue(self, lease_id: int, priority: int | None = None) -> Lease:
        """Back into the queue, and the seats are free: there is certainly no container.

        Somebody whose start failed gets their old place and keeps the lease. What somebody had before their container
        was gone is over: they get another lease.

        Args:
            lease_id: a lease that is reserved (a start that failed) or lost (the container is gone).
            priority: another one, such as 0 for somebody who comes back; None keeps theirs.

        Raises:
            LeaseStateError: the lease is in another state.
        """
        with self._transaction() as connection:
            lease = _in_state(connection, lease_id, State.RESERVED, State.LOST)
            priority = lease.priority if priority is None else priority
            if lease.state is State.LOST:
                self._finish(connection, lease, lease.why)
                return self._ask(
                    connection,
                    user=lease.user,
                    gpu=lease.gpu,
                    size=lease.size,
                    priority=priority,
                    reserved=lease.reserved,
                )
            lease = _let_go(connection, lease)
            return self._change(
                connection, lease, State.QUEUED, granted_at=0.0, container="", why="", priority=priority
            )

    def end(self, lease_id: int, why: str) -> Lease:
        """The lease is over and its seats are free: there is certainly no container. Again: nothing happens."""
        with self._transaction() as connection:
            lease = _lease(connection, lease_id)
            return lease if lease.state is State.ENDED else self._finish(connection, lease, why)

    def adopt(self, user: str, seats: Sequence[Seat], container: str, lease_id: int | None = None) -> Lease:
        """A container that the ledger does not know, or knows otherwise: its labels are right.

        Their live lease, if there is one, becomes this one; else the lease of that number comes back, or is made.

        Args:
            user: from the label.
            seats: from the labels; empty without a GPU.
            container: Docker's id.
            lease_id: from the label; None without one. Another person's number is not used.

        Raises:
            SeatTakenError: one of the seats has another holder; nothing was changed. Two containers then have one
                seat: a person must look.
        """
        _check_seats(seats)
        with self._transaction() as connection:
            lease = _live_lease(connection, user)
            known = None if lease_id is None else _find(connection, lease_id)
            if lease is None and known is not None and known.user == user:
                lease = known
            if lease is None:
                lease = self._add(
                    connection,
                    id=lease_id if known is None else None,
                    user=user,
                    state=State.RESERVED.value,
                    gpu=bool(seats),
                    size=max(1, len(seats)),
                    priority=1,
                    reserved=False,
                    asked_at=self.now(),
                )
            if set(lease.seats) != set(seats):
                lease = _hold(connection, _let_go(connection, lease), seats)
            return self._change(
                connection,
                lease,
                State.ACTIVE,
                container=container,
                gpu=bool(seats),
                # Of a lease that had ended, the time in between counts: nobody else can have had its container.
                granted_at=lease.granted_at or self.now(),
                ended_at=0.0,
                why="",
            )

    # Looking

    def lease_of(self, user: str) -> Lease | None:
        """What somebody holds or waits for; None if nothing."""
        with self._reading() as connection:
            return _live_lease(connection, user)

    def lease(self, lease_id: int) -> Lease | None:
        """One lease by its number, also one that has ended (then without its seats)."""
        with self._reading() as connection:
            return _find(connection, lease_id)

    def live(self) -> list[Lease]:
        """Every lease that has not ended, the queued ones too, in the order of asking."""
        with self._reading() as connection:
            return _select(connection, _LIVE)

    def usage(self, since: float = 0.0, until: float | None = None) -> list[UsageRow]:
        """What everybody had of the GPUs between two moments, most first. Seats that are held count until now.

        Starts that were cancelled before there was a container do not count.
        """
        now = self.now()
        until = math.inf if until is None else until
        with self._reading() as connection:
            rows = connection.execute(select(_leases).where(_HAD_A_GPU, _leases.c.granted_at < until)).all()
        found: dict[str, list[Row[Any]]] = defaultdict(list)
        for row in rows:
            if (row.ended_at or now) > since:
                found[row.user].append(row)
        return sorted(
            (_usage(user, rows, since, until, now) for user, rows in found.items()),
            key=lambda row: (-row.seconds, row.user),
        )

    # Within

    def _ask(self, connection: Connection, **values: Any) -> Lease:
        """A new lease in the queue. After the clock was set back nobody comes before those who wait already."""
        last = select(func.max(_leases.c.asked_at)).where(_leases.c.state == State.QUEUED.value)
        asked = max(self.now(), connection.scalar(last) or 0.0)
        return self._add(connection, state=State.QUEUED.value, asked_at=asked, **values)

    def _add(self, connection: Connection, **values: Any) -> Lease:
        added = connection.scalar(insert(_leases).values(changed_at=self.now(), **values).returning(_leases.c.id))
        return _lease(connection, added or 0)

    def _change(self, connection: Connection, lease: Lease, state: State, **values: Any) -> Lease:
        values |= {"changed_at": self.now()}
        connection.execute(update(_leases).where(_leases.c.id == lease.id).values(state=state.value, **values))
        return replace(lease, state=state, **values)

    def _finish(self, connection: Connection, lease: Lease, why: str) -> Lease:
        lease = _let_go(connection, lease)
        return self._change(connection, lease, State.ENDED, ended_at=max(self.now(), lease.granted_at), why=why)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start and is committed at its end."""
        with self._writing, self._plainly(), self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the ledger; waits for no writer."""
        with self._plainly(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, OSError, sqlite3.DatabaseError) as error:
            raise _explained(self.path, error) from error


def settle(ledger: Ledger, action: Action) -> bool:
    """Do what one action of ``reconcile.join`` means for the ledger.

    Returns:
        Whether it concerned the ledger; ``REMOVE`` is for the engine and ``ALARM`` for people.

    Raises:
        SeatTakenError: the seat of a running container is another lease's.
        LeaseStateError: the lease has moved on since this was decided; the next join sees it anew.
    """
    lease, holder = action.lease, action.holder
    match action.act:
        case Act.ADOPT if holder:
            ledger.adopt(holder.user, holder.seats, holder.container, holder.lease_id)
        case Act.ACTIVATE if lease and holder:
            ledger.activate(lease.id, holder.container)
        case Act.LOSE if lease:
            ledger.lose(lease.id, action.why)
        case Act.REQUEUE if lease:
            ledger.requeue(lease.id)
        case Act.END if lease:
            ledger.end(lease.id, action.why)
        case _:
            return False
    return True


def _connect(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_WAIT_S})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: object) -> None:
        connection.isolation_level = None  # sqlite3's own: transactions begin below only
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _make_file(path: Path) -> None:
    """Make the file before SQLite does: its own would be readable for everybody, and its journal copies the mode."""
    root = os.geteuid() == 0  # what a command of root's makes must be such that the hub can still open it
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        if root:
            above = path.parent.parent.stat()
            os.chown(path.parent, above.st_uid, above.st_gid)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if root:
            folder = path.parent.stat()
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    finally:
        os.close(descriptor)


def _checked_version(connection: Connection, path: Path) -> int:
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version not in (0, SCHEMA_VERSION):
        raise LedgerError(
            f"{path} was written by another version of gpuclass (format {version}, this one reads {SCHEMA_VERSION}). "
            "Use that version; or, with the hub stopped, move ledger.sqlite and its -wal and -shm to another folder: "
            "the hub then makes a new one from the running containers, and the queue and the hours are lost."
        )
    damage = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if damage != "ok":
        raise _damaged(path, damage)
    return version


def put_aside_if_damaged(path: Path, now: Callable[[], float] = time.time) -> Path | None:
    """Rename a damaged ledger, so that the hub can start with a new one: what counts stands in containers' labels.

    Returns:
        Where it is now; None, and nothing was done, if it is sound or not there.
    """
    if not path.exists():
        return None
    try:
        Ledger(path).close()
    except DamagedLedgerError:
        aside = path.with_name(f"{path.name}.damaged-{int(now())}")
        for ending in ("", "-wal", "-shm"):
            part = path.with_name(path.name + ending)
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
        return aside
    return None


def _damaged(path: Path, reason: object) -> DamagedLedgerError:
    last_line = str(reason).splitlines()[-1]
    return DamagedLedgerError(
        f"The ledger of seats {path} is damaged ({last_line}). What to do: start the hub again. It puts the file "
        "aside, makes a new one and reads from the running containers who holds which seat; nobody's server stops. The "
        "queue and the hours that people had are lost, unless you put back a backup while the hub is stopped."
    )


def _explained(path: Path, error: Exception) -> PlainError:
    cause = getattr(error, "orig", None) or error
    name = getattr(cause, "sqlite_errorname", "")
    if isinstance(error, IntegrityError):
        return SeatTakenError(f"A seat or a lease in {path} has a holder already: {cause}")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return _damaged(path, cause)
    hint = {
        "SQLITE_FULL": "The disk is full: make room; nothing was changed.",
        "SQLITE_BUSY": "Another process has held it for seconds: see who has it open (`fuser`); nothing was changed.",
    }.get(name, "It must belong to the service user (uid 1000), on a local disk; nothing was changed.")
    return LedgerError(f"The ledger of seats {path} cannot be used: {cause}. {hint}")


_COLUMNS = ("id", "user", "state", "gpu", "size", "priority", "reserved", "container", "why")
_MOMENTS = ("asked_at", "granted_at", "changed_at", "ended_at")
_WITH_SEATS = (
    select(
        *(_leases.c[name] for name in (*_COLUMNS, *_MOMENTS)),
        *(_seats.c[name] for name in ("engine", "device", "slot", "memory")),
    )
    .outerjoin_from(_leases, _seats, (_seats.c.lease == _leases.c.id) & _seats.c.held)
    .order_by(_leases.c.id, _seats.c.engine, _seats.c.device, _seats.c.slot)
)
_LIVE = _WITH_SEATS.where(_leases.c.state != State.ENDED.value)
_LIVE_OF = _LIVE.where(_leases.c.user == bindparam("login"))
_BY_NUMBER = _WITH_SEATS.where(_leases.c.id == bindparam("number"))


def _select(connection: Connection, statement: Select[Any], **values: Any) -> list[Lease]:
    """Leases with the seats that they hold, in the order of asking."""
    found: dict[int, dict[str, Any]] = {}
    seats: dict[int, list[Seat]] = defaultdict(list)
    for *values_of_lease, engine, device, slot, memory in connection.execute(statement, values):
        number = values_of_lease[0]
        found[number] = dict(zip((*_COLUMNS, *_MOMENTS), values_of_lease, strict=True))
        if engine is not None:
            seats[number].append(Seat(engine, device, slot, memory))
    return [
        Lease(**columns | {"state": State(columns["state"]), "seats": tuple(seats[number])})
        for number, columns in found.items()
    ]


def _find(connection: Connection, lease_id: int) -> Lease | None:
    return next(iter(_select(connection, _BY_NUMBER, number=lease_id)), None)


def _live_lease(connection: Connection, user: str) -> Lease | None:
    return next(iter(_select(connection, _LIVE_OF, login=user)), None)


def _lease(connection: Connection, lease_id: int) -> Lease:
    found = _find(connection, lease_id)
    if found is None:
        raise LeaseStateError(f"There is no lease {lease_id}.")
    return found


def _in_state(connection: Connection, lease_id: int, *states: State) -> Lease:
    lease = _lease(connection, lease_id)
    if lease.state not in states:
        raise LeaseStateError(f"Lease {lease.id} of {lease.user} is {lease.state}, not {' or '.join(states)}.")
    return lease


def _check_seats(seats: Sequence[Seat]) -> None:
    if len({(seat.engine, seat.device) for seat in seats}) > 1:
        raise ValueError("the seats of one lease are all of one device")


def _hold(connection: Connection, lease: Lease, seats: Iterable[Seat]) -> Lease:
    seats = tuple(sorted(seats))
    if seats:
        connection.execute(insert(_seats), [{"lease": lease.id, **asdict(seat)} for seat in seats])
    return replace(lease, seats=seats)


def _let_go(connection: Connection, lease: Lease) -> Lease:
    if lease.seats:
        connection.execute(update(_seats).where(_seats.c.lease == lease.id, _seats.c.held).values(held=False))
    return replace(lease, seats=())


def _gpu_time_lately(connection: Connection, now: float) -> dict[str, float]:
    """Seconds of GPU time that each person in the queue had in the last day; what was earlier counts less."""
    waiting = select(_leases.c.user).where(_leases.c.state == State.QUEUED.value)
    rows = connection.execute(
        select(_leases.c.user, _leases.c.granted_at, _leases.c.ended_at).where(
            _leases.c.user.in_(waiting), _leases.c.ended_at > now - LATELY_S, _HAD_A_GPU
        )
    )
    total: dict[str, float] = defaultdict(float)
    for user, begin, end in rows:
        total[user] += faded(begin, end, now)
    return total


def faded(begin: float, end: float, now: float) -> float:
    """Seconds from ``begin`` to ``end``, each weighing half as much for every ``HALVING_S`` that it lies back."""
    begin, end = max(begin, now - LATELY_S), min(end, now)  # a clock that was set back makes no time, nor less of it
    if end <= begin:
        return 0.0
    ages = (now - end) / HALVING_S, (now - begin) / HALVING_S
    return HALVING_S / math.log(2) * (math.exp2(-ages[0]) - math.exp2(-ages[1]))  # the integral of 2^-x


def _usage(user: str, rows: Sequence[Row[Any]], since: float, until: float, now: float) -> UsageRow:
    held = [max(0.0, min(row.ended_at or now, until) - max(row.granted_at, since)) for row in rows]
    waits = [max(0.0, row.granted_at - row.asked_at) for row in rows if row.granted_at >= since]
    return UsageRow(
        user=user,
        leases=len(rows),
        seconds=sum(held),
        seat_seconds=sum(seconds * row.size for seconds, row in zip(held, rows, strict=True)),
        waits=len(waits),
        wait_mean=sum(waits) / len(waits) if waits else 0.0,
        wait_max=max(waits, default=0.0),
    )
