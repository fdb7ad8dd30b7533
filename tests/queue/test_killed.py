"""A real hub and a real Docker Engine, killed in the middle of starts and stops: seats are what containers hold."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import docker
import httpx
import pytest
from typer.testing import CliRunner

from gpuclass.cli import app
from gpuclass.gpus.devices import write_snapshot
from gpuclass.gpus.model import LOCAL, Device, Inventory
from tests.gpus.engines import QUICK, SEAT_IMAGE, UUIDS, Kind, NestedEngine, nested
from tests.queue.queue_hub import HubProcess

pytestmark = [pytest.mark.docker, pytest.mark.slow]

CONFIG = """
import asyncio
from jupyterhub.proxy import Proxy
from jupyterhub.user import User
from gpuclass import hub
from gpuclass.settings import load
from gpuclass.spawner import ClassSpawner

settings = load()


class NoProxy(Proxy):
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {}


async def step(name):
    "Stand still at the step that the file `pause` names, for as long as it does."
    pause = settings.data / "pause"
    while pause.exists() and pause.read_text() == name:
        (settings.data / "reached").write_text(name)
        await asyncio.sleep(0.02)


class StepByStep(ClassSpawner):
    "The class's spawner, which can be held before and after each of its calls to Docker."

    def docker(self, method, *args, **kwargs):
        return asyncio.ensure_future(self.call(method, args, kwargs))
    async def call(self, method, args, kwargs):
        await step(f"before {method}")
        result = await ClassSpawner.docker(self, method, *args, **kwargs)
        await step(f"after {method}")
        return result
    def get_args(self): return []
    async def _run_container(self, container):
        await step("before start")
        found = await super()._run_container(container)
        await step("after start")
        return found
    def get_network_ip(self, networks): return "127.0.0.1"
    async def _wait_for_port(self, address, port): pass


async def up_at_once(self, *args, **kwargs):
    return None


User._wait_up = up_at_once  # the containers have no network, and nothing listens in them
hub.configure(c, settings)
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = StepByStep
c.JupyterHub.bind_url = c.JupyterHub.hub_bind_url
c.ClassSpawner.network_name = "none"
c.ClassSpawner.cmd = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
c.JupyterHub.services = [{"name": s["name"], "api_token": s["api_token"]} for s in c.JupyterHub.services] + [
    {"name": "test", "api_token": "token-of-the-test"}
]
c.JupyterHub.load_roles = [
    *c.JupyterHub.load_roles,
    {"name": "test", "scopes": ["admin:servers"], "services": ["test"]},
]
c.JupyterHub.tornado_settings = {**c.JupyterHub.tornado_settings, "slow_stop_timeout": 0}  # a held stop is not awaited
hub.begin(settings)
"""
CLASS = f"""
[class]
name = "killed"
title = "Camp"
[server]
image = "{SEAT_IMAGE}"
[gpu]
mode = "exclusive"
"""


class KilledHub(HubProcess):
    """A class with two students and one GPU, whose containers run in an engine that can be killed."""

    def __init__(self, engine: NestedEngine) -> None:
        folder = engine.folder / "class"  # which its containers can mount
        folder.mkdir()
        self.engine = engine
        super().__init__(folder, CONFIG, CLASS, network="127.14.0")
        (folder / "roster.csv").write_text(
            "login,name,role,team\ns01,s01,student,\ns02,s02,student,\n", encoding="utf-8"
        )
        result = CliRunner().invoke(
            app, ["roster", "import", "--passwords", str(folder / "cards.csv")], env=self.environment
        )
        assert result.exit_code == 0, result.output

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "DOCKER_HOST": f"unix://{self.engine.address}"}

    def call(self, method: str, user: str) -> None:
        """Start (POST) or stop (DELETE) somebody's server."""
        headers = {"Authorization": "token token-of-the-test"}
        answer = httpx.request(method, f"{self.url}/api/users/{user}/server", headers=headers, timeout=60)
        assert answer.status_code in (201, 202, 204), answer.text

    def hold_at(self, step: str, method: str, user: str) -> None:
        """Start or stop a server, up to this step."""
        (self.folder / "reached").unlink(missing_ok=True)
        (self.folder / "pause").write_text(step)
        self.call(method, user)
        self.until(lambda: (self.folder / "reached").exists())

    def go_on(self) -> None:
        (self.folder / "pause").unlink()

    def leases(self) -> dict[str, tuple[str, str]]:
        """Who has or waits for a seat: state and device; by another connection, as only the file outlives the hub."""
        query = (
            "select user, state, coalesce(device, '') from lease left join seat on lease.id = seat.lease and seat.held "
            "where state != 'ended'"
        )
        with closing(sqlite3.connect(self.folder / "gpus" / "ledger.sqlite")) as ledger:
            return {user: (state, device) for user, state, device in ledger.execute(query)}

    def running(self) -> dict[str, tuple[str, str]]:
        """The same, as the engine's running containers have it."""
        found = self.engine.client.containers.list(filters={"label": "gpuclass.class=killed"}, ignore_removed=True)
        return {each.labels["gpuclass.user"]: ("active", each.labels["gpuclass.seat.device"]) for each in found}

    def comes_to_rest(self, *, running: set[str]) -> None:
        """Wait until these people's servers run and no others, and the ledger says the same."""
        self.until(lambda: set(self.running()) == running and self.leases() == self.running())

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + 40
        while not true():
            if time.monotonic() > deadline:
                log = "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])
                pytest.fail(f"ledger: {self.leases()}, containers: {self.running()}\n{log}")
            self.sees_gpu()
            time.sleep(0.1)

    def sees_gpu(self) -> None:
        """What the watch would publish."""
        device = Device(LOCAL, UUIDS[0], "H100", "0", 80 * 2**30)
        write_snapshot(self.folder / "gpus", Inventory(LOCAL, time.time(), (device,)))


@pytest.fixture(scope="module")
def hub() -> Iterator[KilledHub]:
    with closing(docker.from_env()) as host, nested(host, Kind.HOOK, devices=UUIDS[:1]) as engine:
        hub = KilledHub(engine)
        hub.sees_gpu()
        hub.start()
        yield hub
        hub.kill()


@pytest.fixture(autouse=True)
def nothing_is_left(hub: KilledHub) -> Iterator[None]:
    yield
    for user in hub.leases():
        hub.call("DELETE", user)
    hub.comes_to_rest(running=set())


@pytest.mark.parametrize("step", ["after create_container", "after start"])
def test_a_hub_that_is_killed_while_it_starts_a_server_finds_it_again_and_the_queue_too(
    hub: KilledHub, step: str
) -> None:
    hub.hold_at(step, "POST", "s01")
    hub.call("POST", "s02")  # waits for the only GPU
    hub.until(lambda: "s02" in hub.leases())
    hub.kill()
    hub.go_on()
    hub.start()
    hub.until(lambda: hub.leases().get("s01") == ("active", UUIDS[0]))
    assert set(hub.running()) == {"s01"}
    assert hub.leases()["s02"] == ("queued", "")
    hub.call("DELETE", "s01")
    hub.comes_to_rest(running={"s02"})


def test_a_hub_that_is_killed_while_it_stops_a_server_gives_the_seat_back(hub: KilledHub) -> None:
    hub.call("POST", "s01")
    hub.comes_to_rest(running={"s01"})
    hub.hold_at("after stop", "DELETE", "s01")
    assert hub.leases()["s01"] == ("releasing", UUIDS[0])
    hub.kill()
    hub.go_on()
    hub.start()
    hub.comes_to_rest(running=set())


def test_an_engine_that_is_killed_during_a_start_keeps_the_seat_and_then_the_place(hub: KilledHub) -> None:
    hub.hold_at("before start", "POST", "s01")
    hub.engine.kill()
    hub.go_on()
    time.sleep(1)
    assert hub.leases()["s01"][1] == UUIDS[0]
    hub.engine.start(*QUICK)
    hub.until(lambda: hub.leases().get("s01") == ("queued", ""))
    assert hub.running() == {}
    hub.call("POST", "s01")  # what the waiting page does by itself
    hub.comes_to_rest(running={"s01"})


def test_an_engine_that_is_killed_under_a_running_server_keeps_the_seat_for_its_holder(hub: KilledHub) -> None:
    hub.call("POST", "s01")
    hub.comes_to_rest(running={"s01"})
    hub.call("POST", "s02")
    hub.engine.kill()
    time.sleep(1)
    hub.engine.start(*QUICK)
    hub.until(lambda: hub.leases()["s01"] in {("lost", UUIDS[0]), ("active", UUIDS[0])} and not hub.running())
    assert hub.leases()["s02"] == ("queued", "")
    hub.call("POST", "s01")  # it goes before s02, whose turn it would be
    hub.until(lambda: hub.running() == {"s01": ("active", UUIDS[0])} and hub.leases()["s01"][0] == "active")
    assert hub.leases()["s02"] == ("queued", "")
