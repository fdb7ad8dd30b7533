"""Hub, start and engine broken at every step of a start and a stop; then seats held must be running containers.

The spawner, the broker and the ledger are the real ones. JupyterHub is played by a few lines that do what
``User.spawn`` and ``User.stop`` do, in their order. Below stands a Docker API in memory whose calls are, as in a
thread, neither stopped by a cancellation nor by the end of the hub that made them.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.types
import pytest
import requests
from docker.errors import APIError
from jupyterhub.utils import maybe_future

from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import Device, Inventory, State
from gpuclass.queue import broker as brokers
from gpuclass.queue.broker import Broker
from gpuclass.settings import Settings
from gpuclass.spawner import ClassSpawner
from tests.conftest import MakeSettings
from tests.queue.world import ContainerDouble, EngineDouble

pytestmark = pytest.mark.slow  # hundreds of hubs' lives, with a ledger each

GIB = 2**30
GPUS = ("GPU-0", "GPU-1")
MANY_STEPS = 600  # more than a start and a stop have


class CallsInFlight(Executor):
    """Runs a call some turns of the loop later, as a thread would: nothing stops it once it was submitted."""

    def __init__(self) -> None:
        self.pending: list[Callable[[], None]] = []
        self.hold = False  # while the hub that made them is dead, they wait for the test

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        loop = asyncio.get_running_loop()

        def take_effect() -> None:
            self.pending.remove(take_effect)
            try:
                result, error = fn(*args, **kwargs), None
            except Exception as raised:
                result, error = None, raised
            loop.call_soon(lambda: future.set_exception(error) if error else future.set_result(result))

        self.pending.append(take_effect)
        loop.call_soon(lambda: loop.call_soon(lambda: None if self.hold else self.land([take_effect])))
        return future

    def land(self, calls: list[Callable[[], None]]) -> None:
        """Let these calls, of those that are still in flight, take effect."""
        for call in calls:
            if call in self.pending:
                call()


class ApiDouble:
    """The part of ``docker.APIClient`` that a spawner uses, over containers in memory."""

    def __init__(self, engine: EngineDouble) -> None:
        self.engine = engine
        self.base_url = "http+docker://localhost"

    def __getattribute__(self, name: str) -> Any:
        engine = object.__getattribute__(self, "__dict__").get("engine")
        if engine is not None and engine.silent and not name.startswith("_") and name != "engine":
            raise requests.ConnectionError("connection refused")
        return object.__getattribute__(self, name)

    def create_host_config(self, **values: Any) -> Any:
        return docker.types.HostConfig(version="1.41", **values)

    def info(self) -> dict[str, Any]:
        return {"ServerVersion": "20.10"}

    def inspect_image(self, image: str) -> dict[str, Any]:
        return {"Config": {"Cmd": ["start"]}}

    def create_container(self, *, name: str, labels: dict[str, str], **more: Any) -> dict[str, str]:
        if name in self.engine.containers:
            raise self._error(409, "the name is taken")
        return {"Id": self.engine.create(name, labels)}

    def start(self, container: str) -> None:
        self._found(container).state = "running"

    def stop(self, container: str, **more: Any) -> None:
        self._found(container).state = "exited"

    def inspect_container(self, container: str) -> dict[str, Any]:
        found = self._found(container)
        state = {"Running": found.state == "running", "ExitCode": 0, "Error": "", "FinishedAt": ""}
        networks = {"gpc-camp": {"IPAddress": "127.0.0.1"}}
        return {
            "Id": found.id,
            "State": state,
            "Config": {"Labels": found.labels},
            "NetworkSettings": {"Networks": networks},
        }

    def remove_container(self, container: str, **more: Any) -> None:
        del self.engine.containers[self._found(container).name]

    def logs(self, container: str, **more: Any) -> bytes:
        return b""

    def _found(self, container: str) -> ContainerDouble:
        for each in self.engine.containers.values():
            if container in (each.id, each.name):
                return each
        raise self._error(404, "no such container")

    @staticmethod
    def _error(status: int, text: str) -> APIError:
        response = requests.Response()
        response.status_code = status
        return APIError(text, response=response)


class SpawnerUnderTest(ClassSpawner):
    """The class's spawner with its calls to Docker answered in memory, and without a hub's database."""

    calls: CallsInFlight
    api: Any
    queue: Broker

    @property
    def broker(self) -> Broker:
        return self.queue

    @property
    def executor(self) -> Any:
        return self.calls

    @property
    def client(self) -> Any:
        return self.api

    def get_env(self) -> dict[str, str]:
        return dict(self.environment)

    async def get_command(self) -> list[str]:
        return ["start"]

    @property
    def active(self) -> bool:
        return self.is_there

    is_there = False


class Life:
    """One hub process: broker and spawners over an engine and a ledger that outlive it."""

    def __init__(self, settings: Settings, engine: EngineDouble, ledger: Path, port: int) -> None:
        self.settings, self.engine, self.port = settings, engine, port
        self.time = 1_800_000_000.0
        self.calls = CallsInFlight()
        self.ledger = Ledger(ledger, now=lambda: self.time)
        self.spawners: dict[str, SpawnerUnderTest] = {}
        self.started: list[str] = []
        devices = tuple(Device("local", uuid, "H100", str(i), 80 * GIB) for i, uuid in enumerate(GPUS))
        self.broker = Broker(
            settings,
            self.ledger,
            engine,
            inventories=lambda: [Inventory("local", self.time, devices)],
            cores=2,
            now=lambda: self.time,
        )
        self.tasks: set[asyncio.Future[Any]] = set()

    async def open(self) -> None:
        self.keep(self.broker.run(self))
        await until(lambda: self.broker._open)

    def keep(self, coroutine: Awaitable[Any]) -> asyncio.Future[Any]:
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        return task

    async def answers(self) -> None:
        """The hub's API; see `brokers.Hub`."""

    async def start_server(self, user: str) -> bool:
        self.started.append(user)
        self.keep(self.spawn(user))
        return True

    def spawner(self, user: str) -> SpawnerUnderTest:
        spawner = SpawnerUnderTest(settings=self.settings)
        groups = [SimpleNamespace(name="students")]
        spawner.user = SimpleNamespace(name=user, id=1, groups=groups, escaped_name=user)
        spawner.object_name = f"gpuclass-camp-{user}"
        spawner.calls, spawner.api, spawner.queue = self.calls, ApiDouble(self.engine), self.broker
        spawner.log = logging.getLogger("spawner")
        spawner.remove, spawner.use_internal_ip, spawner.pull_policy = True, True, "never"
        spawner.network_name, spawner.port, spawner.image = "gpc-camp", self.port, "student"
        spawner.start_timeout = 5
        self.spawners[user] = spawner
        self.broker.hands.servers[user] = spawner
        return spawner

    async def spawn(self, user: str) -> None:
        """What JupyterHub's ``User.spawn`` does with a spawner; a cancellation ends it without any cleaning up."""
        spawner = self.spawner(user)
        spawner.is_there = True
        try:
            await maybe_future(spawner.run_pre_spawn_hook())
            await asyncio.wait_for(maybe_future(spawner.start()), spawner.start_timeout)
        except Exception:
            await self.stop(user)

    async def stop(self, user: str) -> None:
        """What JupyterHub's ``User.stop`` does."""
        spawner = self.spawners[user]
        try:
            if await spawner.poll() is None:
                await spawner.stop()
        except Exception:
            logging.getLogger("hub").exception("stop")
        finally:
            spawner.is_there = False
            await maybe_future(spawner.run_post_stop_hook())

    async def find_servers(self, users: list[str], *, remembered: bool) -> None:
        """What a started-again JupyterHub does with the servers in its database: poll them, stop the dead ones."""
        for user in users:
            spawner = self.spawner(user)
            spawner.is_there = remembered
            if remembered and await spawner.poll() is not None:
                await self.stop(user)

    async def end(self) -> None:
        """No more of this life: nothing of it may touch what outlives it."""
        self.calls.hold = False
        self.calls.land(list(self.calls.pending))
        for _ in range(5):
            for task in self.tasks:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.ledger.close()


async def until(true: Callable[[], object], timeout_s: float = 5) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110  # what is waited for is another's state
            await asyncio.sleep(0)


async def steps(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def held(ledger: Ledger) -> dict[str, tuple[str, ...]]:
    """Containers and the devices of their seats, as the ledger has it. Kept seats of ended containers are none."""
    found = {}
    for lease in ledger.live():
        assert lease.state in (State.ACTIVE, State.QUEUED), f"{lease} should have come to rest"
        if lease.state is State.ACTIVE:
            found[lease.container] = tuple(seat.device for seat in lease.seats)
    return found


def running(engine: EngineDouble) -> dict[str, tuple[str, ...]]:
    """The same as the containers' labels have it."""
    return {each.id: (each.labels["gpuclass.seat.device"],) for each in engine.running()}


async def comes_to_rest(life: Life) -> None:
    """Let a hub do what is left to do; time passes as it waits."""
    for _ in range(40):
        await steps(30)
        if life.engine.silent:
            continue
        live = life.ledger.live()
        if {lease.state for lease in live} <= {State.ACTIVE} and held(life.ledger) == running(life.engine):
            return
        await asyncio.sleep(0.012)  # the broker's next look
        life.time += 10


def answered_for(life: Life) -> bool:
    """Whether the hub has a server for each container that runs; if not, time passes until the broker's next look."""
    life.time += 1
    return not running(life.engine) or life.spawners["s001"].is_there


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "BETWEEN_LOOKS_S", 0.001)
    monkeypatch.setattr(brokers, "RETRY_S", 0.004)
    monkeypatch.setattr(brokers, "LOOK_S", 0.01)
    monkeypatch.setattr(brokers, "BACK_WITHIN_S", 0.2)
    monkeypatch.setattr("gpuclass.spawner.READY_INTERVAL_S", 0.001)


class Place:
    """Where lives begin: a fresh ledger, engine and listening port each."""

    def __init__(self, settings: Settings, folder: Path, port: int) -> None:
        self.settings, self.folder, self.port = settings, folder, port
        self.number = 0

    def life(self, engine: EngineDouble | None = None, ledger: Path | None = None) -> Life:
        self.number += 1
        own = self.folder / f"{self.number}.sqlite"
        if ledger:
            copy(ledger, own)
        self.path = own
        shutil.rmtree(self.settings.gpus_folder, ignore_errors=True)
        return Life(self.settings, engine or EngineDouble(), own, self.port)


def copy(source: Path, target: Path) -> None:
    """The ledger as a killed process leaves it: what was committed."""
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


@pytest.fixture
async def place(make_settings: MakeSettings, tmp_path: Path) -> Any:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    settings = make_settings('[gpu]\nmode = "exclusive"')
    yield Place(settings, tmp_path, server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()


async def one_day(life: Life) -> None:
    """A server is started, runs, and is stopped."""
    await life.spawn("s001")
    await steps(3)
    await life.stop("s001")


async def test_without_a_fault_a_start_holds_its_seat_and_a_stop_gives_it_back(place: Place) -> None:
    life = place.life()
    await life.open()
    await life.spawn("s001")
    assert held(life.ledger) == running(life.engine)
    assert len(running(life.engine)) == 1
    await life.stop("s001")
    await comes_to_rest(life)
    assert (life.engine.containers, held(life.ledger)) == ({}, {})
    await life.end()


@pytest.mark.parametrize("remembered", [True, False], ids=["hub-remembers-server", "hub-forgot-server"])
@pytest.mark.parametrize("late", [False, True], ids=["calls-lost", "calls-land-later"])
async def test_the_hub_is_killed_at_every_step(place: Place, late: bool, remembered: bool) -> None:
    reached = set()
    for step in range(0, MANY_STEPS, 1 if remembered else 2):
        life = place.life()
        await life.open()
        day = life.keep(one_day(life))
        await steps(step)
        if day.done():
            await life.end()
            break
        lease = life.ledger.lease_of("s001")
        reached.add(lease.state if lease else None)
        if late and not life.calls.pending:  # as without late calls
            await life.end()
            continue
        engine, in_flight, life.calls.hold = life.engine.copy(), list(life.calls.pending), True
        after = place.life(engine, place.path)
        await after.find_servers(["s001"], remembered=remembered)
        opening = after.keep(after.open())
        if late:  # the engine goes on with what it was asked for last
            await until(lambda: after.broker._books.engine_answers)  # noqa: B023  # awaited here
            for spawner in life.spawners.values():
                spawner.api.engine = engine
            life.calls.land(in_flight)
            for spawner in life.spawners.values():
                spawner.api.engine = life.engine
        await opening
        await comes_to_rest(after)
        assert held(after.ledger) == running(engine), f"killed at step {step}"
        assert all(each.state != "created" for each in engine.containers.values()), f"killed at step {step}"
        assert not after.broker._starting, f"killed at step {step}"
        await until(lambda: answered_for(after))  # noqa: B023  # awaited here
        await after.end()
        await life.end()
    else:
        pytest.fail("the day did not end")
    assert reached >= {None, State.RESERVED, State.ACTIVE, State.RELEASING}


async def test_a_start_is_cancelled_at_every_step(place: Place) -> None:
    life = place.life()
    await life.open()
    for step in range(1, MANY_STEPS):
        spawn = life.keep(life.spawn("s001"))
        await steps(step)
        if spawn.done():
            break
        spawn.cancel()  # as JupyterHub's DELETE does; it then waits a second and stops
        await steps(2)
        await life.stop("s001")
        assert life.engine.containers == {}, f"cancelled at step {step}"
        await comes_to_rest(life)
        assert life.ledger.live() == [], f"cancelled at step {step}"
        assert not life.broker._starting
        assert not life.broker._waiting
    else:
        pytest.fail("the start did not end")
    assert step > 15
    await life.end()


async def test_the_engine_is_looked_at_at_every_step_and_nothing_is_disturbed(place: Place) -> None:
    life = place.life()
    await life.open()
    for step in range(MANY_STEPS):
        spawn = life.keep(life.spawn("s001"))
        await steps(step)
        done = spawn.done()
        await life.broker._books.look()
        await spawn
        assert life.spawners["s001"].is_there, f"looked at step {step} of the start"
        assert held(life.ledger) == running(life.engine) != {}
        stop = life.keep(life.stop("s001"))
        await steps(step)
        await life.broker._books.look()
        await stop
        await life.broker._books.look()
        assert life.ledger.live() == [], f"looked at step {step} of the stop"
        if done:
            break
    await life.end()


@pytest.mark.parametrize("survive", [True, False], ids=["containers-go-on", "containers-end"])
async def test_the_engine_is_killed_at_every_step(place: Place, survive: bool) -> None:
    for step in range(survive, MANY_STEPS, 2):  # every step, of one kind or the other
        life = place.life()
        await life.open()
        day = life.keep(one_day(life))
        await steps(step)
        if day.done():
            await life.end()
            break
        before = {lease.user: lease.seats for lease in life.ledger.live() if lease.seats}
        life.engine.silent = True
        await steps(60)
        still = {lease.user: lease.seats for lease in life.ledger.live() if lease.seats}
        assert before.items() <= still.items(), f"a seat was freed while the engine was silent, step {step}"
        for each in life.engine.containers.values():
            if not survive and each.state == "running":
                each.state = "exited"
        life.engine.silent = False
        await asyncio.wait([day])
        await comes_to_rest(life)
        assert held(life.ledger) == running(life.engine), f"killed at step {step}"
        assert not life.broker._starting
        await life.end()
    else:
        pytest.fail("the day did not end")


async def test_whoever_waits_is_found_by_the_next_hub_at_every_step_of_the_others_start(place: Place) -> None:
    """Three want two GPUs. Whenever the hub is killed, the next one brings all of them back, and the third waits."""
    users = ["s001", "s002", "s003"]
    for step in range(0, MANY_STEPS, 3):
        life = place.life()
        await life.open()
        days = [life.keep(life.spawn(user)) for user in users]
        await until(lambda: len(life.ledger.live()) == len(users))  # noqa: B023  # awaited here
        await steps(step)
        over = all(day.done() for day in days[:2])
        after = place.life(life.engine.copy(), place.path)
        life.calls.hold = True
        await after.find_servers(users, remembered=True)
        await after.open()
        await until(lambda: len(after.engine.running()) == len(GPUS))  # noqa: B023  # awaited here
        await steps(30)
        assert held(after.ledger) == running(after.engine), f"killed at step {step}"
        assert [each.user for each in after.ledger.queue()] == ["s003"], f"killed at step {step}"
        await after.end()
        await life.end()
        if over:
            return
    pytest.fail("the starts did not end")
