"""A hub whose queue and servers are doubles that follow a file, so that a test can put its pages into every state.

JupyterHub, its pages, its API and its event stream are real. ``Script`` is the test's side of the file.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from gpuclass import ROOT

CONFIG = '''
import asyncio, json
from types import SimpleNamespace
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner, SpawnException
from gpuclass import ROOT
from gpuclass.queue import pages, words
from gpuclass.settings import load

settings = load()
script = settings.data / "script.json"
said = words.words(settings.class_.language)


def told():
    return json.loads(script.read_text(encoding="utf-8"))


class QueueDouble:
    """Answers as a broker would, from the script."""

    reclaimed = ()

    def free(self, role):
        return SimpleNamespace(**told()["free"])

    def place(self, user):
        place = told()["places"].get(user)
        return SimpleNamespace(**place) if place else None


class NoProxy(Proxy):
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {}


class ServerDouble(Spawner):
    """A start that goes on as the script says; what it was asked for lies in the file LOGIN.json."""

    running = False
    role = "student"
    def step(self):
        return told()["starts"].get(self.user.name, {"phase": "starting", "progress": 5, "message": said["prepare"]})
    async def start(self):
        (settings.data / f"{self.user.name}.json").write_text(json.dumps(self.user_options))
        while True:
            step = self.step()
            if not self.user_options.get("gpu", True) or step["phase"] == "ready":
                break
            if step["phase"] == "failed":
                raise SpawnException(said["crashed"], reason="crashed")
            await asyncio.sleep(0.05)
        self.running = True
        return ("127.0.0.1", 9)  # nothing listens there: no test goes further than the redirect
    async def progress(self):
        last = None
        while True:
            step = self.step()
            if step != last:
                last = step
                if step["phase"] == "queued":
                    place = step["place"]
                    line = words.queued(settings.class_.language, why=place["why"], ahead=place["ahead"],
                                        seconds=place["seconds"])
                    yield {"progress": 2, "message": line, "gpuclass": {"state": "queued", **place}}
                elif step["phase"] == "starting":
                    yield {"progress": step["progress"], "message": step["message"],
                           "gpuclass": {"state": "reserved", "gpu": True}}
            await asyncio.sleep(0.05)
    async def poll(self): return None if self.running else 0
    async def stop(self, now=False): self.running = False


async def up_at_once(self, *args, **kwargs):
    return None


from jupyterhub.user import User
User._wait_up = up_at_once  # the double's server is not there to be asked
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.cleanup_servers = False
c.JupyterHub.hub_bind_url = settings.hub_api.removesuffix("/hub/api")
c.JupyterHub.db_url = f"sqlite:///{settings.data / 'hub.sqlite'}"
c.JupyterHub.cookie_secret = bytes(range(32))
c.JupyterHub.template_paths = [str(ROOT / "gpuclass" / "templates")]
c.JupyterHub.template_vars = pages.template_vars(settings, lambda: QueueDouble())
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = ServerDouble
c.Spawner.options_form = pages.options_form(settings, lambda: QueueDouble())
c.Spawner.options_from_form = pages.options_from_form(settings)
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
'''
FREE = {
    "known": True,
    "gpu_seats_open": 3,
    "gpu_seats": 8,
    "waiting_for_gpu": 0,
    "waiting_to_start": 0,
    "gpu_seconds": 0,
    "start_seconds": 0,
}


class HubProcess:
    """A data folder and the hub that runs on it.

    Args:
        folder: where class.toml, the configuration and the log are written.
        config: the text of jupyterhub_config.py.
        class_toml: tables of class.toml beside [site] and [network]; the ports and the network are chosen here.
        network: the first three numbers of a loopback network that no other hub of the tests has.
    """

    def __init__(self, folder: Path, config: str, class_toml: str, network: str = "127.11.0") -> None:
        with socket.socket() as free:
            free.bind((f"{network}.1", 0))
            port = free.getsockname()[1]
        self.folder = folder
        self.url = f"http://{network}.1:{port}/hub"
        self.log = folder / "hub.log"
        site = f'[site]\nhub_port = {port}\naddress = "http://{network}.1:{port}"\nsubdomains = false\n'
        (folder / "class.toml").write_text(
            f'{class_toml}\n{site}[network]\nsubnet = "{network}.0/24"\n', encoding="utf-8"
        )
        (folder / "hub_config.py").write_text(config, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """What the hub and the commands of its class find in the environment."""
        return {**os.environ, "GPUCLASS_CONFIG": str(self.folder / "class.toml"), "PYTHONPATH": str(ROOT)}

    def start(self) -> None:
        """Start the hub and wait until it answers."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", "hub_config.py"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/health").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
            assert self.process.poll() is None, self.log.read_text()
        raise AssertionError(self.log.read_text())

    def hangs(self, stopped: bool) -> None:
        """The hub keeps its connections and says nothing more, or goes on."""
        self.process.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)

    def kill(self) -> None:
        """End the hub as a crash would."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


class QueueHub(HubProcess):
    """The hub of this module, and the script that its queue follows."""

    def __init__(self, folder: Path, language: str = "ko") -> None:
        super().__init__(
            folder,
            CONFIG,
            f'[class]\nname = "t"\ntitle = "딥러닝 캠프"\nlanguage = "{language}"\n[gpu]\nmode = "shared"',
        )
        self.script: dict[str, Any] = {"free": FREE, "places": {}, "starts": {}}
        self._write()

    def free(self, **seen: object) -> None:
        """What the options page shows from now on."""
        self.script["free"] = FREE | seen
        self._write()

    def keeps(self, login: str, *, gpu: bool) -> None:
        """This person's place is in the queue although no start is pending."""
        self.script["places"][login] = {
            "state": "queued",
            "why": "seat",
            "ahead": 2,
            "of": 5,
            "seconds": 60,
            "gpu": gpu,
        }
        self._write()

    def queued(self, login: str, why: str, ahead: int, seconds: float | None, *, gpu: bool = True) -> None:
        """This person stands in the queue from now on."""
        place = {"why": why, "ahead": ahead, "of": ahead + 3, "seconds": seconds, "gpu": gpu}
        self.step(login, phase="queued", place=place)

    def step(self, login: str, **step: object) -> None:
        """The start of this person goes on so."""
        self.script["starts"][login] = step
        self._write()

    def asked_for(self, login: str) -> Any:
        """The options with which this person's server was started last."""
        return json.loads((self.folder / f"{login}.json").read_text(encoding="utf-8"))

    def _write(self) -> None:
        new = self.folder / "script.new"
        new.write_text(json.dumps(self.script), encoding="utf-8")
        new.replace(self.folder / "script.json")
