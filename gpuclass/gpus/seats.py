"""Which seats there are, and who gets which: pure decisions over plain values.

The same input gives the same answer, whatever the order of its parts. Nothing here knows the time: a request's place
follows from when it was made, and that never changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction

from gpuclass.gpus.model import Device, Inventory, Lease, Mode, Request, Seat
from gpuclass.roster import Role
from gpuclass.settings import GpuSection

MEMORY_STEP = 2**20  # a seat's memory is whole MiB: what people read is then what is held
AGEING = 0.05  # seconds of GPU time that one second of waiting makes up for; benchmarks/seats.py measures the fairness
PATIENCE_S = 600.0  # each so long after a large request that somebody asked, one more device is kept from them for it

_TEAM = "team"  # the word in [gpu.seats] for everybody who is in a team
_Place = tuple[str, str]  # engine, device


def seats_of(inventories: Iterable[Inventory], gpu: GpuSection) -> tuple[Seat, ...]:
    """The layout: every seat that the class's devices make, held or not, sorted.

    Args:
        inventories: what each engine's machine has; of two for one engine the later counts.
        gpu: how devices are divided. ``exclusive``, ``shared`` and ``mps`` take whole GPUs, ``mig`` takes instances.

    Returns:
        Seats of the devices that the class may use and that are well. Their memory together never exceeds what the
        device has, less the headroom where a device is shared.
    """
    newest: dict[str, Inventory] = {}
    for inventory in sorted(inventories, key=lambda each: (each.engine, each.taken_at)):
        newest[inventory.engine] = inventory
    devices = {(d.engine, d.uuid): d for inventory in newest.values() for d in inventory.devices}
    return tuple(
        sorted(
            seat
            for device in devices.values()
            if not device.fault and _is_named(device, gpu.devices)
            for seat in _divided(device, gpu)
        )
    )


def unmatched(inventories: Iterable[Inventory], gpu: GpuSection) -> tuple[str, ...]:
    """Names in ``[gpu] devices`` that no device has: a typing error, or a device that has gone."""
    devices = [device for inventory in inventories for device in inventory.devices]
    return tuple(name for name in gpu.devices if not any(_is_named(device, (name,)) for device in devices))


def size_for(gpu: GpuSection, role: str, teams: Iterable[str]) -> int:
    """How many ordinary seats somebody's seat is worth.

    Args:
        gpu: with ``[gpu.seats]``.
        role: as in the roster: ``student``, ``instructor``, …
        teams: the names of the teams they are in.
    """
    names = tuple(teams)
    return max((gpu.seats.get(key, 1) for key in (role, *names, *((_TEAM,) if names else ()))), default=1)


def may_use_reserved(role: str) -> bool:
    """Whether somebody in this role may take the seats that are set aside."""
    return role == Role.INSTRUCTOR


def turn(request: Request) -> tuple[int, float, int]:
    """Sorts requests by whose turn it is.

    Priority first. Then the least GPU time lately, but waiting counts a little (``AGEING``), so that nobody waits for
    ever while others come and go. Then first come.
    """
    had = request.gpu_seconds if request.gpu else 0.0
    return request.priority, had + AGEING * request.asked_at, request.order


def free(layout: Iterable[Seat], held: Iterable[Seat]) -> tuple[Seat, ...]:
    """Seats of the layout that can be given away, sorted.

    The layout may have changed since the held seats were given (another mode, other ``seats_per_gpu``, another class
    with settings of its own), so that slots alone say little: what is free on a device, and what is held there, never
    exceeds its memory.

    Args:
        layout: all seats, as ``seats_of`` gives them.
        held: seats that somebody has, of this class or another, by any layout. One with no memory counts for its whole
            device.
    """
    by_device = _by_device(layout)
    taken: dict[_Place, list[Seat]] = defaultdict(list)
    for seat in held:
        taken[seat.engine, seat.device].append(seat)
    result = []
    for place, seats in by_device.items():
        slots = {seat.slot for seat in taken[place]}
        total = sum(seat.memory for seat in seats)
        left = total - sum(seat.memory or total for seat in taken[place])
        for seat in seats:
            if seat.slot not in slots and seat.memory <= left:
                result.append(seat)
                left -= seat.memory
    return tuple(sorted(result))


def choose(
    queue: Iterable[Request],
    layout: Collection[Seat],
    leases: Iterable[Lease],
    reserved: int = 0,
    others: Iterable[Seat] = (),
) -> list[tuple[Request, tuple[Seat, ...]]]:
    """Who gets which seats now.

    Everybody in turn (see ``turn``) gets a seat on the device that is least used. Who is worth several seats gets them
    on one device; the first of those who does not fit has free seats held back, so that people with small seats do not
    take them one by one for ever. Where each device is one seat (MIG instances), a larger seat is the smallest
    instance with at least so many times the memory of the smallest one.

    Args:
        queue: everybody who waits; those who want no GPU are passed over.
        layout: all seats, as ``seats_of`` gives them.
        leases: every lease of this class that has not ended. Whatever its state, it keeps its seats.
        reserved: ``[gpu] reserved``: seats that are set aside for requests with ``reserved``. Those that such people
            hold already count.
        others: seats of containers that none of these leases is for, such as another class's.

    Returns:
        Requests with their seats, in turn. Requests that get nothing now are not in it.
    """
    leases = tuple(leases)
    held = [seat for lease in leases for seat in lease.seats]
    inside = sum(len(lease.seats) for lease in leases if lease.reserved)
    return _Round(layout, held, tuple(others), reserved, inside).serve(queue)


def possible(request: Request, layout: Collection[Seat], reserved: int = 0) -> bool:
    """Whether the request could be met if nobody held anything. If not, waiting is in vain."""
    open_to_them = len(layout) if request.reserved else len(layout) - reserved
    if not request.gpu:
        return True
    wanted = [_count(seats, request.size, _unit(layout)) for seats in _by_device(layout).values()]
    return any(count is not None and count <= open_to_them for count in wanted)


class _Round:
    """One call of ``choose``: the seats that are still there while requests are served in turn."""

    def __init__(
        self, layout: Collection[Seat], held: Sequence[Seat], others: Sequence[Seat], reserved: int, inside: int
    ) -> None:
        self.devices = _by_device(layout)
        self.unit = _unit(layout)
        self.ours = free(layout, others)  # all that could ever be given away while others hold what they hold
        self.reserved = max(reserved, inside)
        self.aside = max(0, reserved - inside)
        self.pool = {place: list(seats) for place, seats in _by_device(free(layout, [*held, *others])).items()}
        self.first: Request | None = None  # the first with a large seat who must wait
        self.kept_for_first: list[list[Seat]] = []  # by device

    def serve(self, queue: Iterable[Request]) -> list[tuple[Request, tuple[Seat, ...]]]:
        result = []
        for request in sorted((request for request in queue if request.gpu), key=turn):
            if not any(self.pool.values()):
                break
            seats = self.seats_for(request)
            if seats:
                for seat in seats:
                    self.pool[seat.engine, seat.device].remove(seat)
                if request.reserved:
                    self.aside = max(0, self.aside - len(seats))
                result.append((request, seats))
            elif request.size > 1 and self.first is None and possible(request, self.ours, self.reserved):
                self.first = request
                self.kept_for_first = self.kept_for(request)
        return result

    def seats_for(self, request: Request) -> tuple[Seat, ...]:
        """Seats for one request, on the device that is least used; empty if it must wait."""
        kept = self.held_back(request)
        view = {place: [seat for seat in seats if seat not in kept] for place, seats in self.pool.items()}
        number = sum(map(len, view.values()))
        aside = set() if request.reserved else self.set_aside(view)
        options = []
        for place, seats in view.items():
            count = _count(self.devices[place], request.size, self.unit)
            # Who is worth several seats may take those that are set aside, if as many are left elsewhere: else the
            # emptiest device, the only one that can serve them, would be kept from them.
            choice = [seat for seat in seats if seat not in aside] if request.size == 1 else seats
            if count is None or len(choice) < count or (not request.reserved and number - count < self.aside):
                continue
            total = sum(seat.memory for seat in self.devices[place])
            used = total - sum(seat.memory for seat in seats if seat not in aside)
            options.append((Fraction(used, total), sum(seat.memory for seat in choice[:count]), choice[:count]))
        return tuple(min(options)[-1]) if options else ()

    def set_aside(self, view: dict[_Place, list[Seat]]) -> set[Seat]:
        """The seats that are set aside: on as few devices as can be, for they may be wanted as one."""
        by_room = sorted(view.items(), key=lambda item: (-sum(seat.memory for seat in item[1]), item[0]))
        return set([seat for _, seats in by_room for seat in reversed(seats)][: self.aside])

    def kept_for(self, request: Request) -> list[list[Seat]]:
        """Free seats that bring a request nearer to its own, by device; first the device that lacks least."""
        lacks = []
        for place, seats in self.pool.items():
            count = _count(self.devices[place], request.size, self.unit)
            if count is not None and seats:
                lacks.append((count - len(seats), place, seats[:count]))
        left = sum(map(len, self.pool.values())) - (0 if request.reserved else self.aside)
        result = []
        for _, _, seats in sorted(lacks):
            result.append(seats[: max(0, left)])
            left -= len(seats)
        return result

    def held_back(self, request: Request) -> set[Seat]:
        """Free seats that this request may not take because somebody before it waits for several.

        One device's at first. Its holders may stay all day while seats elsewhere become free and are taken one by one:
        the later somebody asked, the more devices are closed to them.
        """
        if self.first is None:
            return set()
        later = max(0.0, request.asked_at - self.first.asked_at)
        return {seat for seats in self.kept_for_first[: 1 + int(later // PATIENCE_S)] for seat in seats}


def _is_named(device: Device, names: Collection[str]) -> bool:
    """Whether ``[gpu] devices`` has this device, or the GPU that it is cut from."""
    known_as = {device.uuid, device.index, device.parent, device.index.partition(":")[0]}
    return not names or not known_as.isdisjoint(names)


def _divided(device: Device, gpu: GpuSection) -> list[Seat]:
    count, memory = 0, 0
    match gpu.mode:
        case Mode.EXCLUSIVE if not device.parent:
            count, memory = 1, device.memory
        case Mode.MIG if device.parent:
            count, memory = 1, device.memory
        case Mode.SHARED | Mode.MPS if not device.parent:
            each = (device.memory - gpu.headroom) // gpu.seats_per_gpu
            count, memory = gpu.seats_per_gpu, each - each % MEMORY_STEP
    if memory <= 0:
        return []  # the headroom is all that there is
    return [Seat(device.engine, device.uuid, slot, memory) for slot in range(count)]


def _by_device(seats: Iterable[Seat]) -> dict[_Place, list[Seat]]:
    found: dict[_Place, list[Seat]] = defaultdict(list)
    for seat in sorted(seats):
        found[seat.engine, seat.device].append(seat)
    return dict(found)


def _unit(layout: Iterable[Seat]) -> int:
    """Memory of the smallest seat."""
    return min((seat.memory for seat in layout), default=0)


def _count(device: Sequence[Seat], size: int, unit: int) -> int | None:
    """How many of a device's seats a seat worth ``size`` takes; None if even the empty device is too small."""
    if len(device) == 1:
        return 1 if device[0].memory >= size * unit else None
    return size if len(device) >= size else None
