"""The processes of a class and their supervisor."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuclass import cli, processes
from gpuclass.gpus.model import Mode
from gpuclass.processes import Process, ProcessError, StopSignal, Supervisor, as_service_user, service_user_may_read
from gpuclass.settings import SERVICE_UID, Settings
from tests.conftest import MakeSettings

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


def test_as_root_a_process_keeps_no_capability_and_only_the_engines_group() -> None:
    command = as_service_user(["hub"], caller_uid=0, docker_gid=998, may_read_checkout=True)
    assert command == (
        *("setpriv", "--pdeathsig=TERM", "--reuid=1000", "--regid=1000", "--groups=998"),
        *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs", "--", "hub"),
    )


def test_a_process_that_does_not_need_the_engine_is_in_no_group() -> None:
    command = as_service_user(["exchange"], caller_uid=0, docker_gid=None, may_read_checkout=True)
    assert "--clear-groups" in command
    assert not [part for part in command if part.startswith("--groups")]


def test_below_a_closed_home_a_process_may_read_but_not_write_what_is_not_its_own() -> None:
    command = as_service_user(["hub"], caller_uid=0, docker_gid=None, may_read_checkout=False)
    assert "--bounding-set=-all,+dac_read_search" in command
    assert "--securebits=+no_setuid_fixup" in command


def test_without_root_there_is_nothing_to_drop() -> None:
    command = as_service_user(["hub"], caller_uid=1000, docker_gid=998, may_read_checkout=True)
    assert command == ("setpriv", "--pdeathsig=TERM", "--", "hub")


@pytest.mark.skipif(os.geteuid() != 0, reason="rights can be dropped only as root")
@pytest.mark.parametrize(("readable", "capabilities"), [(True, "0000000000000000"), (False, "0000000000000004")])
def test_dropped_rights_are_really_gone(readable: bool, capabilities: str) -> None:
    command = as_service_user(
        ["grep", "-E", "^(Uid|Groups|CapEff|CapBnd|NoNewPrivs)", "/proc/self/status"],
        caller_uid=0,
        docker_gid=None,
        may_read_checkout=readable,
    )
    status = dict(
        line.split(":\t", 1) for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    )
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"] == "1"
    assert (status["CapEff"], status["CapBnd"]) == (capabilities, capabilities)


@pytest.mark.skipif(os.geteuid() != 0, reason="rights can be dropped only as root")
def test_git_works_in_the_data_folder_below_a_closed_home(tmp_path: Path) -> None:
    data = tmp_path / "closed" / "data"
    data.mkdir(parents=True)
    os.chown(data, SERVICE_UID, SERVICE_UID)
    (tmp_path / "closed").chmod(0o700)
    init = ["git", "init", "--bare", str(data / "release.git")]
    command = as_service_user(init, caller_uid=0, docker_gid=None, may_read_checkout=False)
    done = subprocess.run(command, cwd=data, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    write = as_service_user(
        ["touch", str(tmp_path / "closed" / "x")], caller_uid=0, docker_gid=None, may_read_checkout=False
    )
    assert subprocess.run(write, capture_output=True).returncode != 0


def test_a_closed_folder_above_is_seen(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    assert not service_user_may_read(inner)
    assert service_user_may_read(Path("/usr/bin"))


def test_a_process_gets_nothing_of_the_callers_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_CALLER", "x")
    found = processes.environment(settings, {"MORE": "1"})
    assert "SECRET_OF_CALLER" not in found
    assert found["MORE"] == "1"
    assert found["GPUCLASS_CONFIG"] == str(settings.path)


def test_only_hub_and_grading_talk_to_the_engine(settings: Settings) -> None:
    assert [p.name for p in processes.processes(settings) if p.talks_to_docker] == ["hub", "grading"]


@pytest.mark.parametrize("mode", Mode)
def test_gpus_are_watched_where_there_are_seats(make_settings: MakeSettings, mode: Mode) -> None:
    settings = make_settings(f'[gpu]\nmode = "{mode}"')
    names = [p.name for p in processes.processes(settings)]
    assert ("watch" in names) is (mode is not Mode.OFF)
    if mode is not Mode.OFF:
        assert names.index("watch") < names.index("hub")  # it looks before the hub lets anybody in


def test_the_hub_is_found_on_the_class_network_only(settings: Settings) -> None:
    listens = {p.name: p.listens for p in processes.processes(settings)}
    assert listens["hub"] == ("10.89.0.1", 8081)
    assert listens["exchange"] == ("10.89.0.1", 8082)
    assert listens["proxy"] == ("127.0.0.1", 8000)
    assert listens["grading"] is None


def test_every_process_of_ours_is_a_command_that_there_is(settings: Settings) -> None:
    for process in processes.processes(settings):
        if process.argv[1:3] == ("-m", "gpuclass"):
            shown = CliRunner().invoke(cli.app, [*process.argv[3:], "--help"])
            assert shown.exit_code == 0, process.argv
            assert "COMMAND" not in shown.output, "a group does nothing by itself"


class Started:
    """A supervisor over processes of a test's choice."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, *chosen: Process) -> None:
        monkeypatch.setattr(processes, "processes", lambda _: chosen)
        monkeypatch.setattr(processes, "wrapped", lambda process, *_: process.argv)
        self.said: list[str] = []
        self.supervisor = Supervisor(settings, docker_gid=0, say=self.said.append)

    def pid(self, name: str) -> int:
        return self.supervisor._running[name].pid


def test_a_killed_process_is_started_again_and_the_others_are_left_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Started(settings, monkeypatch, Process("one", SLEEPER), Process("two", SLEEPER))
    started.supervisor.start()
    first, second = started.pid("one"), started.pid("two")
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    started.supervisor.watch(lambda: started.pid("one") != first or time.monotonic() > deadline)
    assert started.pid("one") != first
    assert started.pid("two") == second
    assert any("one ended (-9) and is started again" in line for line in started.said)
    started.supervisor.stop()


def test_stop_ends_even_a_process_that_ignores_the_polite_signal(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    started = Started(settings, monkeypatch, Process("stubborn", (sys.executable, "-c", stubborn)))
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 0.2)
    started.supervisor.start()
    pid = started.pid("stubborn")
    while "up" not in started.supervisor.log_of("stubborn").read_text():
        time.sleep(0.01)
    started.supervisor.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_that_even_a_kill_does_not_end_does_not_keep_the_class_open(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging:
        """A process in uninterruptible sleep."""

        pid = 4711

        def poll(self) -> None:
            return None

        def terminate(self) -> None:
            pass

        kill = terminate

        def wait(self, timeout: float) -> int:
            raise subprocess.TimeoutExpired("watch", timeout)

    started = Started(settings, monkeypatch)
    monkeypatch.setitem(started.supervisor._running, "watch", Hanging())
    started.supervisor.stop()
    assert "watch (process 4711) hangs in a driver" in started.said[-1]


def test_a_process_that_does_not_come_up_is_named_with_its_last_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Process("hub", (sys.executable, "-c", "raise SystemExit('no such database')"), listens=("127.0.0.1", 9))
    started = Started(settings, monkeypatch, failing)
    with pytest.raises(ProcessError, match=r"hub ended with 1\. Its log, .*hub\.log, ends with:\n  no such database"):
        started.supervisor.start()


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield StopSignal()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_while_the_class_opens_interrupts_so_that_it_is_undone(stop: StopSignal) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)  # while it is being undone
    assert stop


def test_a_signal_while_the_class_is_open_is_remembered_and_a_second_ctrl_c_interrupts(stop: StopSignal) -> None:
    stop.remember()
    assert not stop
    signal.raise_signal(signal.SIGINT)
    assert stop
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
