"""What a student's container keeps its student from, with the very limits and mounts that the spawner asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container
from docker.types import Mount

from gpuclass.mounts import HOME, mounts
from gpuclass.settings import SERVICE_UID, Settings
from gpuclass.spawner import host_config
from tests.conftest import MakeSettings
from tests.docker.probes import run

pytestmark = pytest.mark.docker

SMALL = """
[server]
tmp = "4M"
shm = "4M"
memory = "256M"
processes = 64
"""


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings(SMALL, name="wall-in")


@pytest.fixture
def container(settings: Settings, engine: docker.DockerClient, probe_image: str) -> Iterator[Container]:
    """The container of s01, as the spawner would ask for it, with the probes' image."""
    for login in ("s01", "s02"):
        home = settings.homes / login
        home.mkdir(mode=0o700, parents=True)
        (home / "diary.txt").write_text(f"{login} was here", encoding="utf-8")
        for path in (home, home / "diary.txt"):
            os.chown(path, SERVICE_UID, SERVICE_UID)
    (settings.curriculum_repository).mkdir(parents=True)
    asked = [
        Mount(each["target"], each["source"], type="bind", read_only=each["read_only"])
        for each in mounts("s01", teaches=False, settings=settings)
    ]
    probes_own = Mount("/usr", "/usr", type="bind", read_only=True)
    made = engine.api.create_container(
        probe_image,
        ["sleep", "600"],
        user=f"{SERVICE_UID}:{SERVICE_UID}",
        host_config=engine.api.create_host_config(
            **host_config(settings), network_mode="none", mounts=[*asked, probes_own]
        ),
    )
    started = engine.containers.get(made["Id"])
    started.start()
    yield started
    started.remove(force=True)


def test_one_is_at_home_in_ones_own_home_only(container: Container, settings: Settings) -> None:
    assert run(container, "read", f"{HOME}/diary.txt") == "s01 was here"
    assert run(container, "read", "/home") == "jovyan"
    for elsewhere in (f"{HOME}/../s02/diary.txt", str(settings.homes / "s02" / "diary.txt"), str(settings.data)):
        assert run(container, "read", elsewhere) == "ENOENT"


def test_what_is_shared_is_for_reading(container: Container) -> None:
    assert run(container, "fill", "/srv/curriculum.git/x", 1) == {"mib": 0, "reason": "EROFS"}


@pytest.mark.parametrize("path", ["/x", "/etc/x", "/usr/x", "/srv/x", "/proc/sys/kernel/core_pattern"])
def test_the_root_cannot_be_written(path: str, container: Container) -> None:
    assert run(container, "fill", path, 1)["reason"] in ("EROFS", "EACCES")
    assert run(container, "fill", path, 1, user="0:0")["reason"] in ("EROFS", "EACCES")


@pytest.mark.parametrize("path", ["/tmp/x", "/dev/shm/x"])
def test_what_is_in_memory_ends_at_its_size(path: str, container: Container) -> None:
    assert run(container, "fill", path, 3) == {"mib": 3, "reason": ""}
    assert run(container, "fill", path, 64) == {"mib": 4, "reason": "ENOSPC"}


@pytest.mark.parametrize("path", ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"])
def test_the_engine_is_not_there(path: str, container: Container) -> None:
    assert run(container, "unix", path) == "ENOENT"


def test_there_is_no_power_to_gain(container: Container) -> None:
    status = dict(line.split(":\t", 1) for line in run(container, "read", "/proc/self/status").splitlines())
    assert {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {
        "CapEff": 0,
        "CapPrm": 0,
        "CapBnd": 0,
        "CapAmb": 0,
    }
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert run(container, "new_user_namespace") == "EPERM"


def test_processes_end_at_their_number(container: Container) -> None:
    found = run(container, "fork", 200)
    assert found["reason"] == "EAGAIN"
    assert found["processes"] < 64
