"""A class's own hub with its own queue, ledger and spawner; only Docker is a double, and what the watch would write.

The double keeps its containers in a file, as an engine keeps them when a hub is killed. A container "runs" as soon as
it is made, unless the file ``hold`` is there.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

from typer.testing import CliRunner

from gpuclass.cli import app
from gpuclass.gpus.devices import write_snapshot
from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import LOCAL, Device, Inventory
from gpuclass.settings import load
from tests.queue.queue_hub import HubProcess

CONFIG = '''
import asyncio, json
from jupyterhub.proxy import Proxy
from jupyterhub.user import User
from gpuclass import hub
from gpuclass.gpus.labels import LEASE_LABEL
from gpuclass.settings import load
from gpuclass.spawner import ClassSpawner
from tests.queue.world import ContainerDouble, EngineDouble

settings = load()
file = settings.data / "containers.json"


class KeptEngineDouble(EngineDouble):
    """An engine in memory whose containers outlive the hub."""

    def keep(self):
        kept = [vars(each) for each in self.containers.values()]
        file.write_text(json.dumps(kept))
    def create(self, name, labels):
        made = super().create(name, labels)
        self.containers[name].state = "running"
        self.keep()
        return made
    async def remove(self, container):
        await super().remove(container)
        self.keep()


engine = KeptEngineDouble()
if file.exists():
    engine.containers = {each["name"]: ContainerDouble(**each) for each in json.loads(file.read_text())}
hub.DockerEngine = lambda: engine


class NoProxy(Proxy):
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {}


class NoDockerSpawner(ClassSpawner):
    """The class's spawner up to where Docker is called."""

    async def _make_container(self, lease):
        while (settings.data / "hold").exists():
            await asyncio.sleep(0.05)
        await engine.remove(self.object_name)
        self.object_id = engine.create(self.object_name, self.labels(lease))
        return "127.0.0.1", 9
    async def _wait_for_port(self, address, port): pass
    async def get_object(self):
        found = engine.containers.get(self.object_name)
        if not found:
            return None
        self.object_id = found.id
        return {"Id": found.id, "State": {"Running": True}, "Config": {"Labels": found.labels}}
    async def stop_object(self): pass
    async def remove_object(self): await engine.remove(self.object_name)


async def up_at_once(self, *args, **kwargs):
    return None


User._wait_up = up_at_once  # nothing listens: no test goes further than the redirect
hub.configure(c, settings)
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = NoDockerSpawner
c.JupyterHub.bind_url = c.JupyterHub.hub_bind_url
c.JupyterHub.services = [each for each in c.JupyterHub.services if each["name"] not in ("exchange", "desk")] + [
    {"name": "desk", "api_token": "not-used-here-either"},
    {"name": "exchange", "api_token": "not-used-here"}
]
hub.begin(settings)
'''
CLASS = """
[class]
name = "t"
title = "딥러닝 캠프"
[gpu]
mode = "exclusive"
"""
PEOPLE = ("s01", "s02", "s03")


class BrokerHub(HubProcess):
    """A class with three students, an operator and as many GPUs as ``gpus`` says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CONFIG, CLASS, network="127.12.0")
        rows = [f"{login},{login},student," for login in PEOPLE] + ["op,정운영,operator,"]
        (folder / "roster.csv").write_text("\n".join(["login,name,role,team", *rows]), encoding="utf-8")
        cards = folder / "cards.csv"
        result = CliRunner().invoke(app, ["roster", "import", "--passwords", str(cards)], env=self.environment)
        assert result.exit_code == 0, result.output
        with cards.open(encoding="utf-8-sig", newline="") as file:
            self.passwords = {row["login"]: row["password"] for row in csv.DictReader(file)}
        self.settings = load(folder / "class.toml", environ={})

    def gpus(self, number: int) -> None:
        """What the watch would say from now on, for long enough for a test."""
        devices = tuple(Device(LOCAL, f"GPU-{n}", "H100", str(n), 80 * 2**30) for n in range(number))
        self.settings.gpus_folder.mkdir(exist_ok=True)
        write_snapshot(self.settings.gpus_folder, Inventory(LOCAL, time.time() + 25, devices, "580.65"))

    def holders(self) -> set[str]:
        """Who holds a seat, as the ledger says."""
        with Ledger(self.settings.ledger_path) as ledger:
            return {lease.user for lease in ledger.live() if lease.seats}
