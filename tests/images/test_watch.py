"""The watch as a process, a real server in a real container, and a driver that is not there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker
import httpx
import pytest
import websockets

from gpuclass.engine import docker_group_gid
from gpuclass.gpus.labels import seat_labels
from gpuclass.gpus.model import Lease, Mode, Seat, State
from gpuclass.mounts import NOTICES
from gpuclass.network import CLASS_LABEL
from gpuclass.processes import environment, processes, wrapped
from gpuclass.rehearsal import Kernel
from gpuclass.settings import SERVICE_UID, Settings, load
from gpuclass.trial import USER, Server, serve
from gpuclass.trial import processes as processes_of
from gpuclass.watch import idle, notices
from gpuclass.watch.holders import look
from gpuclass.watch.notices import Board, Notice
from gpuclass.watch.usage import SeatUse, read_usage
from tests.gpus.nvml import GIB, NvmlDouble, UnitDouble, build_library

pytestmark = [pytest.mark.images, pytest.mark.skipif(os.geteuid() != 0, reason="runs the watch as the service user")]

LIMIT = 10 * GIB
OVER_S = 3.0
PATIENCE_S = 30.0  # for what takes a second; a busy machine is slow


@dataclass
class Watched:
    """A class's data folder, the driver it sees, and a server with a seat in a container."""

    settings: Settings
    nvml: NvmlDouble
    server: Server
    log: Path
    seen: list[str] = field(default_factory=list)

    def hold(self, held: dict[int, int]) -> None:
        """These processes of the machine hold so many bytes of the GPU."""
        self.nvml.write(UnitDouble("GPU-0", processes=held, used=sum(held.values())))

    def told(self) -> list[Notice]:
        """What the student's container sees, looked at from inside."""
        code, output = self.inside("cat", f"{NOTICES}/watch.json")
        return [Notice(**notice) for notice in json.loads(output)["notices"]] if code == 0 else []

    def inside(self, *command: str) -> tuple[int, str]:
        """Exit code and output of a program in the student's container."""
        code, output = self.server.container.exec_run(list(command))
        assert isinstance(code, int)
        assert isinstance(output, bytes)
        return code, output.decode()

    def seat(self) -> SeatUse | None:
        usage = read_usage(self.settings.gpus_folder, "local", time.time())
        return usage.of_container(self.server.container.id or "") if usage else None

    def kernels(self) -> dict[str, int]:
        """Kernel's id → its number on the machine."""
        found = {}
        for folder in processes_of(self.server.container):
            words = (folder / "cmdline").read_text().split("\0")
            if "ipykernel_launcher" in words:
                file = next(word for word in words if "kernel-" in word)
                found[Path(file).stem.removeprefix("kernel-")] = int(folder.name)
        return found

    async def until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < deadline, self.log.read_text()
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def kernel(self) -> AsyncIterator[Kernel]:
        kernel_id = self.server.request("POST", "api/kernels", {"name": "python3"}).json()["id"]
        uri = f"{self.server.url.replace('http', 'ws', 1)}api/kernels/{kernel_id}/channels"
        async with websockets.connect(uri, additional_headers={"Authorization": f"token {USER}"}) as socket:
            yield Kernel(kernel_id, socket)


def make_settings(data: Path) -> Settings:
    path = data / "class.toml"
    path.write_text(f'[class]\nname = "watched"\ntitle = "W"\n[gpu]\nmode = "shared"\nover = "{OVER_S}s"\n')
    settings = load(path, environ={})
    settings.gpus_folder.mkdir()
    os.chown(settings.gpus_folder, SERVICE_UID, SERVICE_UID)
    return settings


@pytest.fixture
def watched(engine: docker.DockerClient, built: dict[str, str], home: Path, tmp_path: Path) -> Iterator[Watched]:
    data = tmp_path / "data"
    data.mkdir()
    settings = make_settings(data)
    nvml = NvmlDouble(tmp_path / "machine.txt", build_library(tmp_path))
    nvml.write(UnitDouble("GPU-0"))
    lease = Lease(7, USER, State.ACTIVE, (Seat("local", "GPU-0", 0, LIMIT),), gpu=True)
    labels = {CLASS_LABEL: "watched", "gpuclass.user": USER, **seat_labels(lease, Mode.SHARED)}
    folder = Board(settings.notices, "watch").prepare(USER)
    for path in (folder, folder.parent):
        os.chown(path, SERVICE_UID, SERVICE_UID)
    log = tmp_path / "watch.log"
    with serve(engine, built["student"], home, volumes={str(folder): f"{NOTICES}:ro"}, labels=labels) as server:
        watch = start_watch(settings, nvml, log)
        found = Watched(settings, nvml, server, log)
        asyncio.run(found.until(lambda: found.seat() is not None))
        yield found
        watch.terminate()
        assert watch.wait(10) == 0
        print(log.read_text())
    assert not (settings.notices(USER) / "watch.json").exists()  # nobody watches any more


def start_watch(settings: Settings, nvml: NvmlDouble, log: Path) -> subprocess.Popen[bytes]:
    """The watch, as ``gpuclass up`` starts it: the service user, without a capability to signal others."""
    (process,) = (process for process in processes(settings) if process.name == "watch")
    with log.open("wb") as output:
        return subprocess.Popen(
            wrapped(process, docker_group_gid(), settings.data),
            env=environment(settings, nvml.environment),
            cwd=settings.data,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def stranger(engine: docker.DockerClient, built: dict[str, str]) -> Iterator[int]:
    """A container without a seat that runs as the same user, such as a grader's sandbox; the number of its process."""
    container = engine.containers.run(built["base"], ["sleep", "300"], detach=True, user="1000:1000", init=False)
    container.reload()
    yield int(container.attrs["State"]["Pid"])
    container.remove(force=True)


@pytest.fixture
def service() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host's that runs as the same user, as the hub does."""
    process = subprocess.Popen(["sleep", "300"], user=SERVICE_UID)
    yield process
    process.kill()
    process.wait()


async def test_a_greedy_cell_is_warned_then_interrupted_then_its_kernel_restarted(
    watched: Watched, home: Path, stranger: int, service: subprocess.Popen[bytes]
) -> None:
    async with watched.kernel() as greedy, watched.kernel() as modest:
        await modest.run("kept = 41")
        await greedy.run("import time")
        before = watched.kernels()
        held = {before[greedy.id]: 12 * GIB, before[modest.id]: 2 * GIB, stranger: 30 * GIB, service.pid: 30 * GIB}

        stubborn = (
            "def train():\n    while True:\n        time.sleep(0.05)\n"
            "try:\n    train()\nexcept KeyboardInterrupt:\n    open('went-on', 'x').close()\ntrain()"
        )
        cell = asyncio.create_task(greedy.run(stubborn, timeout_s=PATIENCE_S))
        watched.hold(held)

        await watched.until(lambda: [notice.level for notice in watched.told()] == ["warning"])
        assert "14.0 GiB" in watched.told()[0].ko
        assert not cell.done()
        warned = time.monotonic()
        await watched.until(lambda: any(notice.id.startswith("interrupted") for notice in watched.told()))
        assert time.monotonic() - warned > OVER_S - 2.5  # a look is every two seconds
        await watched.until((home / "went-on").exists)  # the interrupt reached the cell, which did not end
        assert watched.kernels() == before

        await watched.until(lambda: any(notice.id.startswith("restarted") for notice in watched.told()))
        del held[before[greedy.id]]
        watched.hold(held)  # the driver frees what a killed process held
        await watched.until(lambda: watched.kernels().get(greedy.id, before[greedy.id]) != before[greedy.id])
        cell.cancel()

        assert watched.kernels()[modest.id] == before[modest.id]  # what is left fits
        assert (await modest.run("kept + 1")).value == "42"
        await watched.until(lambda: (use := watched.seat()) is not None and use.used == 2 * GIB)
    assert service.poll() is None
    assert look(stranger) is not None
    log = watched.log.read_text()
    assert f"SIGKILL to processes [{before[greedy.id]}]" in log
    assert "Traceback" not in log


async def test_an_interrupted_cell_ends_with_keyboard_interrupt_and_keeps_its_variables(watched: Watched) -> None:
    async with watched.kernel() as kernel:
        await kernel.run("import time")
        pid = watched.kernels()[kernel.id]
        cell = asyncio.create_task(kernel.run("batch = 'large'\nwhile True: time.sleep(0.05)", timeout_s=PATIENCE_S))
        while not (await asked(watched))[0].busy:
            assert not cell.done()
        watched.hold({pid: 12 * GIB})
        assert (await cell).error == "KeyboardInterrupt"
        watched.hold({pid: GIB})  # the student deletes the model
        assert (await kernel.run("batch")).value == "'large'"
        assert watched.kernels()[kernel.id] == pid
        first, again = await asked(watched), await asked(watched)
        assert first == again  # asking is no activity
        assert not first[0].busy
        assert abs(first[0].last_activity - time.time()) < PATIENCE_S


async def asked(watched: Watched) -> list[idle.Kernel]:
    """What the hub would hear of the server's kernels."""
    watched.server.container.reload()
    environment = dict(entry.split("=", 1) for entry in watched.server.container.attrs["Config"]["Env"])
    async with httpx.AsyncClient() as client:
        found = await idle.ask(client, watched.server.url, environment["JUPYTERHUB_API_TOKEN"])
    assert found is not None
    return found


def test_a_student_reads_notices_and_cannot_write_them(watched: Watched) -> None:
    notices.Board(watched.settings.notices, "hub").show(USER, [Notice("x", 1.0, "info", "안녕", "hello")], 1.0)
    assert "hello" in watched.inside("cat", f"{NOTICES}/hub.json")[1]
    for attempt in (
        f"echo x > {NOTICES}/hub.json",
        f"echo x > {NOTICES}/new.json",
        f"rm {NOTICES}/hub.json",
        f"mv {NOTICES}/hub.json {NOTICES}/old.json",
        f"chmod 777 {NOTICES}",
        f"mount -o remount,rw {NOTICES}",
    ):
        code, output = watched.inside("sh", "-c", attempt)
        assert code != 0, (attempt, output)
