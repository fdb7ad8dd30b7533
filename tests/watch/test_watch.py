"""The watch, with GPUs, containers and processes that are not there."""

from __future__ import annotations

import json
import logging
import random
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import docker.errors
import pytest

from gpuclass.gpus.devices import Gpus, read_snapshots
from gpuclass.settings import Settings
from gpuclass.watch import notices
from gpuclass.watch.alarm import EXIT_HUNG, Alarm
from gpuclass.watch.holders import Process
from gpuclass.watch.notices import Notice
from gpuclass.watch.seated import RETRY_S, Seated
from gpuclass.watch.service import GONE_S, STRANGE_LOOKS, Watch, look_until
from gpuclass.watch.usage import SeatUse, Usage, read_usage
from tests.conftest import MakeSettings
from tests.gpus.nvml import GIB, NvmlDouble, UnitDouble

A, B, C = "a" * 64, "b" * 64, "c" * 64
BEGIN = 1_000_000.0
TICKS_A_SECOND = 100
GPU_IS_LOST, NO_PERMISSION = 15, 4


def labels(
    user: str, *, device: str = "GPU-0", memory: int = 10 * GIB, mode: str = "shared", **more: str
) -> dict[str, str]:
    return {
        "gpuclass.class": "camp",
        "gpuclass.user": user,
        "gpuclass.lease": "7",
        "gpuclass.seat.engine": "local",
        "gpuclass.seat.device": device,
        "gpuclass.seat.slots": "0",
        "gpuclass.seat.memory": str(memory),
        "gpuclass.mode": mode,
        **more,
    }


@dataclass
class MachineDouble:
    """Containers and processes of a machine, and the signals that were sent to them."""

    settings: Settings
    nvml: NvmlDouble
    containers: dict[str, Mapping[str, str]] = field(default_factory=dict)
    processes: dict[int, Process] = field(default_factory=dict)
    sent: list[tuple[float, int, str, signal.Signals]] = field(default_factory=list)
    obeys: bool = True
    docker_answers: bool = True
    time: float = BEGIN

    def __post_init__(self) -> None:
        self.settings.gpus_folder.mkdir(exist_ok=True)
        self.watch = self.new_watch()

    def new_watch(self) -> Watch:
        return Watch(
            self.settings,
            Gpus(now=lambda: self.time),
            Seated(self.ask),
            look=self.processes.get,
            send=self.send,
            now=lambda: self.time,
        )

    def ask(self) -> list[tuple[str, Mapping[str, str]]]:
        if not self.docker_answers:
            raise docker.errors.DockerException("no such socket")
        return list(self.containers.items())

    def send(self, process: Process, container: str, number: signal.Signals) -> bool:
        if not self.obeys:
            raise PermissionError(1, "Operation not permitted")
        self.sent.append((self.time - BEGIN, process.pid, container, number))
        return True

    def run(self, pid: int, *cgroups: str, cpu: int = 0) -> None:
        self.processes[pid] = Process(pid, 1, cgroups, cpu)

    def look(self, seconds: float = 0.0) -> Usage:
        """Look every two seconds for so long, and then once more."""
        for _ in range(int(seconds / 2)):
            self.watch.look()
            self.time += 2
        return self.watch.look()

    def told(self, user: str) -> list[Notice]:
        return notices.read(self.settings.notices(user), "watch")

    def signals(self) -> list[tuple[int, signal.Signals]]:
        return [(pid, number) for _, pid, _, number in self.sent]


@pytest.fixture
def machine(make_settings: MakeSettings, nvml: NvmlDouble) -> MachineDouble:
    """A GPU with 80 GiB; s001 and s002 hold seats of 10 GiB on it. Kernels: 11 and 12 of s001, 21 of s002."""
    machine = MachineDouble(make_settings('[gpu]\nmode = "shared"\nover = "20s"'), nvml)
    machine.containers.update({A: labels("s001"), B: labels("s002")})
    machine.run(11, A)
    machine.run(12, A)
    machine.run(21, B)
    return machine


def holds(machine: MachineDouble, processes: dict[int, int], *, used: int = 0, silent: int = 0, sm: int = 0) -> None:
    computes = dict.fromkeys(processes, sm)
    machine.nvml.write(UnitDouble("GPU-0", processes=processes, used=used, silent=silent, computes=computes))


def test_what_it_sees_is_published(machine: MachineDouble) -> None:
    holds(machine, {11: 2 * GIB, 12: 1 * GIB, 99: 4 * GIB}, used=8 * GIB)
    usage = machine.look()
    first, second = usage.seats
    assert first == SeatUse(A, "s001", 7, "GPU-0", 10 * GIB, 3 * GIB, 2, BEGIN, "calm")
    assert (second.used, second.processes) == (0, 0)
    device = usage.devices[0]
    assert (device.total, device.used, device.others, device.percent) == (80 * GIB, 8 * GIB, 4 * GIB, 0)
    assert read_usage(machine.settings.gpus_folder, "local", BEGIN) == usage
    snapshot = read_snapshots(machine.settings.gpus_folder, BEGIN)[0]
    assert [device.uuid for device in snapshot.devices] == ["GPU-0"]
    told = json.loads((machine.settings.notices("s001") / "watch.json").read_text())
    assert told == {"at": BEGIN, "notices": [], "memory": {"used": 3 * GIB, "limit": 10 * GIB}}


def test_a_seat_over_its_memory_is_warned_then_interrupted_then_restarted(machine: MachineDouble) -> None:
    holds(machine, {11: 8 * GIB, 12: 4 * GIB, 21: 10 * GIB})
    machine.look()
    assert [notice.level for notice in machine.told("s001")] == ["warning"]
    assert "12.0 GiB" in machine.told("s001")[0].ko
    assert machine.sent == []
    machine.look(20)
    assert machine.sent == [(20, 11, A, signal.SIGINT), (20, 12, A, signal.SIGINT)]
    assert [notice.id.split("-")[0] for notice in machine.told("s001")] == ["interrupted"]
    machine.look(20)
    assert machine.sent[2:] == [(40, 11, A, signal.SIGKILL)]  # 12 alone is within the limit
    assert [notice.id.split("-")[0] for notice in machine.told("s001")] == ["restarted"]
    assert machine.told("s002") == []


def test_each_process_of_a_seat_may_be_within_the_limit_that_all_are_over(machine: MachineDouble) -> None:
    holds(machine, {11: 6 * GIB, 12: 6 * GIB})
    assert [seat.step for seat in machine.look().seats] == ["warned", "calm"]


def test_the_warning_goes_when_the_seat_is_within_its_memory_again(machine: MachineDouble) -> None:
    holds(machine, {11: 12 * GIB})
    machine.look(4)
    holds(machine, {11: 3 * GIB})
    machine.look(2)
    assert machine.told("s001") == []
    machine.look(60)
    assert machine.sent == []


def test_what_was_done_to_somebody_can_be_read_for_some_minutes(machine: MachineDouble) -> None:
    holds(machine, {11: 12 * GIB})
    machine.look(20)
    holds(machine, {})
    machine.look(60)
    assert [notice.level for notice in machine.told("s001")] == ["error"]
    machine.look(notices.KEEP_S)
    assert machine.told("s001") == []


@pytest.mark.parametrize("mode", ["exclusive", "mig", "mps"])
def test_where_hardware_or_driver_hold_the_limit_nobody_is_signalled(machine: MachineDouble, mode: str) -> None:
    machine.containers[A] = labels("s001", mode=mode)
    holds(machine, {11: 30 * GIB})
    machine.look(100)
    assert machine.sent == []
    assert machine.told("s001") == []


@pytest.mark.parametrize(
    "theirs",
    [
        {},  # a grader's sandbox, or anything else without a seat
        labels("s001") | {"gpuclass.class": "other"},
        labels("s001", device="GPU-1"),  # a seat elsewhere: what it does here is not what its limit is about
        labels("s001") | {"gpuclass.seat.engine": "second"},
        labels("s001") | {"gpuclass.seat.memory": "lots"},
    ],
)
def test_a_container_that_holds_no_seat_of_this_class_here_is_never_signalled(
    machine: MachineDouble, theirs: dict[str, str]
) -> None:
    machine.containers[A] = theirs
    holds(machine, {11: 70 * GIB})
    usage = machine.look(100)
    assert machine.sent == []
    assert usage.devices[0].others == 70 * GIB


def test_a_process_outside_containers_is_never_signalled(machine: MachineDouble) -> None:
    machine.run(11)
    machine.run(12, C)  # a container that nobody knows
    holds(machine, {11: 30 * GIB, 12: 30 * GIB, 13: GIB})  # and 13 has just ended
    assert machine.look(100).devices[0].others == 61 * GIB
    assert machine.sent == []


def test_processes_of_an_engine_in_a_container_belong_to_the_container_that_is_known(machine: MachineDouble) -> None:
    machine.run(11, C, A)
    machine.run(12, A, C)
    holds(machine, {11: GIB, 12: GIB})
    assert machine.look().seats[0].used == 2 * GIB


def test_instances_are_looked_at_each_for_itself(machine: MachineDouble) -> None:
    machine.nvml.write(
        UnitDouble("GPU-0", mig=1),
        UnitDouble("MIG-1", instance=True, memory=10 * GIB, used=2 * GIB, processes={11: 2 * GIB}),
        UnitDouble("MIG-2", instance=True, memory=10 * GIB, used=GIB, processes={21: GIB}),
    )
    machine.containers.update(
        {A: labels("s001", device="MIG-1", mode="mig"), B: labels("s002", device="MIG-2", mode="mig")}
    )
    usage = machine.look()
    assert [(seat.user, seat.used) for seat in usage.seats] == [("s001", 2 * GIB), ("s002", GIB)]
    assert [device.percent for device in usage.devices] == [None, None]


def test_a_process_on_two_devices_counts_where_its_seat_is(machine: MachineDouble) -> None:
    machine.nvml.write(UnitDouble("GPU-0", processes={11: 3 * GIB}), UnitDouble("GPU-1", processes={11: 5 * GIB}))
    usage = machine.look()
    assert usage.seats[0].used == 3 * GIB
    assert [device.others for device in usage.devices] == [0, 5 * GIB]


@pytest.mark.parametrize(("processes", "silent"), [({11: -1}, 0), ({11: 9 * GIB, 12: -1}, 0), ({11: 12 * GIB}, 4)])
def test_where_the_driver_does_not_say_what_is_held_nobody_is_accused(
    machine: MachineDouble, processes: dict[int, int], silent: int
) -> None:
    holds(machine, processes, silent=silent)
    usage = machine.look(100)
    assert usage.seats[0].used is None
    assert machine.sent == []
    assert "memory" not in json.loads((machine.settings.notices("s001") / "watch.json").read_text())
    assert any("does not tell how much memory" in problem for problem in usage.problems)


def test_a_process_without_a_figure_does_not_hide_the_others(machine: MachineDouble) -> None:
    holds(machine, {11: 70 * GIB, 12: -1})
    assert machine.look().seats[0].used == 70 * GIB
    machine.look(40)
    assert machine.signals() == [(11, signal.SIGINT), (12, signal.SIGINT), (11, signal.SIGKILL)]


def test_a_nearly_full_device_shortens_the_wait(machine: MachineDouble) -> None:
    holds(machine, {11: 12 * GIB}, used=80 * GIB - 1)
    machine.look(8)
    assert machine.signals() == [(11, signal.SIGINT)]
    assert machine.sent[0][0] <= 6


def test_a_holder_is_told_that_their_device_has_failed(machine: MachineDouble) -> None:
    holds(machine, {})
    machine.look()
    machine.nvml.write(UnitDouble("GPU-0", lost=GPU_IS_LOST))
    machine.look(6)
    (notice,) = machine.told("s001")
    assert notice.id == "fault-GPU-0"
    assert notice.at == BEGIN  # the same notice at each look
    assert read_snapshots(machine.settings.gpus_folder, machine.time)[0].devices[0].fault


def test_a_driver_that_is_gone_for_a_moment_frightens_nobody(machine: MachineDouble) -> None:
    machine.nvml.init = 9
    machine.nvml.write()
    assert machine.look().seats[0].used is None
    assert machine.told("s001") == []
    machine.look(GONE_S)
    assert [notice.id for notice in machine.told("s001")] == ["fault-GPU-0"]


def test_limits_are_held_while_docker_does_not_answer(machine: MachineDouble) -> None:
    holds(machine, {11: 12 * GIB})
    machine.look()
    machine.docker_answers = False
    usage = machine.look(20)
    assert machine.signals() == [(11, signal.SIGINT)]
    assert any("Docker does not answer" in problem for problem in usage.problems)
    machine.docker_answers = True
    assert machine.look(RETRY_S).problems == ()


def test_a_watch_that_starts_while_docker_is_away_publishes_the_devices(machine: MachineDouble) -> None:
    machine.docker_answers = False
    holds(machine, {11: 12 * GIB})
    usage = machine.look(30)
    assert (usage.seats, usage.devices[0].others) == ((), 12 * GIB)
    assert machine.sent == []


def test_whoever_has_left_is_told_nothing_any_more(machine: MachineDouble) -> None:
    holds(machine, {11: 12 * GIB})
    machine.look()
    del machine.containers[A]
    machine.look()
    assert not (machine.settings.notices("s001") / "watch.json").exists()
    machine.watch.stop()
    assert not (machine.settings.notices("s002") / "watch.json").exists()


def test_a_container_of_a_login_that_is_no_name_is_held_to_its_limit_all_the_same(machine: MachineDouble) -> None:
    machine.containers[A] = labels("../../x")
    holds(machine, {11: 12 * GIB})
    usage = machine.look(20)
    assert machine.signals() == [(11, signal.SIGINT)]
    assert any("cannot be a login" in problem for problem in usage.problems)
    assert not (machine.settings.data / "x").exists()


def test_a_full_disk_keeps_no_seat_from_being_held(machine: MachineDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for module in (
        "gpuclass.watch.service.write_snapshot",
        "gpuclass.watch.service.write_usage",
        "gpuclass.watch.notices.put",
    ):
        monkeypatch.setattr(module, full)
    holds(machine, {11: 12 * GIB})
    assert any("No space left" in problem for problem in machine.look(20).problems)
    assert machine.signals() == [(11, signal.SIGINT)]


def test_processes_that_may_not_be_signalled_are_said(machine: MachineDouble) -> None:
    machine.obeys = False
    holds(machine, {11: 12 * GIB})
    (problem,) = machine.look(20).problems
    assert "Processes 11 (Operation not permitted) of s001" in problem
    assert "userns-remap" in problem


def test_a_watch_in_a_namespace_of_its_own_says_so(machine: MachineDouble) -> None:
    machine.processes.clear()
    holds(machine, {11: 12 * GIB})
    assert any("pid namespace" in problem for problem in machine.look(2 * STRANGE_LOOKS).problems)


def test_a_problem_is_logged_once_and_when_it_is_over(machine: MachineDouble, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gpuclass.watch")
    holds(machine, {})
    machine.docker_answers = False
    machine.look(30)
    machine.docker_answers = True
    machine.look(30)
    about = [record.levelname for record in caplog.records if "Docker does not answer" in record.message]
    assert about == ["ERROR", "INFO"]


def test_a_process_that_computes_is_at_work(machine: MachineDouble) -> None:
    holds(machine, {11: GIB, 21: GIB}, sm=40)
    machine.look(100)
    holds(machine, {11: GIB, 21: GIB})
    last = machine.time
    assert [seat.busy_at for seat in machine.look(100).seats] == [last, last]


def test_a_process_that_uses_the_cpu_is_at_work(machine: MachineDouble) -> None:
    holds(machine, {11: GIB, 21: GIB})
    machine.look(10)
    for second in range(2, 22, 2):
        machine.time += 2
        machine.run(11, A, cpu=int(second * TICKS_A_SECOND * 0.3))  # a third of a core
        machine.run(21, B, cpu=int(second * TICKS_A_SECOND * 0.005))  # an idle kernel
        machine.look()
    busy, idle = (seat.busy_at for seat in machine.look().seats)
    assert machine.time - busy <= 2
    assert idle == BEGIN


def test_idleness_outlives_a_restart_of_the_watch(machine: MachineDouble) -> None:
    holds(machine, {11: GIB})
    machine.look(100)
    machine.watch = machine.new_watch()
    assert [seat.busy_at for seat in machine.look().seats] == [BEGIN, BEGIN]


class Rung(Exception):  # noqa: N818 - it stands for the end of the process
    """The process has ended."""


def test_a_process_that_hangs_ends(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]

    def ring(code: int) -> None:
        assert code == EXIT_HUNG
        raise Rung

    alarm = Alarm(45, ring, lambda: clock[0])
    clock[0] = 45
    alarm.check()
    alarm.kick()
    clock[0] = 91
    with pytest.raises(Rung):
        alarm.check()
    assert "driver has not answered for 46 s" in caplog.text


def test_the_folder_of_notices_lies_in_the_data_folder(settings: Settings, tmp_path: Path) -> None:
    assert settings.notices("s001").is_relative_to(tmp_path)
    assert not settings.notices("s001").is_relative_to(settings.homes)


def test_nobody_can_know_when_the_next_look_comes() -> None:
    waits: list[float] = []

    class Stop(threading.Event):
        """Waits for no time, and ends after a thousand times."""

        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            if len(waits) == 1000:
                self.set()
            return True

    looks: list[None] = []
    look_until(Stop(), lambda: looks.append(None), random.Random(1).uniform)  # noqa: S311  # a test's, the same each time
    assert len(looks) == 1000
    assert 0.9 < min(waits) < 1.1
    assert 2.9 < max(waits) < 3.0
    assert abs(sum(waits) / 1000 - 2) < 0.1
