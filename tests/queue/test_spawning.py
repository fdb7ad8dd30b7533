"""The spawner's own containers in real engines: two students' servers, each with the device of its lease."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.spawner import SpawnException
from traitlets.config import Config

from gpuclass import hub
from gpuclass.gpus import wiring
from gpuclass.gpus.labels import SeatLabels
from gpuclass.gpus.model import Device, Lease, Mode, Seat, State
from gpuclass.gpus.wiring import specified
from gpuclass.queue import broker as brokers
from gpuclass.queue.books import Hands
from gpuclass.settings import Settings
from gpuclass.spawner import ClassSpawner
from tests.conftest import MakeSettings
from tests.gpus.engines import SEAT_IMAGE, UUIDS, NestedEngine

pytestmark = pytest.mark.docker

GIB = 2**30
DEVICES = {uuid: Device("local", uuid, "H100", str(n), 80 * GIB) for n, uuid in enumerate(UUIDS)}


class QueueDouble:
    """Stands where the hub's queue would be: knows the devices, and hears what becomes of a start."""

    def __init__(self) -> None:
        self.hands = Hands()
        self.told: list[str] = []

    def device_of(self, lease: Lease) -> tuple[Device | None, int]:
        return DEVICES.get(lease.device), 1

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **more: self.told.append(name)


@pytest.fixture
def settings(make_settings: MakeSettings, engine: NestedEngine) -> Settings:
    made = make_settings(f'[server]\nimage = "{SEAT_IMAGE}"\n[gpu]\nmode = "exclusive"')
    return made.model_copy(update={"path": engine.folder / "class.toml"})  # a folder that the engine's machine has


@pytest.fixture
async def spawn(
    settings: Settings, engine: NestedEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[str, str], Any]]:
    """Makes a user's spawner, as the hub configures it; JupyterHub's part and the network are away."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.address}")
    monkeypatch.setattr(ClassSpawner, "_clients", threading.local())
    monkeypatch.setattr(ClassSpawner, "_threads", None)
    monkeypatch.setattr(wiring, "specified", lambda _: specified([engine.folder / "cdi"]))  # /etc/cdi of its machine
    monkeypatch.setattr(brokers, "_current", QueueDouble())
    monkeypatch.setattr(ClassSpawner, "get_env", lambda self: dict(self.environment))
    monkeypatch.setattr(ClassSpawner, "get_args", lambda self: [])
    monkeypatch.setattr(ClassSpawner, "_wait_for_port", _at_once)
    config = Config()
    hub.configure_spawner(config, settings)
    config.ClassSpawner.network_name = "none"
    config.ClassSpawner.cmd = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    made: list[ClassSpawner] = []

    def make(login: str, uuid: str = "") -> ClassSpawner:
        spawner = ClassSpawner(config=config, user=SimpleNamespace(name=login, id=1, groups=[], settings={}))
        spawner.log = logging.getLogger("spawner")
        seats = (Seat("local", uuid, 0, 80 * GIB),) if uuid else ()
        spawner._lease = Lease(len(made) + 1, login, State.RESERVED, seats, gpu=bool(uuid))
        made.append(spawner)
        return spawner

    yield make
    for spawner in made:
        if spawner._undoing:
            await spawner._undoing
        if await spawner.get_object():
            await spawner.remove_object()
    if made:
        made[0].executor.shutdown()


async def _at_once(self: ClassSpawner, address: str, port: int) -> None:
    return


def seen(engine: NestedEngine, spawner: ClassSpawner) -> list[str]:
    _, output = engine.client.containers.get(spawner.object_id).exec_run(["ls", "/dev"])
    assert isinstance(output, bytes)
    return [name for name in output.decode().split() if name.startswith("nvidia")]


async def test_two_students_servers_have_each_the_device_of_its_seat(engine: NestedEngine, spawn: Any) -> None:
    first, second, without = spawn("s01", UUIDS[0]), spawn("s02", UUIDS[1]), spawn("s03")
    await asyncio.gather(first.start(), second.start(), without.start())
    assert seen(engine, first) == ["nvidia0"]
    assert seen(engine, second) == ["nvidia1"]
    assert seen(engine, without) == []


async def test_the_labels_tell_a_watch_whose_seat_it_is(engine: NestedEngine, spawn: Any) -> None:
    spawner = spawn("s01", UUIDS[1])
    await spawner.start()
    labels = engine.client.containers.get(spawner.object_id).labels
    assert SeatLabels.read(labels) == SeatLabels("camp", "s01", 1, "local", UUIDS[1], (0,), 80 * GIB, Mode.EXCLUSIVE)


async def test_the_next_server_of_the_same_student_keeps_nothing_of_the_last_seat(
    engine: NestedEngine, spawn: Any
) -> None:
    spawner = spawn("s01", UUIDS[0])
    await spawner.start()
    assert seen(engine, spawner) == ["nvidia0"]
    await spawner.stop()
    spawner._lease = Lease(9, "s01", State.RESERVED)
    await spawner.start()
    assert seen(engine, spawner) == []
    variables = engine.client.containers.get(spawner.object_id).attrs["Config"]["Env"]
    assert not [pair for pair in variables if UUIDS[0] in pair]


async def test_a_seat_on_a_device_that_the_engine_does_not_know_is_refused_in_words(
    engine: NestedEngine, spawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEVICES, "GPU-gone", Device("local", "GPU-gone", "H100", "9", 80 * GIB))
    spawner = spawn("s01", "GPU-gone")
    with pytest.raises(SpawnException) as refusal:
        await spawner.start()
    assert "GPU-gone" in str(refusal.value.log_message)
    await spawner._undoing
    assert await spawner.get_object() is None
