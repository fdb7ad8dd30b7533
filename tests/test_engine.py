"""Finding, starting and stopping Docker Engine, on a machine made of plain values."""

import os
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gpuclass import engine
from gpuclass.engine import EngineError, Found, Step, ensure, plan, progress, release

READY = Found(answers=True, missing=(), root=True, apt=True, systemd=False)
BARE = replace(READY, answers=False, missing=("docker.io", "nftables"))
STOPPED = replace(READY, answers=False)


class FakeMachine(engine.Machine):
    """A machine whose engine starts at once; it keeps what was done to it."""

    def __init__(self, found: Found, *, units: Sequence[str] = (), starts_on_install: bool = False) -> None:
        self.found, self.units, self.starts_on_install = found, list(units), starts_on_install
        self.done: list[str] = []
        self.running_containers: list[str] = []
        self.processes: set[int] = set()
        self.answers = found.answers

    def look(self, packages: Collection[str]) -> Found:
        return self.found

    def version(self) -> str | None:
        return "28.2" if self.answers else None

    def containers(self) -> list[str]:
        return self.running_containers

    def install(self, packages: Sequence[str], say: engine.Say) -> None:
        self.done.append(f"install {' '.join(packages)}")
        self.answers = self.answers or self.starts_on_install

    def active_units(self) -> list[str]:
        return self.units

    def start_unit(self) -> None:
        self.done.append("start unit")
        self.answers = True

    def stop_units(self, units: Sequence[str]) -> None:
        self.done.append(f"stop {' '.join(units)}")
        self.answers = False

    def start_daemon(self, log: Path) -> None:
        self.done.append("start daemon")
        self.answers = True

    def daemon(self) -> int | None:
        return 77 if self.answers else None

    def stop_daemon(self, pid: int) -> bool:
        self.done.append(f"stop daemon {pid}")
        self.answers = False
        return True

    def alive(self, pid: int) -> bool:
        return pid in self.processes


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (READY, ()),
        (replace(READY, root=False, apt=False), ()),
        (replace(READY, missing=("nftables",)), (Step.INSTALL,)),
        (STOPPED, (Step.START_DAEMON,)),
        (replace(STOPPED, systemd=True), (Step.START_UNIT,)),
        (BARE, (Step.INSTALL, Step.START_DAEMON)),
        (replace(BARE, systemd=True), (Step.INSTALL, Step.START_UNIT)),
    ],
)
def test_the_plan_follows_from_what_is_there(found: Found, steps: tuple[Step, ...]) -> None:
    assert plan(found) == steps


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (replace(BARE, apt=False), "docker.io, nftables"),
        (replace(BARE, root=False), "install docker.io nftables: run this with sudo"),
        (replace(STOPPED, root=False), "start Docker Engine: run this with sudo"),
    ],
)
def test_what_cannot_be_done_here_is_said_with_the_way_out(found: Found, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        plan(found)


def test_an_engine_that_runs_is_neither_touched_nor_ours(state: Path) -> None:
    machine = FakeMachine(READY)
    assert not ensure(machine=machine, state=state).ours
    release(machine=machine, state=state)
    assert machine.done == []


def test_an_engine_that_we_started_is_stopped_at_the_end_and_nothing_is_left(state: Path) -> None:
    machine = FakeMachine(BARE)
    assert ensure(machine=machine, state=state) == engine.Engine(version="28.2", ours=True)
    release(machine=machine, state=state)
    assert machine.done == ["install docker.io nftables", "start daemon", "stop daemon 77"]
    assert not state.exists()


def test_an_engine_that_the_packages_own_script_started_is_not_started_twice(state: Path) -> None:
    machine = FakeMachine(BARE, starts_on_install=True)
    assert ensure(machine=machine, state=state).ours
    assert machine.done == ["install docker.io nftables"]


def test_with_systemd_only_the_units_that_did_not_run_are_stopped(state: Path) -> None:
    machine = FakeMachine(replace(STOPPED, systemd=True), units=["containerd.service"])
    ensure(machine=machine, state=state)
    release(machine=machine, state=state)
    assert machine.done == ["start unit", "stop docker.service"]


def test_a_second_process_that_uses_our_engine_keeps_it(state: Path) -> None:
    machine = FakeMachine(STOPPED)
    ensure(machine=machine, state=state)
    (state / "4242").touch()
    machine.processes = {4242}
    said: list[str] = []
    release(said.append, machine=machine, state=state)
    assert machine.answers
    assert said == ["Docker Engine stays: process 4242 uses it."]
    machine.processes = set()  # it was killed without a word
    release(machine=machine, state=state)
    assert machine.done[-1] == "stop daemon 77"


def test_an_engine_started_for_a_shell_stays_while_its_commands_come_and_go(state: Path) -> None:
    machine = FakeMachine(BARE)
    machine.processes = {4711}
    ensure(machine=machine, state=state, holder=4711)
    machine.found = READY
    ensure(machine=machine, state=state)
    release(machine=machine, state=state)
    assert machine.answers
    release(machine=machine, state=state, holder=4711)
    assert not machine.answers


def test_an_engine_in_which_somebodys_container_runs_stays(state: Path) -> None:
    machine = FakeMachine(STOPPED)
    ensure(machine=machine, state=state)
    machine.running_containers = ["theirs"]
    said: list[str] = []
    release(said.append, machine=machine, state=state)
    assert machine.answers
    assert said == ["Docker Engine stays: these containers run in it: theirs."]


def test_an_engine_left_by_a_killed_run_is_still_ours(state: Path) -> None:
    ensure(machine=FakeMachine(STOPPED), state=state)
    machine = FakeMachine(READY)  # the next run finds it answering
    assert ensure(machine=machine, state=state).ours
    release(machine=machine, state=state)
    assert machine.done == ["stop daemon 77"]


def test_an_engine_that_never_answers_ends_with_its_log(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute(FakeMachine):
        def start_daemon(self, log: Path) -> None:
            log.write_text("failed to start daemon: no iptables\n", encoding="utf-8")

    monkeypatch.setattr(engine, "START_TIMEOUT_S", 0)
    with pytest.raises(EngineError, match="no iptables"):
        ensure(machine=Mute(STOPPED), state=state)


def test_apts_progress_is_a_line_every_fifth() -> None:
    lines = [
        "dlstatus:1:4.5:Retrieving file 1 of 3",
        "dlstatus:1:41.0:Retrieving file 2 of 3",
        "pmstatus:docker.io:43.0:Unpacking docker.io (amd64)",
        "pmconffile:/etc/x:'/etc/x' '/etc/x.dpkg-new' 1 1",
        "dlstatus:1:44.0:Retrieving file 3 of 3",
        "pmstatus:docker.io:100.0:Installed docker.io (amd64)",
        "rubbish",
    ]
    assert list(progress(lines)) == ["downloading 40%", "installing 40%", "installing 100%"]


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    try:
        machine = engine.Machine()
        assert engine._wait(lambda: not machine.alive(child.pid), 5)
    finally:
        child.wait()


def test_a_pid_file_counts_only_while_its_program_has_that_number(tmp_path: Path) -> None:
    path = tmp_path / "docker.pid"
    path.write_text(str(os.getpid()))
    ours = Path("/proc/self/comm").read_text().strip()
    assert engine.process_in(path, ours) == os.getpid()
    engine.forget_stale(path, ours)
    assert path.exists()
    assert engine.process_in(path, "dockerd") is None
    engine.forget_stale(path, "dockerd")
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "x", "99999999"])
def test_a_pid_file_that_names_nobody_is_nobodys(tmp_path: Path, content: str) -> None:
    path = tmp_path / "docker.pid"
    path.write_text(content)
    assert engine.process_in(path, "dockerd") is None
    assert engine.process_in(tmp_path / "none", "dockerd") is None
