"""A real dockerd, killed before each call of a start and of a stop; then seats held must be running containers.

Spawner, broker, ledger and engine are the real ones; of JupyterHub only the order is played in which it calls the
spawner. Other tests do the same at every single await, over an engine in memory.
"""

import asyncio
import contextlib
import gc
import logging
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.utils import maybe_future
from traitlets.config import Config

from gpuclass import hub
from gpuclass.gpus import wiring
from gpuclass.gpus.labels import DEVICE_LABEL
from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import Device, Inventory, State
from gpuclass.gpus.wiring import specified
from gpuclass.queue import broker as brokers
from gpuclass.queue.broker import Broker
from gpuclass.queue.docker_engine import DockerEngine
from gpuclass.settings import Settings
from gpuclass.spawner import ClassSpawner
from tests.conftest import MakeSettings
from tests.gpus.engines import QUICK, SEAT_IMAGE, UUIDS, Kind, NestedEngine

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.parametrize("engine", [Kind.CDI], indirect=True),
    # docker's client leaves a socket open when a dead engine does not tell its version
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

USER = "s01"
PATIENCE_S = 20
CALLS_OF_A_DAY = 30  # more than a start and a stop make


def _as_text(record: logging.LogRecord) -> bool:
    """Keep an error's text and let go of its frames: they hold the sockets that docker's client could not connect."""
    if record.exc_info and record.exc_info[0]:
        record.exc_text = "".join(traceback.format_exception(*record.exc_info))
        record.exc_info = None
    record.msg, record.args = record.getMessage(), ()
    return True


LOG = logging.getLogger("killed-engine")
LOG.addFilter(_as_text)


class ClientUnderTest:
    """Docker's client, which tells before each call to the engine that it is about to make it."""

    def __init__(self, client: Any, before_call: Callable[[], None]) -> None:
        self._client, self._before_call = client, before_call

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if not callable(value) or name == "create_host_config":  # which only puts values together
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._before_call()
            return value(*args, **kwargs)

        return call


class SpawnerUnderTest(ClassSpawner):
    """The class's spawner, which kills the engine before one of its calls; without JupyterHub's database."""

    is_there = False
    calls = 0
    kill_before = 0
    nested: NestedEngine
    killed: asyncio.Event
    loop: asyncio.AbstractEventLoop

    @property
    def active(self) -> bool:
        return self.is_there

    @property
    def client(self) -> Any:
        return ClientUnderTest(super().client, self.before_call)

    def before_call(self) -> None:
        """In the thread that is about to ask the engine."""
        self.calls += 1
        if self.calls == self.kill_before:
            self.nested.kill()
            self.loop.call_soon_threadsafe(self.killed.set)

    def get_env(self) -> dict[str, str]:
        return dict(self.environment)

    def get_args(self) -> list[str]:
        return []

    async def _wait_for_port(self, address: str, port: int) -> None:
        return


class Day:
    """One student's server is started, runs, and is stopped, in the order in which JupyterHub does it."""

    def __init__(self, settings: Settings, engine: NestedEngine, ledger: Path, kill_before: int) -> None:
        devices = tuple(Device("local", uuid, "H100", str(n), 2**36) for n, uuid in enumerate(UUIDS[:1]))
        self.ledger = Ledger(ledger)
        self.looker = DockerEngine()
        self.broker = Broker(
            settings,
            self.ledger,
            self.looker,
            inventories=lambda: [Inventory("local", time.time(), devices)],
            cores=2,
            log=LOG,
        )
        brokers.install(self.broker)
        config = Config()
        hub.configure_spawner(config, settings)
        config.SpawnerUnderTest.network_name = "none"
        config.SpawnerUnderTest.cmd = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
        self.spawner = SpawnerUnderTest(config=config, user=SimpleNamespace(name=USER, id=1, groups=[], settings={}))
        self.spawner.log = LOG
        self.spawner.nested, self.spawner.kill_before, self.spawner.killed = engine, kill_before, asyncio.Event()
        self.spawner.loop = asyncio.get_running_loop()
        self.running = asyncio.ensure_future(self.broker.run(self))

    async def answers(self) -> None:
        """The hub's API; see `brokers.Hub`."""

    async def start_server(self, user: str) -> bool:
        return True

    async def pass_by(self) -> None:
        self.spawner.is_there = True
        try:
            await maybe_future(self.spawner.run_pre_spawn_hook())
            await self.spawner.start()
            await asyncio.sleep(0.3)  # until the container's shell knows what to do on SIGTERM
        except Exception:
            LOG.exception("the start failed")
        await self.stop()

    async def stop(self) -> None:
        try:
            if await self.spawner.poll() is None:
                await self.spawner.stop()
        except Exception:
            LOG.exception("the stop failed")
        finally:
            self.spawner.is_there = False
            await maybe_future(self.spawner.run_post_stop_hook())

    async def end(self) -> None:
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running
        if self.spawner._undoing:
            await self.spawner._undoing
        self.spawner.executor.shutdown()
        self.looker._thread.shutdown()
        self.ledger.close()


@pytest.fixture(autouse=True)
async def quick(engine: NestedEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.address}")
    monkeypatch.setattr(wiring, "specified", lambda _: specified([engine.folder / "cdi"]))
    monkeypatch.setattr(brokers, "_current", None)
    for name, seconds in (("BETWEEN_LOOKS_S", 0.05), ("RETRY_S", 0.1), ("LOOK_S", 0.2), ("BACK_WITHIN_S", 0.2)):
        monkeypatch.setattr(brokers, name, seconds)
    yield
    if not engine.answers():
        engine.start(*QUICK)
    gc.collect()  # here, where the warnings of the mark above do not count


def held(ledger: Ledger) -> set[str]:
    return {lease.container for lease in ledger.live() if lease.seats}


def at_rest(ledger: Ledger) -> bool:
    return {each.state for each in ledger.live()} <= {State.ACTIVE}


def running(engine: NestedEngine) -> set[str]:
    return {str(each.id) for each in engine.client.containers.list(filters={"label": DEVICE_LABEL})}


async def test_seats_are_running_containers_whenever_dockerd_is_killed(
    engine: NestedEngine, make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(f'[server]\nimage = "{SEAT_IMAGE}"\n[gpu]\nmode = "exclusive"\nwait = "1s"')
    settings = settings.model_copy(update={"path": engine.folder / "class.toml"})
    for call in range(1, CALLS_OF_A_DAY):
        monkeypatch.setattr(ClassSpawner, "_clients", threading.local())
        monkeypatch.setattr(ClassSpawner, "_threads", None)
        day = Day(settings, engine, tmp_path / f"{call}.sqlite", kill_before=call)
        passing = asyncio.ensure_future(day.pass_by())
        died = asyncio.ensure_future(day.spawner.killed.wait())
        await asyncio.wait([passing, died], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
        if not died.done():
            died.cancel()
            await day.end()
            assert passing.done(), f"call {call} never came and the day did not end"
            assert call > 5, "a start and a stop make more calls than that"
            return
        seats = {lease.user for lease in day.ledger.live() if lease.seats}
        await asyncio.sleep(0.5)  # several looks of the broker, none of which is answered
        assert {lease.user for lease in day.ledger.live() if lease.seats} == seats, f"freed unheard at call {call}"
        await asyncio.to_thread(engine.start, *QUICK)
        await asyncio.wait([passing], timeout=PATIENCE_S)
        assert passing.done(), f"the day hangs after call {call}"
        async with asyncio.timeout(PATIENCE_S):
            while held(day.ledger) != running(engine) or not at_rest(day.ledger):  # noqa: ASYNC110  # another's state
                await asyncio.sleep(0.1)
        await day.end()
        for left in engine.client.containers.list(all=True):
            left.remove(force=True)
    pytest.fail("the day did not end")
