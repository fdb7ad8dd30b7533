"""What a container's labels say about its seat: the truth that is left after a crash of the hub. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpuclass.gpus.model import Lease, Mode
from gpuclass.network import CLASS_LABEL

USER_LABEL = "gpuclass.user"
LEASE_LABEL = "gpuclass.lease"
ENGINE_LABEL = "gpuclass.seat.engine"
DEVICE_LABEL = "gpuclass.seat.device"
SLOTS_LABEL = "gpuclass.seat.slots"
MEMORY_LABEL = "gpuclass.seat.memory"
MODE_LABEL = "gpuclass.mode"


@dataclass(frozen=True)
class SeatLabels:
    """A seat as a container's labels name it.

    Attributes:
        class_, user: whose container it is.
        lease: the lease's number in the ledger of that class.
        engine, device: where the seat is; the device by its UUID.
        slots: the shares of the device that it holds, rising.
        memory: bytes that all of them together may use.
        mode: how the device was divided when the container was started.
    """

    class_: str
    user: str
    lease: int
    engine: str
    device: str
    slots: tuple[int, ...]
    memory: int
    mode: Mode

    @classmethod
    def read(cls, labels: Mapping[str, str]) -> SeatLabels | None:
        """What the labels say; None when they name no seat, or not one that we wrote."""
        try:
            found = cls(
                class_=labels[CLASS_LABEL],
                user=labels[USER_LABEL],
                lease=int(labels[LEASE_LABEL]),
                engine=labels[ENGINE_LABEL],
                device=labels[DEVICE_LABEL],
                slots=tuple(sorted(int(slot) for slot in labels[SLOTS_LABEL].split(","))),
                memory=int(labels[MEMORY_LABEL]),
                mode=Mode(labels[MODE_LABEL]),
            )
        except (KeyError, ValueError):
            return None
        return found if found.device and found.memory > 0 and found.slots[0] >= 0 else None


def seat_labels(lease: Lease, mode: Mode) -> dict[str, str]:
    """Labels of the container that is started for a lease; class and user are the spawner's own part."""
    labels = {LEASE_LABEL: str(lease.id), MODE_LABEL: str(mode)}
    if lease.seats:
        labels |= {
            ENGINE_LABEL: lease.seats[0].engine,
            DEVICE_LABEL: lease.device,
            SLOTS_LABEL: ",".join(str(seat.slot) for seat in lease.seats),
            MEMORY_LABEL: str(lease.memory),
        }
    return labels
