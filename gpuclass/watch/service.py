"""`gpuclass watch`: looks at the GPUs, tells everybody what it sees, and holds seats to their memory.

A process of its own on the machine with the GPUs, because a sick driver can hang whoever asks it. Then nothing is
published any more, and what was published grows old: better no figures than wrong ones. It has no port, and signals
only processes that run in containers of its own class and hold memory of that container's seat.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gpuclass.errors import PlainError, UsageError
from gpuclass.gpus.devices import GpuProcess, Gpus, Load, faults_file, write_snapshot
from gpuclass.gpus.labels import SeatLabels
from gpuclass.gpus.model import LOCAL, Inventory, Mode
from gpuclass.settings import Settings
from gpuclass.watch import holders, notices
from gpuclass.watch.alarm import Alarm
from gpuclass.watch.holders import Process
from gpuclass.watch.limits import SCARCE, Standing, Step, judge, patience, to_restart
from gpuclass.watch.notices import Board, Memory, Notice
from gpuclass.watch.seated import Seated, running
from gpuclass.watch.usage import DeviceUse, SeatUse, Usage, read_usage, write_usage

INTERVAL_S = (1.0, 3.0)  # by chance: when a look comes can be seen, and who knew the next could hide between two
CHANCE = random.SystemRandom()
HANG_S = 45.0  # a driver that wakes its GPUs takes seconds; what others read is called old after 30 s
AT_WORK = 0.05  # of a core: an idle kernel takes a tenth of that, a training's Python loop far more
GONE_S = 10.0  # until a device that is not in the list any more counts as failed
STRANGE_LOOKS = 3  # looks at which no process of NVML's exists here, until that is said
MIB = 2**20

log = logging.getLogger("gpuclass.watch")


class Driver(Protocol):
    """What is asked of NVML: `gpuclass.gpus.devices.Gpus`, or a double in tests."""

    def inventory(self) -> Inventory:
        """What there is."""

    def loads(self) -> list[Load]:
        """How much of each device is used."""

    def processes(self) -> Mapping[str, Sequence[GpuProcess]]:
        """Who computes on each device; a device whose processes the driver does not tell is missing."""


Look = Callable[[int], Process | None]
Send = Callable[[Process, str, signal.Signals], bool]


@dataclass
class _Seat:
    """One container's seat as it is seen at this look."""

    container: str
    labels: SeatLabels
    processes: list[Process] = field(default_factory=list)
    held: dict[int, int | None] = field(default_factory=dict)  # bytes by pid
    told: bool = True  # whether the driver tells the device's processes
    working: bool = False

    @property
    def used(self) -> int | None:
        """Bytes; None when the driver does not say. What it says of some processes is enough when that is too much."""
        known = sum(memory for memory in self.held.values() if memory is not None)
        says_all = self.told and None not in self.held.values()
        return known if says_all or known > self.labels.memory else None


class Watch:
    """Looks once each time it is asked to; remembers what it needs from one look to the next.

    Args:
        settings: the class.
        driver: this machine's GPUs.
        seated: who holds a seat.
        look: a process by its number.
        send: a signal to a process in a container.
        now: the clock.
    """

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        seated: Seated,
        *,
        look: Look = holders.look,
        send: Send = holders.send,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._driver = driver
        self._seated = seated
        self._look = look
        self._send = send
        self._now = now
        self._board = Board(settings.notices, "watch")
        self._standing: dict[str, Standing] = {}
        self._told: dict[str, list[Notice]] = defaultdict(list)
        self._ticks: dict[tuple[int, int], int] = {}  # CPU time by process, as named by number and start
        self._looked_at = 0.0
        self._missing_since: dict[str, float] = {}
        self._fault_since: dict[str, float] = {}
        self._strange = 0
        self._said: set[str] = set()
        before = read_usage(settings.gpus_folder, LOCAL, self._now(), max_age=float("inf"))
        self._busy_at = {seat.container: seat.busy_at for seat in before.seats} if before else {}

    def look(self) -> Usage:
        """Look at everything once: publish, judge, act, tell. A full disk keeps no seat from being held."""
        now = self._now()
        inventory = self._driver.inventory()
        problems = self._publish(lambda folder: write_snapshot(folder, inventory))
        loads = {load.device: load for load in self._driver.loads()}
        processes = self._driver.processes()
        self._seated.refresh(now)
        seats = {
            container: _Seat(container, labels, told=labels.device in processes)
            for container, labels in self._seated.seats.items()
            if labels.class_ == self._settings.class_.name and labels.engine == LOCAL
        }
        others = self._attribute(processes, seats, now)
        self._faults(inventory, seats.values(), now)
        problems += [problem for problem in (self._seated.problem, self._strange_processes()) if problem]
        for seat in seats.values():
            problems += self._hold(seat, loads.get(seat.labels.device), inventory, now)
        problems += self._tell(seats.values(), now)
        devices = tuple(
            DeviceUse(
                device=device.uuid,
                total=device.memory or None,
                used=loads[device.uuid].used if device.uuid in loads else None,
                others=others.get(device.uuid, 0),
                percent=loads[device.uuid].utilisation if device.uuid in loads else None,
            )
            for device in inventory.devices
        )
        usage = Usage(LOCAL, now, tuple(self._use(seat) for seat in seats.values()), devices, tuple(problems))
        problems += self._publish(lambda folder: write_usage(folder, usage))
        self._forget(seats)
        self._say(problems)
        self._looked_at = now
        return usage

    def stop(self) -> None:
        """Take back all notices: nobody watches any more."""
        self._board.keep_only((), self._settings.notices("_").parent)

    def _publish(self, write: Callable[[Path], None]) -> list[str]:
        try:
            write(self._settings.gpus_folder)
        except OSError as error:
            return [f"{self._settings.gpus_folder} cannot be written to, so nobody sees the GPUs: {error}"]
        return []

    def _attribute(
        self, processes: Mapping[str, Sequence[GpuProcess]], seats: Mapping[str, _Seat], now: float
    ) -> dict[str, int]:
        """Give each process to the seat it belongs to.

        Returns:
            Bytes by device of processes that belong to no seat of this class.
        """
        found = {pid: self._look(pid) for pid in {process.pid for listed in processes.values() for process in listed}}
        self._strange = 0 if not found or any(found.values()) else self._strange + 1
        others: dict[str, int] = defaultdict(int)
        for device, listed in processes.items():
            for one in listed:
                process = found[one.pid]
                container = self._container_of(process) if process else ""
                seat = seats.get(container)
                if process is None or seat is None or seat.labels.device != device:
                    others[device] += one.memory or 0
                    continue
                seat.processes.append(process)
                seat.held[one.pid] = one.memory
        self._mark_work(processes, seats.values(), now)
        return others

    def _container_of(self, process: Process) -> str:
        """The container with a seat that a process runs in; of an engine within one, its outer container."""
        return next((container for container in process.cgroups if container in self._seated.seats), "")

    def _mark_work(self, processes: Mapping[str, Sequence[GpuProcess]], seats: Iterable[_Seat], now: float) -> None:
        computes = {(one.device, one.pid) for listed in processes.values() for one in listed if one.working}
        ticks: dict[tuple[int, int], int] = {}
        passed = (now - self._looked_at) * os.sysconf("SC_CLK_TCK")
        for seat in seats:
            spent = 0
            for process in seat.processes:
                name = (process.pid, process.started)
                ticks[name] = process.cpu
                spent += process.cpu - self._ticks.get(name, process.cpu)
                seat.working |= (seat.labels.device, process.pid) in computes
            seat.working |= spent > AT_WORK * passed
            if seat.working or seat.container not in self._busy_at:
                self._busy_at[seat.container] = now
        self._ticks = ticks

    def _hold(self, seat: _Seat, load: Load | None, inventory: Inventory, now: float) -> list[str]:
        """Hold one seat to its memory; what could not be done.

        Only in mode shared: in the others the hardware or the driver does it, and knows better.
        """
        if seat.labels.mode is not Mode.SHARED:
            return []
        used, limit, over = seat.used, seat.labels.memory, self._settings.gpu.over
        total = next((device.memory for device in inventory.devices if device.uuid == seat.labels.device), 0)
        scarce = load is not None and total - load.used < SCARCE
        before = self._standing.get(seat.container, Standing())
        standing, act = judge(before, used=used, limit=limit, now=now, over=over, scarce=scarce)
        self._standing[seat.container] = standing
        self._told[seat.container] = [
            notice for notice in self._told[seat.container] if notice.until is None or notice.until > now
        ]
        if used is None:
            known = "The driver does not tell how much memory each process holds: nobody holds seats to their limits."
            return [known] if seat.processes or not seat.told else []
        if act is None:
            return []
        told, mark = self._told[seat.container], f"{seat.labels.lease}-{now:.0f}"
        wait = patience(act, over=over, scarce=scarce)
        match act:
            case Step.INTERRUPTED:
                told[:] = [notices.interrupted(now, used=used, limit=limit, seconds=wait, mark=mark)]
                return self._signal(seat, list(seat.held), signal.SIGINT)
            case Step.RESTARTED:
                told[:] = [notices.restarted(now, used=used, limit=limit, mark=mark)]
                held = {pid: memory or 0 for pid, memory in seat.held.items()}
                return self._signal(seat, to_restart(held, limit), signal.SIGKILL)
            case _:
                told[:] = [notices.over(now, used=used, limit=limit, seconds=wait, mark=mark)]
                log.warning("%s", self._figures(seat))
        return []

    def _signal(self, seat: _Seat, pids: Iterable[int], number: signal.Signals) -> list[str]:
        chosen = set(pids)
        sent: list[int] = []
        refused: list[str] = []
        for process in seat.processes:
            if process.pid in chosen:
                try:
                    if self._send(process, seat.container, number):
                        sent.append(process.pid)
                except OSError as error:
                    refused.append(f"{process.pid} ({error.strerror})")
        log.warning("%s; %s to processes %s", self._figures(seat), number.name, sent or "none: they have ended")
        if not refused:
            return []
        return [
            f"Processes {', '.join(refused)} of {seat.labels.user} cannot be signalled; nobody limits their memory. "
            "Does Docker run with userns-remap, or is the kernel older than 5.3?"
        ]

    def _figures(self, seat: _Seat) -> str:
        used = notices.gigabytes(seat.used or 0)
        limit = notices.gigabytes(seat.labels.memory)
        return f"{seat.labels.user} uses {used} of {limit} on {seat.labels.device}"

    def _faults(self, inventory: Inventory, seats: Iterable[_Seat], now: float) -> None:
        """Note which devices are out of service, or gone for a while though somebody holds them."""
        there = {device.uuid: device.fault for device in inventory.devices}
        faults = {uuid for uuid, fault in there.items() if fault}
        missing = {seat.labels.device for seat in seats} - there.keys()
        self._missing_since = {device: self._missing_since.get(device, now) for device in missing}
        faults |= {device for device, since in self._missing_since.items() if now - since >= GONE_S}
        self._fault_since = {device: self._fault_since.get(device, now) for device in faults}

    def _tell(self, seats: Iterable[_Seat], now: float) -> list[str]:
        """Tell each holder; who could not be told."""
        by_user: dict[str, list[_Seat]] = defaultdict(list)
        for seat in seats:
            by_user[seat.labels.user].append(seat)
        problems = []
        for user, theirs in by_user.items():
            told = []
            for seat in theirs:
                if seat.labels.device in self._fault_since:
                    device = seat.labels.device
                    told.append(notices.fault(self._fault_since[device], device=device))
                over = self._standing.get(seat.container, Standing()).over
                told += [notice for notice in self._told[seat.container] if over or notice.until is not None]
            used, limit = theirs[-1].used, theirs[-1].labels.memory
            memory = None if used is None else Memory(used // MIB * MIB, limit)
            try:
                self._board.show(user, told, now, memory)
            except (PlainError, OSError) as error:
                problems.append(f"{user} cannot be told anything: {error}")
        self._board.keep_only(by_user, self._settings.notices("_").parent)
        return problems

    def _use(self, seat: _Seat) -> SeatUse:
        labels = seat.labels
        return SeatUse(
            container=seat.container,
            user=labels.user,
            lease=labels.lease,
            device=labels.device,
            limit=labels.memory,
            used=seat.used,
            processes=len(seat.processes),
            busy_at=self._busy_at[seat.container],
            step=self._standing.get(seat.container, Standing()).step.word,
        )

    def _forget(self, seats: Mapping[str, _Seat]) -> None:
        for remembered in (self._standing, self._told, self._busy_at):
            for container in [key for key in remembered if key not in seats]:
                del remembered[container]

    def _strange_processes(self) -> str:
        if self._strange < STRANGE_LOOKS:
            return ""
        return (
            "None of the processes that the driver names is on this machine: the watch has to run outside containers, "
            "in the machine's own pid namespace. Seats are not held to their limits."
        )

    def _say(self, problems: Iterable[str]) -> None:
        now = set(problems)
        for problem in sorted(now - self._said):
            log.error("%s", problem)
        for problem in sorted(self._said - now):
            log.info("no longer so: %s", problem)
        self._said = now


def run(
    settings: Settings,
    stop: threading.Event,
    uniform: Callable[[float, float], float] = CHANCE.uniform,
) -> None:
    """Watch until stopped.

    Args:
        settings: the class.
        stop: ends it.
        uniform: a random number between two.

    Raises:
        UsageError: this class has no GPUs.
    """
    if settings.gpu.mode is Mode.OFF:
        raise UsageError('class.toml says [gpu] mode = "off": there are no seats to watch. docs/howto/gpus.md')
    settings.gpus_folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    alarm = Alarm(HANG_S)
    alarm.start()
    driver = Gpus(faults=faults_file(settings.gpus_folder))
    watch = Watch(settings, driver, Seated(running()))
    log.info("watching the GPUs of class %s, mode %s", settings.class_.name, settings.gpu.mode)

    def look() -> None:
        alarm.kick()
        watch.look()

    look_until(stop, look, uniform)
    watch.stop()
    driver.close()


def look_until(stop: threading.Event, look: Callable[[], object], uniform: Callable[[float, float], float]) -> None:
    """Look again and again until stopped, each time a while of ``INTERVAL_S`` after the last.

    Args:
        stop: ends it.
        look: one look.
        uniform: a random number between two.
    """
    while not stop.is_set():
        began = time.monotonic()
        look()
        stop.wait(max(0.0, uniform(*INTERVAL_S) - (time.monotonic() - began)))
