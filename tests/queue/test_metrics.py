"""What Prometheus reads, over a real ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import LOCAL, Device, Inventory, Seat
from gpuclass.queue import metrics
from gpuclass.queue.admission import Free
from gpuclass.watch.usage import DeviceUse, SeatUse, Usage

GIB = 2**30
SEATS = tuple(Seat(LOCAL, "GPU-a", slot, 4 * GIB) for slot in range(4))


FREE = Free(
    known=True,
    gpu_seats_free=2,
    gpu_seats=4,
    gpu_seats_open=2,
    waiting_for_gpu=3,
    waiting_to_start=1,
    gpu_seconds=None,
    start_seconds=None,
)


class QueueDouble:
    """A broker's figures beside a real ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def free(self) -> Free:
        return FREE


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class Metered:
    """A metered ledger and what Prometheus reads of it."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.usages: list[Usage] = []
        self.inventories: list[Inventory] = []
        self.queue: QueueDouble | None = None
        self.registry = CollectorRegistry()
        waits = metrics.register(
            lambda: self.queue, lambda: self.inventories, lambda: self.usages, registry=self.registry
        )
        self.ledger = metrics.MeteredLedger(path, waits, self.clock)
        self.queue = QueueDouble(self.ledger)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[Metered]:
    metered = Metered(tmp_path / "ledger.sqlite")
    yield metered
    metered.ledger.close()


def test_the_queue_is_told_apart_by_what_people_wait_for(metered: Metered) -> None:
    assert metered.value("gpuclass_queue_length", waiting_for="turn") == 1
    assert metered.value("gpuclass_queue_length", waiting_for="seat") == 3
    assert metered.value("gpuclass_gpus_known") == 1


def test_seats_are_counted_by_state_each_share_of_a_large_one_too(metered: Metered) -> None:
    large = metered.ledger.enqueue("s01", gpu=True, size=2)
    metered.ledger.reserve(large.id, SEATS[:2])
    active = metered.ledger.enqueue("s02", gpu=True)
    metered.ledger.reserve(active.id, SEATS[2:3])
    metered.ledger.activate(active.id, "container")
    metered.ledger.enqueue("s03", gpu=True)
    seats = {state: metered.value("gpuclass_seats", state=state) for state in ("free", "reserved", "active", "lost")}
    assert seats == {"free": 2, "reserved": 2, "active": 1, "lost": 0}


def test_waits_and_leases_are_counted_when_they_end(metered: Metered) -> None:
    lease = metered.ledger.enqueue("s01", gpu=True)
    metered.clock.time += 45
    metered.ledger.reserve(lease.id, SEATS[:1])
    assert metered.value("gpuclass_wait_seconds_sum", gpu="yes") == 45
    assert metered.value("gpuclass_lease_seconds_count", gpu="yes") is None
    metered.clock.time += 600
    metered.ledger.end(lease.id, "stopped")
    metered.ledger.end(lease.id, "stopped")
    assert metered.value("gpuclass_lease_seconds_sum", gpu="yes") == 600
    assert metered.value("gpuclass_lease_seconds_count", gpu="yes") == 1
    assert metered.value("gpuclass_wait_seconds_bucket", gpu="yes", le="30.0") == 0
    assert metered.value("gpuclass_wait_seconds_bucket", gpu="yes", le="60.0") == 1


def test_who_leaves_the_queue_is_neither_a_wait_nor_a_lease(metered: Metered) -> None:
    metered.ledger.enqueue("s01", gpu=True)
    assert metered.ledger.withdraw("s01")
    assert not metered.ledger.withdraw("s01")
    assert metered.value("gpuclass_left_queue_total", gpu="yes") == 1
    assert metered.value("gpuclass_wait_seconds_count", gpu="yes") is None
    assert metered.value("gpuclass_lease_seconds_count", gpu="yes") is None


def test_a_lease_whose_container_is_gone_ends_when_its_holder_comes_back(metered: Metered) -> None:
    lease = metered.ledger.enqueue("s01", gpu=True)
    metered.ledger.reserve(lease.id, SEATS[:1])
    metered.ledger.requeue(lease.id)  # a start that failed: nothing was held for long, and it goes on
    assert metered.value("gpuclass_lease_seconds_count", gpu="yes") is None
    metered.ledger.reserve(lease.id, SEATS[:1])
    metered.ledger.activate(lease.id, "container")
    metered.clock.time += 100
    metered.ledger.lose(lease.id, "gone")
    metered.ledger.requeue(lease.id, priority=0)
    assert metered.value("gpuclass_lease_seconds_sum", gpu="yes") == 100


def test_memory_is_told_by_seat_and_never_guessed(metered: Metered) -> None:
    leases = [metered.ledger.enqueue(user, gpu=True, size=2) for user in ("s01", "s02")]
    for lease, seats in zip(leases, (SEATS[:2], SEATS[2:]), strict=True):
        metered.ledger.reserve(lease.id, seats)
    metered.usages = [
        Usage(
            LOCAL,
            metered.clock(),
            seats=(
                SeatUse("c1", "s01", leases[0].id, "GPU-a", 8 * GIB, 3 * GIB, 2, 0.0),
                SeatUse("c2", "s02", leases[1].id, "GPU-a", 8 * GIB, None, 1, 0.0),
            ),
            devices=(DeviceUse("GPU-a", 16 * GIB, 5 * GIB, 0, 70),),
        )
    ]
    where = {"engine": LOCAL, "device": "GPU-a"}
    assert metered.value("gpuclass_seat_memory_used_bytes", **where, slots="0,1") == 3 * GIB
    assert metered.value("gpuclass_seat_memory_used_bytes", **where, slots="2,3") is None
    assert metered.value("gpuclass_seat_memory_limit_bytes", **where, slots="2,3") == 8 * GIB
    assert metered.value("gpuclass_device_memory_used_bytes", **where) == 5 * GIB


def test_devices_out_of_service_are_counted(metered: Metered) -> None:
    well = Device(LOCAL, "GPU-a", "H100", "0", 80 * GIB)
    ill = Device(LOCAL, "GPU-b", "H100", "1", 80 * GIB, fault="Xid 79")
    metered.inventories = [Inventory(LOCAL, metered.clock(), (well, ill))]
    assert metered.value("gpuclass_devices", engine=LOCAL, state="in-service") == 1
    assert metered.value("gpuclass_devices", engine=LOCAL, state="out-of-service") == 1


def test_nobody_is_named(metered: Metered) -> None:
    lease = metered.ledger.enqueue("s01-hana", gpu=True)
    metered.ledger.reserve(lease.id, SEATS[:1])
    metered.usages = [
        Usage(LOCAL, 0.0, seats=(SeatUse("c1", "s01-hana", lease.id, "GPU-a", 8 * GIB, 3 * GIB, 2, 0.0),))
    ]
    assert b"s01-hana" not in generate_latest(metered.registry)


def test_before_there_is_a_broker_nothing_is_said(metered: Metered) -> None:
    metered.queue = None
    assert metered.value("gpuclass_queue_length", waiting_for="turn") is None
