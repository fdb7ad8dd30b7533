"""What `gpuclass gpus` shows: devices, seats, holders and what is wrong, put together from what others found. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from gpuclass.gpus.devices import Load, driver_advice
from gpuclass.gpus.guarantees import GUARANTEES
from gpuclass.gpus.labels import SeatLabels
from gpuclass.gpus.model import Inventory, Lease, Mode, Request, Seat, State
from gpuclass.gpus.seats import free, may_use_reserved, possible, seats_of, unmatched
from gpuclass.gpus.wiring import ENFORCEMENT
from gpuclass.settings import GpuSection
from gpuclass.watch.usage import SeatUse, Usage


@dataclass(frozen=True)
class SeatRow:
    """One seat, or several that one lease holds together.

    Attributes:
        slots: their numbers on the device.
        memory: bytes of all of them.
        user, state: who holds it, and where the lease is; empty when it is free.
        used: bytes that its holder's programs have on the device; None where nobody says.
        step: how far the watch has gone with a holder who is over the memory.
    """

    slots: tuple[int, ...]
    memory: int
    user: str = ""
    state: str = ""
    used: int | None = None
    step: str = ""


@dataclass(frozen=True)
class DeviceRow:
    """One device.

    Attributes:
        engine, index, uuid, name, profile, memory, fault: as in `gpuclass.gpus.model.Device`.
        used, percent: what is used of it now; None where nobody says.
        seats: those of this class; none where the class does not use it.
    """

    engine: str
    index: str
    uuid: str
    name: str
    profile: str
    memory: int
    fault: str
    used: int | None
    percent: int | None
    seats: tuple[SeatRow, ...]


@dataclass(frozen=True)
class Overview:
    """Everything.

    Attributes:
        mode: the class's; ``off`` without a class.
        source: ``watch`` or ``driver``: who said it.
        drivers: version by engine.
        devices: rows, by engine and index.
        enforcement, guarantee: who holds the memory limit, and the mode's promises by what they are about.
        wiring: how Docker gives containers their device.
        waiting_for_gpu, waiting_to_start: people in the queue.
        problems: what stands between the class and its GPUs, with what to do about it.
    """

    mode: str
    source: str
    drivers: Mapping[str, str]
    devices: tuple[DeviceRow, ...]
    enforcement: str
    guarantee: Mapping[str, str]
    wiring: str
    waiting_for_gpu: int
    waiting_to_start: int
    problems: tuple[str, ...]

    @property
    def seats_free(self) -> int:
        """Seats that nobody holds."""
        return sum(not seat.user for device in self.devices for seat in device.seats)


def overview(
    inventories: Sequence[Inventory],
    gpu: GpuSection,
    *,
    source: str,
    loads: Iterable[Load] = (),
    usages: Iterable[Usage] = (),
    leases: Sequence[Lease] = (),
    queue: Sequence[Request] = (),
    others: Sequence[SeatLabels] = (),
    own_image: bool = False,
    wiring: str = "",
    problems: Sequence[str] = (),
) -> Overview:
    """Put it together.

    Args:
        inventories: what each engine's machine has.
        gpu: the class's, or the defaults without a class.
        source: who said it.
        loads, usages: what is used, as the driver or the watch told it.
        leases, queue: from the ledger.
        others: seats of other classes' containers.
        own_image: whether the class has an image of its own, so that nobody here knows which driver its torch needs.
        wiring: how Docker is asked.
        problems: found by those who gathered the rest.
    """
    usages = tuple(usages)
    used = {load.device: (load.used, load.utilisation) for load in loads}
    used |= {
        device.device: (device.used, device.percent)
        for usage in usages
        for device in usage.devices
        if device.used is not None
    }
    by_container = {seat.container: seat for usage in usages for seat in usage.seats}
    seats = _seats(inventories, gpu, leases, others, by_container)
    devices = tuple(
        DeviceRow(
            engine=device.engine,
            index=device.index,
            uuid=device.uuid,
            name=device.name,
            profile=device.profile,
            memory=device.memory,
            fault=device.fault,
            used=used.get(device.uuid, (None, None))[0],
            percent=used.get(device.uuid, (None, None))[1],
            seats=tuple(seats[device.engine, device.uuid]),
        )
        for inventory in inventories
        for device in sorted(inventory.devices, key=lambda device: [int(part) for part in device.index.split(":")])
    )
    said = [problem for usage in usages for problem in usage.problems]
    return Overview(
        mode=gpu.mode.value,
        source=source,
        drivers={inventory.engine: inventory.driver for inventory in inventories},
        devices=devices,
        enforcement=ENFORCEMENT[gpu.mode].value if gpu.mode in ENFORCEMENT else "",
        guarantee=asdict(GUARANTEES[gpu.mode]) if gpu.mode in GUARANTEES else {},
        wiring=wiring,
        waiting_for_gpu=sum(request.gpu for request in queue),
        waiting_to_start=sum(not request.gpu for request in queue),
        problems=tuple(
            dict.fromkeys(
                [*problems, *_problems(inventories, gpu, devices, own_image), *_unwatched(source, leases), *said]
            )
        ),
    )


def _seats(
    inventories: Sequence[Inventory],
    gpu: GpuSection,
    leases: Sequence[Lease],
    others: Sequence[SeatLabels],
    used: Mapping[str, SeatUse],
) -> dict[tuple[str, str], list[SeatRow]]:
    """Rows by device: what is held, by whatever layout it was given, then what is free by the layout of now."""
    rows: dict[tuple[str, str], list[SeatRow]] = defaultdict(list)
    held: list[Seat] = []
    for other in others:
        row = SeatRow(other.slots, other.memory, f"{other.user} of class {other.class_}", State.ACTIVE.value)
        rows[other.engine, other.device].append(row)
        held += [Seat(other.engine, other.device, slot, other.memory // len(other.slots)) for slot in other.slots]
    for lease in leases:
        if lease.seats:
            use = used.get(lease.container)
            slots = tuple(seat.slot for seat in lease.seats)
            row = SeatRow(slots, lease.memory, lease.user, lease.state.value)
            if use is not None:
                row = SeatRow(slots, lease.memory, lease.user, lease.state.value, use.used, use.step)
            rows[_place(lease.seats[0])].append(row)
            held += lease.seats
    for seat in free(seats_of(inventories, gpu), held):
        rows[_place(seat)].append(SeatRow((seat.slot,), seat.memory))
    for listed in rows.values():
        listed.sort(key=lambda row: row.slots)
    return rows


def _unwatched(source: str, leases: Iterable[Lease]) -> list[str]:
    if source == "watch" or not any(lease.seats for lease in leases):
        return []
    return [
        "Seats are held and no watch runs: nobody new gets a seat, nobody hears of a fault, and in mode shared nobody "
        "is held to their memory. `gpuclass up` starts it; log/watch.log says why it ended."
    ]


def _place(seat: Seat) -> tuple[str, str]:
    return seat.engine, seat.device


def _problems(
    inventories: Sequence[Inventory], gpu: GpuSection, devices: Sequence[DeviceRow], own_image: bool
) -> list[str]:
    found = [inventory.note for inventory in inventories if inventory.note]
    if not own_image:
        found += [advice for inventory in inventories if (advice := driver_advice(inventory.driver))]
    found += [f"GPU {device.index} ({device.uuid}): {device.fault}" for device in devices if device.fault]
    if gpu.mode is Mode.OFF:
        return found
    found += [f"[gpu] devices names {name!r}, which is not there" for name in unmatched(inventories, gpu)]
    layout = seats_of(inventories, gpu)
    for name, size in gpu.seats.items():
        request = Request(name, gpu=True, size=size, reserved=may_use_reserved(name))
        if layout and not possible(request, layout, gpu.reserved):
            found.append(f"[gpu.seats] {name} = {size}: no device has such a seat, so whoever it is for waits in vain")
    if any(inventory.devices for inventory in inventories) and not any(device.seats for device in devices):
        hint = (
            "MIG is off, or nothing is cut" if gpu.mode is Mode.MIG else "MIG is on, or every device is out of service"
        )
        found.append(f'[gpu] mode = "{gpu.mode.value}" finds no device to make seats of: {hint}.')
    return found
