"""How much of each device is used, by which seat: what the watch writes down for everybody else.

Memory is in bytes. A number that the driver does not tell is None and never a guess.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from gpuclass.gpus.files import get, put

FRESH_S = 30.0  # what is older says nothing about now
WORDS = ("calm", "warned", "interrupted", "restarted")
"""How far the watch has gone with a seat that is over its memory: ``SeatUse.step``."""


@dataclass(frozen=True)
class SeatUse:
    """What the holder of one seat uses.

    Attributes:
        container: Docker's id.
        user, lease, device: whose seat it is, the lease's number, and the device's UUID.
        limit: bytes that it may use.
        used: bytes that its processes hold on the device; None where the driver does not say. If it says so of some
            processes only, and those alone are over the limit, then theirs.
        processes: how many of them there are.
        busy_at: when they were last seen at work. A seat that was never looked at before counts as at work.
        step: one of WORDS.
    """

    container: str
    user: str
    lease: int
    device: str
    limit: int
    used: int | None
    processes: int
    busy_at: float
    step: str = WORDS[0]


@dataclass(frozen=True)
class DeviceUse:
    """What is used of one device.

    Attributes:
        device: its UUID.
        total, used: bytes it has, and that are in use by anybody; None where the driver does not say.
        others: bytes of processes that belong to no seat of this class: another class, a program of the host's.
        percent: how much of the last second it computed; None under MIG, where no driver says so.
    """

    device: str
    total: int | None
    used: int | None
    others: int
    percent: int | None


@dataclass(frozen=True)
class Usage:
    """One engine's machine at one moment.

    Attributes:
        engine, taken_at: whose, and when.
        seats, devices: what is used.
        problems: what the watch cannot see or do at the moment, in English, for the operator.
    """

    engine: str
    taken_at: float
    seats: tuple[SeatUse, ...] = ()
    devices: tuple[DeviceUse, ...] = ()
    problems: tuple[str, ...] = ()

    def of_container(self, container: str) -> SeatUse | None:
        """What the seat of a container uses."""
        return next((seat for seat in self.seats if seat.container == container), None)


def path_of(folder: Path, engine: str) -> Path:
    """Where it is written, below ``settings.gpus_folder``."""
    return folder / f"{engine}.usage.json"


def write_usage(folder: Path, usage: Usage) -> None:
    """Publish it.

    Raises:
        OSError: the folder cannot be written to.
    """
    put(path_of(folder, usage.engine), asdict(usage))


def read_usage(folder: Path, engine: str, now: float, max_age: float = FRESH_S) -> Usage | None:
    """What was published last; None when there is nothing, it is of another version, or older than ``max_age`` s."""
    found = get(path_of(folder, engine))
    try:
        usage = Usage(
            engine=found["engine"],
            taken_at=float(found["taken_at"]),
            seats=tuple(SeatUse(**seat) for seat in found["seats"]),
            devices=tuple(DeviceUse(**device) for device in found["devices"]),
            problems=tuple(found["problems"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return usage if now - usage.taken_at <= max_age else None
