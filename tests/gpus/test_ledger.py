"""The ledger: one lease a person, one holder a seat, whatever happens to the hub."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuclass.gpus.ledger import (
    DamagedLedgerError,
    LeaseStateError,
    Ledger,
    LedgerError,
    SeatTakenError,
    put_aside_if_damaged,
)
from gpuclass.gpus.model import LOCAL, Lease, Seat, State
from gpuclass.settings import SERVICE_UID

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


# What can happen to the file


def damage(path: Path) -> None:
    """A ledger with pages that are nothing but zeros, as a disk may leave it."""
    with Ledger(path) as ledger:
        for number in range(200):
            ledger.enqueue(f"s{number}", gpu=True)
    content = bytearray(path.read_bytes())
    content[4096 : 8 * 4096] = bytes(7 * 4096)
    path.write_bytes(content)


def test_a_damaged_ledger_says_what_to_do(tmp_path: Path) -> None:
    damage(tmp_path / "ledger.sqlite")
    with pytest.raises(DamagedLedgerError, match=r"is damaged .*start the hub again"):
        Ledger(tmp_path / "ledger.sqlite")


def test_a_damaged_ledger_is_put_aside_and_the_containers_tell_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert put_aside_if_damaged(path) is None
    damage(path)
    before = path.read_bytes()
    aside = put_aside_if_damaged(path, lambda: 17.0)
    assert aside == tmp_path / "ledger.sqlite.damaged-17"
    assert aside.read_bytes() == before
    with Ledger(path) as ledger:
        assert ledger.adopt("kim", [A0], "c1", 199).id == 199
    assert put_aside_if_damaged(path) is None


def test_a_file_that_is_no_ledger_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_text("a note that somebody saved here by mistake " * 100)
    with pytest.raises(LedgerError, match="is damaged"):
        Ledger(path)
    assert path.read_text().startswith("a note")


def test_a_ledger_of_another_version_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(LedgerError, match=r"another version of gpuclass \(format 7, this one reads 1\)"):
        Ledger(path)


def test_a_ledger_that_may_not_be_written_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "gpus").write_text("a file where the folder should be")
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(tmp_path / "gpus" / "ledger.sqlite")


def test_a_ledger_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.enqueue("kim", gpu=True)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"), 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look into a file that is another user's")
def test_a_look_of_roots_leaves_nothing_that_the_hub_cannot_open(tmp_path: Path) -> None:
    os.chown(tmp_path, SERVICE_UID, SERVICE_UID)
    with Ledger(tmp_path / "gpus" / "ledger.sqlite") as ledger:
        ledger.enqueue("kim", gpu=True)
        owners = {path.name: path.stat().st_uid for path in (tmp_path / "gpus", *(tmp_path / "gpus").iterdir())}
    assert set(owners.values()) == {SERVICE_UID}, owners


WRITER = """
import itertools, sys
from pathlib import Path
from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import Seat
ledger = Ledger(Path(sys.argv[1]))
for number in itertools.count():
    lease = ledger.enqueue(f"s{number}", gpu=True)
    ledger.reserve(lease.id, [Seat("local", "GPU-a", number, 1), Seat("local", "GPU-a", 100_000 + number, 1)])
    print(number, flush=True)
"""


def test_a_killed_hub_loses_nothing_it_was_told_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(50)]
        with Ledger(path) as reader:  # `gpuclass usage` looks while the hub writes
            assert {lease.user for lease in reader.live()} >= {f"s{number}" for number in told}
            writer.send_signal(signal.SIGKILL)
            told += [int(line) for line in writer.stdout if line.endswith("\n")]
    with Ledger(path) as ledger:
        held = {lease.user: len(lease.seats) for lease in ledger.live() if lease.state is State.RESERVED}
        assert set(held) >= {f"s{number}" for number in told}
        assert set(held.values()) == {2}
        next_one = ledger.enqueue("after", gpu=True)
        assert ledger.reserve(next_one.id, [B0]).seats == (B0,)


def test_somebody_who_reads_for_long_holds_nobody_up(ledger: Ledger) -> None:
    lease = ledger.enqueue("kim", gpu=True)
    reader = sqlite3.connect(ledger.path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM seat").fetchone() == (0,)
    ledger.reserve(lease.id, [A0])
    assert reader.execute("SELECT count(*) FROM seat").fetchone() == (0,)  # one state, as it was when it began
    reader.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM seat").fetchone() == (1,)
    reader.close()


def test_eighty_threads_that_want_one_seat_get_one_holder(ledger: Ledger) -> None:
    leases = [ledger.enqueue(f"s{number}", gpu=True) for number in range(80)]

    def grant(lease: Lease) -> bool:
        try:
            ledger.reserve(lease.id, [A0])
        except SeatTakenError:
            return False
        return True

    with ThreadPoolExecutor(20) as threads:
        assert sum(threads.map(grant, leases)) == 1


def test_one_person_asking_at_once_in_many_threads_has_one_lease(ledger: Ledger) -> None:
    with ThreadPoolExecutor(20) as threads:
        found = set(threads.map(lambda _: ledger.enqueue("kim", gpu=True).id, range(80)))
    assert len(found) == 1


def test_no_program_can_write_a_second_lease_or_holder_past_the_indices(ledger: Ledger) -> None:
    lease = ledger.enqueue("kim", gpu=True)
    ledger.reserve(lease.id, [A0])
    again = (
        "INSERT INTO lease (user, state, gpu, size, priority, reserved, container, asked_at, granted_at, changed_at,"
        " ended_at, why) VALUES ('kim', 'queued', 1, 1, 1, 0, '', 0, 0, 0, 0, '')"
    )
    second = "INSERT INTO seat SELECT lease, engine, device, slot, memory, 1 FROM seat"
    connection = sqlite3.connect(ledger.path)
    with pytest.raises(sqlite3.IntegrityError, match=r"lease\.user"):
        connection.execute(again)
    with pytest.raises(sqlite3.IntegrityError, match=r"seat\.engine, seat\.device, seat\.slot"):
        connection.execute(second)
    connection.close()
