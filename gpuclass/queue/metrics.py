"""The queue and the seats as Prometheus metrics, beside JupyterHub's own on ``/hub/metrics``. Names nobody.

What is true now is read when somebody asks. How long people waited and held a seat is counted where the ledger changes,
so that no path into or out of a seat can forget it. docs/reference/metrics.md explains each.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import Inventory, Lease, Seat, State
from gpuclass.queue.admission import Free
from gpuclass.watch.usage import Usage

WAIT_BUCKETS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
LEASE_BUCKETS_S = (60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400)
HELD = (State.RESERVED, State.ACTIVE, State.RELEASING, State.LOST)


class Queue(Protocol):
    """The part of the broker that is read."""

    @property
    def ledger(self) -> Ledger:
        """Who holds what."""

    def free(self) -> Free:
        """What there is now."""


@dataclass(frozen=True)
class Waits:
    """How long people waited and held their seats, counted since this hub started.

    Attributes:
        wait: seconds from asking to being let in; label ``gpu`` is ``yes`` or ``no``.
        lease: seconds from being let in to the end.
        left: people who left the queue before their turn: cancelled, changed to the CPU, or did not come back.
    """

    wait: Histogram
    lease: Histogram
    left: Counter

    @classmethod
    def registered(cls, registry: CollectorRegistry = REGISTRY) -> Waits:
        """With names and texts, in a registry; once a process."""
        return cls(
            Histogram(
                "gpuclass_wait_seconds",
                "Time from asking for a server to being let in.",
                ("gpu",),
                buckets=WAIT_BUCKETS_S,
                registry=registry,
            ),
            Histogram(
                "gpuclass_lease_seconds",
                "Time for which people held their place, with a GPU seat or without.",
                ("gpu",),
                buckets=LEASE_BUCKETS_S,
                registry=registry,
            ),
            Counter(
                "gpuclass_left_queue",
                "People who left the queue before their turn.",
                ("gpu",),
                registry=registry,
            ),
        )


class MeteredLedger(Ledger):
    """A ledger that counts how long people waited and held their seats.

    Args:
        path: as for the ledger.
        waits: where it is counted.
        now: as for the ledger.
    """

    def __init__(self, path: Path, waits: Waits, now: Callable[[], float] = time.time) -> None:
        super().__init__(path, now)
        self._waits = waits

    def reserve(self, lease_id: int, seats: Sequence[Seat] = ()) -> Lease:
        """As the ledger's; the wait is over."""
        lease = super().reserve(lease_id, seats)
        self._waits.wait.labels(_gpu(lease)).observe(max(0.0, lease.granted_at - lease.asked_at))
        return lease

    def withdraw(self, user: str, why: str = "withdrawn") -> bool:
        """As the ledger's; somebody left the queue."""
        lease = self.lease_of(user)
        done = super().withdraw(user, why)
        if done and lease:
            self._waits.left.labels(_gpu(lease)).inc()
        return done

    def requeue(self, lease_id: int, priority: int | None = None) -> Lease:
        """As the ledger's; for somebody whose container is gone the old lease is over."""
        before = self.lease(lease_id)
        lease = super().requeue(lease_id, priority)
        if before and lease.id != lease_id:
            self._over(before)
        return lease

    def end(self, lease_id: int, why: str) -> Lease:
        """As the ledger's; the lease is over."""
        before = self.lease(lease_id)
        lease = super().end(lease_id, why)
        if before and before.state is not State.ENDED:
            self._over(before)
        return lease

    def _over(self, lease: Lease) -> None:
        if lease.granted_at:
            self._waits.lease.labels(_gpu(lease)).observe(max(0.0, self.now() - lease.granted_at))


class Now(Collector):
    """What is true at the moment of asking.

    Args:
        broker: gives the broker; None before it is there.
        inventories: what is known of the GPUs.
        usages: what the watch has seen of their memory, for each engine that it sees.
    """

    def __init__(
        self,
        broker: Callable[[], Queue | None],
        inventories: Callable[[], Sequence[Inventory]],
        usages: Callable[[], Sequence[Usage]],
    ) -> None:
        self._broker = broker
        self._inventories = inventories
        self._usages = usages

    def describe(self) -> list[Metric]:
        """Nothing: asking the broker while the hub is being configured would be too early."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges; without a broker none."""
        queue = self._broker()
        if queue is None:
            return
        free, live = queue.free(), queue.ledger.live()
        yield _gauge(
            "gpuclass_queue_length",
            "People in the queue, by what they wait for.",
            ("waiting_for",),
            [(("turn",), free.waiting_to_start), (("seat",), free.waiting_for_gpu)],
        )
        held = Tally(lease.state for lease in live for _ in lease.seats)
        yield _gauge(
            "gpuclass_seats",
            "GPU seats by state. While the GPUs are unknown, free is 0.",
            ("state",),
            [(("free",), free.gpu_seats_free), *(((str(state),), held[state]) for state in HELD)],
        )
        yield _gauge("gpuclass_gpus_known", "1 while the state of the GPUs is known.", (), [((), int(free.known))])
        yield from self._devices()
        yield from self._memory(live)

    def _devices(self) -> Iterator[Metric]:
        found = Tally(
            (inventory.engine, "out-of-service" if device.fault else "in-service")
            for inventory in self._inventories()
            for device in inventory.devices
        )
        yield _gauge(
            "gpuclass_devices",
            "GPUs and MIG instances that the driver shows.",
            ("engine", "state"),
            [(key, number) for key, number in sorted(found.items())],
        )

    def _memory(self, live: Sequence[Lease]) -> Iterator[Metric]:
        slots = {lease.id: ",".join(str(seat.slot) for seat in lease.seats) for lease in live}
        limits, used, devices = [], [], []
        for usage in self._usages():
            for seat in usage.seats:
                labels = (usage.engine, seat.device, slots.get(seat.lease, ""))
                limits.append((labels, seat.limit))
                if seat.used is not None:
                    used.append((labels, seat.used))
            devices += [((usage.engine, each.device), each.used) for each in usage.devices if each.used is not None]
        seat_labels = ("engine", "device", "slots")
        yield _gauge("gpuclass_seat_memory_limit_bytes", "Memory that a seat's holder may use.", seat_labels, limits)
        yield _gauge("gpuclass_seat_memory_used_bytes", "Memory that a seat's processes hold.", seat_labels, used)
        yield _gauge(
            "gpuclass_device_memory_used_bytes",
            "Memory of a device that anybody holds, drivers and other classes included.",
            ("engine", "device"),
            devices,
        )


def register(
    broker: Callable[[], Queue | None],
    inventories: Callable[[], Sequence[Inventory]],
    usages: Callable[[], Sequence[Usage]],
    registry: CollectorRegistry = REGISTRY,
) -> Waits:
    """Put everything into a registry, once a process; what it gives goes into the `MeteredLedger`."""
    registry.register(Now(broker, inventories, usages))
    return Waits.registered(registry)


def _gpu(lease: Lease) -> str:
    return "yes" if lease.gpu else "no"


def _gauge(
    name: str, text: str, labels: tuple[str, ...], values: Sequence[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for of, value in values:
        gauge.add_metric(of, value)
    return gauge
