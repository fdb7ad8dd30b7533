"""The real service with uvicorn on loopback, and a double of the one thing it asks the hub."""

from __future__ import annotations

import base64
import json
import logging
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from gpuclass import roster
from gpuclass.accounts import Accounts
from gpuclass.exchange.service.app import server_config
from gpuclass.settings import FeedbackPolicy, Settings, load

NOTEBOOK = {"warm-up.ipynb": b'{"cells": []}'}
SCOPE = "access:services!service=exchange"

ROSTER = """\
login,name,role,team
student1,김하늘,student,a1
student2,이바다,student,a1
student3,박구름,student,a2
mentor1,최나무,mentor,a1
teacher,정선생,instructor,
operator,한운영,operator,
"""


class HubDouble:
    """A double of the hub: answers GET /hub/api/user for the tokens it was given, and nothing else.

    Attributes:
        users: what it answers, by token.
        down: answers with an error of its own while this is set.
        asked: how often it was asked.
    """

    def __init__(self, address: str) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.down = False
        self.asked = 0
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                double.asked += 1
                token = self.headers.get("Authorization", "").removeprefix("token ")
                user = double.users.get(token) if self.path == "/hub/api/user" else None
                self.send_response(503 if double.down else 200 if user else 403)
                self.end_headers()
                self.wfile.write(json.dumps(user or {}).encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                pass

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def tree(files: Mapping[str, bytes]) -> str:
    """An encoded directory tree, made as ngshare's own client makes it: base64 in lines."""
    return json.dumps(
        [{"path": path, "content": base64.encodebytes(content).decode()} for path, content in files.items()]
    )


def user(name: str, scopes: list[str] | None = None, kind: str = "user") -> dict[str, Any]:
    return {"kind": kind, "name": name, "scopes": [SCOPE] if scopes is None else scopes}


@dataclass
class Camp:
    """A class with an exchange on loopback: in a thread, or as a process that can be killed, ``under`` another."""

    settings: Settings
    hub: HubDouble
    log: Path
    as_process: bool
    under: Sequence[str | Path] = ()
    process: subprocess.Popen[bytes] | None = None
    server: uvicorn.Server | None = None
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    def launch(self) -> None:
        """Start the process; it does not answer yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.under, Path(sys.executable).with_name("gpuclass"), "exchange", "serve"],
                env={"GPUCLASS_CONFIG": str(self.settings.path), "PATH": ""},
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        if self.as_process:
            self.launch()
        else:
            self.server = uvicorn.Server(server_config(self.settings))
            self.thread = threading.Thread(target=self.server.run)
            self.thread.start()
        self._await()

    def _await(self) -> None:
        for _ in range(1200):
            try:
                httpx.get(f"{self.settings.exchange_url}/gpuclass/v1/health")
            except httpx.TransportError:
                assert self.process is None or self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        """Kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        for client in self.clients.values():
            client.close()
        if self.server is not None:
            self.server.should_exit = True
            self.thread.join()
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def by(self, login: str) -> httpx.Client:
        """What ``login`` sends requests with."""
        if login not in self.clients:
            self.hub.users[f"token-of-{login}"] = user(login)
            self.clients[login] = httpx.Client(
                base_url=f"{self.settings.exchange_url}/",
                headers={"Authorization": f"token token-of-{login}"},
                timeout=60,
            )
        return self.clients[login]


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def prepare(folder: Path, hub: HubDouble, gateway: str, feedback: FeedbackPolicy = "now", **limits: object) -> Settings:
    """A class.toml and a roster in ``folder``; the exchange's limits as given. Every attempt is graded at once."""
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in limits.items())
    (folder / "roster.csv").write_text(ROSTER, encoding="utf-8")
    (folder / "class.toml").write_text(
        f"""
[class]
name = "camp"
title = "Camp"
language = "en"
[site]
hub_port = {hub.port}
exchange_port = {free_port(gateway)}
[network]
subnet = "{gateway.rpartition(".")[0]}.0/24"
[grading]
feedback = "{feedback}"
attempts = 0
[exchange]
{lines}
"""
    )
    settings = load(folder / "class.toml")
    import_roster(settings)
    return settings


def import_roster(settings: Settings) -> None:
    """What `gpuclass roster import` does for the exchange."""
    Accounts(settings.accounts_path).apply(roster.read(settings.roster_path), {})


@contextmanager
def running(
    folder: Path,
    *,
    as_process: bool = False,
    under: Sequence[str | Path] = (),
    feedback: FeedbackPolicy = "now",
    **limits: object,
) -> Iterator[Camp]:
    """A class whose exchange has these limits; on a loopback address and ports of its own."""
    gateway = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.1"
    hub = HubDouble(gateway)
    camp = Camp(prepare(folder, hub, gateway, feedback, **limits), hub, folder / "exchange.log", as_process, under)
    log = logging.FileHandler(camp.log)
    log.addFilter(
        lambda record: record.name in ("uvicorn.error", "gpuclass.exchange.store.courses")
    )  # the service's alone
    logging.getLogger().addHandler(log)
    try:
        camp.start()
        yield camp
    finally:
        camp.stop()
        hub.close()
        logging.getLogger().removeHandler(log)
        log.close()
    text = camp.log.read_text()
    assert "Traceback" not in text, text


@pytest.fixture(scope="module")
def camp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camp]:
    """One exchange for a module's tests; each test makes the assignments it uses."""
    with running(tmp_path_factory.mktemp("camp"), per_minute=10_000) as camp:
        yield camp


@pytest.fixture
def assignment(camp: Camp, request: pytest.FixtureRequest) -> str:
    """The name of an assignment that is released, for this test alone."""
    name = str(request.node.name).replace("[", " ").replace("]", "")[:80]
    answer = camp.by("teacher").post(f"api/assignment/camp/{name}", data={"files": tree(NOTEBOOK)})
    assert answer.status_code == 200, answer.text
    return name
