"""The values that GPU seats are made of. Only values: nothing here asks a driver, a database or a clock.

Memory is in bytes everywhere, time in seconds since the epoch (UTC), as ``time.time()`` gives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LOCAL = "local"  # the engine of the hub's own machine


class Mode(StrEnum):
    """How GPUs are divided: ``[gpu] mode``."""

    OFF = "off"
    EXCLUSIVE = "exclusive"
    MIG = "mig"
    SHARED = "shared"
    MPS = "mps"


class Enforcement(StrEnum):
    """Who holds a seat's memory limit, from strongest to weakest."""

    HARDWARE = "hardware"
    DRIVER = "driver"
    WATCHDOG = "watchdog"


class State(StrEnum):
    """Where a lease is. Every state but ``ENDED`` counts as held."""

    QUEUED = "queued"  # waits for its turn; holds no seat
    RESERVED = "reserved"  # its container is being started
    ACTIVE = "active"  # its container runs
    RELEASING = "releasing"  # its container is being stopped
    LOST = "lost"  # nobody can say whether its container runs, or its device has failed; the seat stays held
    ENDED = "ended"


@dataclass(frozen=True)
class Device:
    """One thing that a container can be given: a whole GPU, or a MIG instance.

    Attributes:
        engine: the Docker engine whose machine it is in; ``LOCAL`` for the hub's own.
        uuid: ``GPU-…`` or ``MIG-…``, as NVML says it.
        name: the product's name.
        index: the position as ``nvidia-smi -L`` shows it: ``0``, or ``0:1`` for an instance.
        memory: bytes that it has, as NVML says it.
        parent: UUID of the GPU that an instance is cut from; empty for a GPU.
        profile: MIG profile such as ``1g.10gb``; empty for a GPU.
        fault: why it is out of service, in English; empty when it is well.
    """

    engine: str
    uuid: str
    name: str
    index: str
    memory: int
    parent: str = ""
    profile: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Inventory:
    """What one engine's machine has, at one moment.

    Attributes:
        engine: whose machine it is.
        taken_at: when NVML was asked.
        devices: GPUs, and MIG instances where MIG is on; a GPU in MIG mode is not in the list itself.
        driver: the driver's version; empty without a driver.
        note: why there is nothing, in English (no driver, no GPU, …); empty otherwise.
    """

    engine: str
    taken_at: float
    devices: tuple[Device, ...] = ()
    driver: str = ""
    note: str = ""


@dataclass(frozen=True, order=True)
class Seat:
    """A share of one device that one person can hold.

    Attributes:
        engine, device: whose, and which (its UUID).
        slot: number of the share on its device, from 0.
        memory: bytes that its holder may use.
    """

    engine: str
    device: str
    slot: int
    memory: int


@dataclass(frozen=True)
class Request:
    """Somebody in the queue.

    Attributes:
        user: their login.
        gpu: whether they wait for a GPU seat; without it only for their turn to start.
        size: how many ordinary seats theirs is worth, all on one device.
        priority: 0 goes before 1: instructors and people who come back after a crash are 0.
        reserved: whether they may take the seats that are set aside.
        asked_at: when they asked first.
        order: their number in the ledger, rising.
        gpu_seconds: GPU time that they had lately.
    """

    user: str
    gpu: bool
    size: int = 1
    priority: int = 1
    reserved: bool = False
    asked_at: float = 0.0
    order: int = 0
    gpu_seconds: float = 0.0


@dataclass(frozen=True)
class Lease:
    """What one person holds or waits for; at most one that has not ended for each person.

    Attributes:
        id: its number in the ledger; also in the container's label.
        user: their login.
        state: see State.
        seats: the shares, all of one device; empty without a GPU and while queued.
        gpu: whether it is about a GPU seat.
        size, priority, reserved: as in Request.
        container: Docker's id; empty before it is known.
        asked_at, granted_at, ended_at: moments; 0 for not yet.
        changed_at: when it came into its state.
        why: why it was lost or ended, in English; empty otherwise.
    """

    id: int
    user: str
    state: State
    seats: tuple[Seat, ...] = ()
    gpu: bool = False
    size: int = 1
    priority: int = 1
    container: str = ""
    asked_at: float = 0.0
    granted_at: float = 0.0
    ended_at: float = 0.0
    reserved: bool = False
    changed_at: float = 0.0
    why: str = ""

    @property
    def device(self) -> str:
        """The device's UUID; empty without a GPU."""
        return self.seats[0].device if self.seats else ""

    @property
    def memory(self) -> int:
        """Bytes that the holder may use, all shares together; 0 without a GPU."""
        return sum(seat.memory for seat in self.seats)
