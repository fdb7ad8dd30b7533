"""From a process to its container, and a signal to it only."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from gpuclass.watch.holders import Process, container_ids, look, send

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (f"12:pids:/docker/{A}\n11:memory:/docker/{A}\n0::/docker/{A}", (A,)),  # v1, cgroupfs
        (f"0::/system.slice/docker-{A}.scope", (A,)),  # v2, systemd
        (f"0::/docker/{A}/docker/{B}", (A, B)),  # an engine in a container
        (f"0::/system.slice/docker-{A}.scope/init.scope", (A,)),
        (f"3:cpu:/docker/buildkit/{A[:25]}", ()),  # a build, not a container
        ("0::/user.slice/user-1000.slice/session-4.scope", ()),
        (f"0::/docker/{A}0", ()),  # too long for an id
        ("0::/", ()),
        ("", ()),
    ],
)
def test_a_container_is_found_in_every_form_of_a_control_group(cgroup: str, expected: tuple[str, ...]) -> None:
    assert container_ids(cgroup) == expected


def write(proc: Path, pid: int, *, name: str = "python", started: int = 1000, container: str = A) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    after_name = ["S", *["0"] * 10, "30", "12", *["0"] * 6, str(started), "0"]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(after_name)}\n")
    (folder / "cgroup").write_text(f"0::/docker/{container}\n")


@pytest.mark.parametrize("name", ["python", "a) S 1 (b", "tmux: server (1)"])
def test_a_process_is_read_whatever_its_name_holds(tmp_path: Path, name: str) -> None:
    write(tmp_path, 7, name=name)
    assert look(7, tmp_path) == Process(7, 1000, (A,), cpu=42)


def test_a_process_whose_first_thread_has_ended_is_still_in_its_container(tmp_path: Path) -> None:
    write(tmp_path, 7)
    stat = tmp_path / "7" / "stat"
    stat.write_text(stat.read_text().replace(") S", ") Z"))
    for name, path in (("7", "/"), ("8", f"/docker/{A}")):
        thread = tmp_path / "7" / "task" / name
        thread.mkdir(parents=True)
        (thread / "cgroup").write_text(f"4:memory:{path}\n")
    (tmp_path / "7" / "cgroup").write_text("4:memory:/\n")
    assert look(7, tmp_path) == Process(7, 1000, (A,), cpu=42)


def test_a_process_that_has_ended_is_nobody(tmp_path: Path) -> None:
    assert look(7, tmp_path) is None


def test_this_process_is_read_from_the_real_proc() -> None:
    me = look(os.getpid())
    assert me is not None
    assert me.started > 0


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def seen(child: subprocess.Popen[bytes], proc: Path) -> Process:
    write(proc, child.pid)
    found = look(child.pid, proc)
    assert found is not None
    return found


def test_the_process_that_was_looked_at_is_signalled(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert send(seen(sleeper, tmp_path), A, signal.SIGKILL, tmp_path)
    assert sleeper.wait(5) == -signal.SIGKILL


def test_another_process_that_got_the_number_meanwhile_is_left_alone(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    process = seen(sleeper, tmp_path)
    assert not send(replace(process, started=process.started - 1), A, signal.SIGKILL, tmp_path)
    write(tmp_path, sleeper.pid, container=B)  # the same number, in another container
    assert not send(process, A, signal.SIGKILL, tmp_path)
    assert sleeper.poll() is None


def test_a_process_outside_containers_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    process = look(sleeper.pid)
    assert process is not None
    assert not send(process, A, signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_process_that_has_ended_is_not_signalled(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    process = seen(sleeper, tmp_path)
    sleeper.kill()
    sleeper.wait()
    assert not send(process, A, signal.SIGKILL, tmp_path)


def test_a_number_that_a_thread_has_got_meanwhile_is_not_signalled(tmp_path: Path) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert not send(Process(thread.native_id or 0, 1000, (A,)), A, signal.SIGKILL, tmp_path)
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(("number", "gone"), [(errno.EINVAL, True), (errno.ENOSYS, False)])
def test_a_kernel_that_has_no_such_descriptors_is_no_process_that_is_gone(
    number: int, gone: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with nullcontext() if gone else pytest.raises(OSError, match="not implemented"):
        assert not send(Process(7, 1000, (A,)), A, signal.SIGKILL, tmp_path)
