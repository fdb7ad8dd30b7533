"""A user's server in a container without a hub, to measure and test the image alone. Not used in a class.

A few lines stand in for the hub: they say their version and that every token but the stranger's is the user's.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import httpx
from docker.models.containers import Container

USER = "s001"
STRANGER = "s002"  # whose token is the name
PREFIX = f"/user/{USER}/"
READY_SECONDS = 120.0  # stock, on a busy machine
POLL_SECONDS = 0.02
HUB_VERSION = "6.1.1"


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer whatever is asked: version, or who the token belongs to."""
        stranger = self.headers.get("Authorization", "").endswith(STRANGER)
        name = STRANGER if stranger else USER
        user = {"name": name, "kind": "user", "admin": False, "groups": [], "scopes": [f"access:servers!user={name}"]}
        body = json.dumps({"version": HUB_VERSION, **user}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-JupyterHub-Version", HUB_VERSION)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the base class looks for this name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


@contextmanager
def hub() -> Iterator[int]:
    """What a single-user server needs of a hub, on 127.0.0.1; gives the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        container: where it runs.
        url: its base address, ending in ``/``.
        start_cpu_seconds: CPU time of the whole container until the first 200.
    """

    container: Container
    url: str
    start_cpu_seconds: float

    def request(self, method: str, path: str, body: object = None, *, token: str = USER) -> httpx.Response:
        """Ask as its user, or with another token."""
        headers = {"Authorization": f"token {token}"}
        return httpx.request(method, self.url + path, headers=headers, json=body, timeout=READY_SECONDS)

    def log(self) -> str:
        """What it printed."""
        return self.container.logs().decode()


@contextmanager
def serve(
    client: docker.DockerClient,
    image: str,
    home: Path,
    *,
    environment: Mapping[str, str] | None = None,
    volumes: Mapping[str, str] | None = None,
    limits: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start the image's own command under the walls of a class, wait for the first 200, remove the container after.

    Args:
        client: the Engine.
        image: its reference.
        home: folder of the user with uid 1000.
        environment: beyond what the hub would set.
        volumes: host path → path in the container, with `:ro` after it where it is not to be written.
        limits: further arguments of Docker, such as `mem_limit`.
        labels: of the container, beyond the one that says that it is a trial.

    Raises:
        TimeoutError: it does not answer, or has ended; the text holds its log.
    """
    with hub() as hub_port, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        url = f"http://127.0.0.1:{port}{PREFIX}"
        container = client.containers.run(
            image,
            detach=True,
            network_mode="host",
            read_only=True,
            tmpfs={"/tmp": "size=512m"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            environment={**hub_environment(hub_port, url), **(environment or {})},
            volumes=[f"{home}:/home/jovyan", *(f"{host}:{path}" for host, path in (volumes or {}).items())],
            labels={"gpuclass.benchmark": "startup", **(labels or {})},
            **(limits or {}),
        )
        try:
            _wait(container, f"{url}api")
            yield Server(container, url, cpu_seconds(container))
        finally:
            container.remove(force=True)


def _wait(container: Container, url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client() as http:
        while True:
            try:
                if http.get(url).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            container.reload()
            if time.monotonic() > deadline or container.status == "exited":
                raise TimeoutError(f"{url} does not answer:\n{container.logs().decode()}")
            time.sleep(POLL_SECONDS)


def cpu_seconds(container: Container) -> float:
    """CPU time that the container's processes have used, with children that have ended.

    Read from /proc: Docker's own figures come up to a second late, and a server does more in that second.
    """
    return cpu_seconds_of(processes(container))


def cpu_seconds_of(folders: Iterable[Path]) -> float:
    """CPU time of processes given by their folders under /proc, with children that have ended."""
    ticks = 0
    for process in folders:
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile; its parent has its time
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime; see proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(container: Container) -> float:
    """Memory of the container's processes, pages shared with others counted in part (PSS); root may read that."""
    pss = (
        re.search(r"^Pss:\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.M) for folder in processes(container)
    )
    return sum(int(found[1]) for found in pss if found) / 1024


def processes(container: Container) -> list[Path]:
    """Folders under /proc of the container's first process and all below it."""
    container.reload()
    return family(container.attrs["State"]["Pid"])


def family(pid: int) -> list[Path]:
    """Folders under /proc of a process and all below it; of those that end meanwhile, some."""
    found = [Path("/proc") / str(pid)]
    for folder in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            children = (folder / "task" / folder.name / "children").read_text().split()
            found += [Path("/proc") / child for child in children]
    return found


def hub_environment(hub_port: int, url: str) -> dict[str, str]:
    """The variables by which JupyterHub tells a server who it is."""
    api = f"http://127.0.0.1:{hub_port}/hub/api"
    scopes = json.dumps([f"access:servers!server={USER}/", f"access:servers!user={USER}"])
    return {
        "JUPYTERHUB_API_TOKEN": "any",
        "JUPYTERHUB_API_URL": api,
        "JUPYTERHUB_ACTIVITY_URL": f"{api}/users/{USER}/activity",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{USER}",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": scopes,
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{PREFIX}oauth_callback",
        "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES": "[]",
        "JUPYTERHUB_OAUTH_SCOPES": scopes,
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
        "JUPYTERHUB_SERVICE_URL": url,
        "JUPYTERHUB_USER": USER,
    }
