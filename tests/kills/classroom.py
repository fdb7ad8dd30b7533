"""A class whose every process may be killed: real hub, proxy, exchange and grading worker under gpuclass's supervisor.

Sandboxes run in an engine of the tests' own. Nobody has a server: students log in at the hub, have it give them a token
and hand in to the exchange with that, as the client in their server does.
"""

from __future__ import annotations

import asyncio
import csv
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from gpuclass import processes, proxy
from gpuclass.classroom import give_to_service_user, run_as_service_user
from gpuclass.grader.child import scratch_of
from gpuclass.grader.worker import owner
from gpuclass.processes import Supervisor
from gpuclass.rehearsal import Visitor
from gpuclass.settings import SERVICE_UID, Settings, load
from tests.exchange.conftest import free_port
from tests.gpus.engines import QUICK, NestedEngine
from tests.grader.courses import cell, notebook
from tests.kills.engine import GRADER_IMAGE, sandboxes

ASSIGNMENT = "ps1"
PARTS = (1, 2, 4, 8)  # points of each part, so that a score says which parts were right
FULL = sum(PARTS)
BACK_OFF_S = (0.5, 1.0, 2.0)  # a process that is killed every few seconds would wait for half a minute in real life
LOGINS_AT_ONCE = 8
SOCKET_GROUP = 0  # whose the nested engine's socket is


def source_version() -> NotebookNode:
    """The instructor's: a function and its test for each part, one of the tests hidden."""
    cells = [cell("markdown", "# Four numbers")]
    for points in PARTS:
        answer = f"def part{points}(x):\n    ### BEGIN SOLUTION\n    return x + {points}\n    ### END SOLUTION"
        test = f"assert part{points}(1) == {1 + points}"
        if points == PARTS[-1]:
            test += f"\n### BEGIN HIDDEN TESTS\nassert part{points}(5) == {5 + points}\n### END HIDDEN TESTS"
        cells.append(cell("code", answer, f"part{points}", solution=True))
        cells.append(cell("code", test, f"test{points}", grade=True, locked=True, points=points))
    return notebook(*cells)


def answers(score: int) -> bytes:
    """A submission that is worth ``score``: those parts are right whose points add up to it."""
    made = source_version()
    for each in made.cells:
        known = each.metadata.get("nbgrader", {})
        if known.get("solution"):
            points = int(known["grade_id"].removeprefix("part"))
            each.source = f"def part{points}(x):\n    return x + {points if score & points else -1}"
        elif known.get("grade"):
            each.source = each.source.partition("\n###")[0]
    return str(nbformat.writes(made)).encode()


@dataclass
class KillableClass:
    """The running class, and what can be done to it.

    Attributes:
        tokens: what each student hands in with.
        said: what the supervisor said.
    """

    settings: Settings
    supervisor: Supervisor
    engine: NestedEngine
    tokens: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str:
        """What the worker's sandboxes and folders are labelled with."""
        return owner(self.settings)

    def pid(self, name: str) -> int:
        """The process id of the class's process; it may be a dead one's."""
        return self.supervisor._running[name].pid

    def kill(self, name: str) -> bool:
        """Kill -9 a process of the class; whether it was alive."""
        return kill(self.pid(name))

    def grading_processes(self) -> list[int]:
        """The worker's children that grade."""
        return children(self.pid("grading"))

    def kill_engine(self, *, with_containers: bool) -> None:
        """Kill -9 dockerd and containerd; the containers go on, unless they are to die with it, as at a power cut."""
        self.engine.kill()
        if with_containers:
            shims = "case $(cat $p/comm) in containerd-shim*) kill -9 ${p#/proc/};; esac"
            script = f"for p in /proc/[0-9]*; do {shims}; done; true"
            self.engine.container.exec_run(["sh", "-c", script])

    def start_engine(self) -> None:
        """Have dockerd answer again."""
        if not self.engine.answers():
            self.engine.start(*QUICK)

    def log(self, name: str) -> str:
        """What a process wrote."""
        return self.supervisor.log_of(name).read_text(encoding="utf-8", errors="replace")

    def leftovers(self) -> list[str]:
        """Sandboxes and folders of the worker that are there."""
        folders = Path(tempfile.gettempdir()).glob(f"{scratch_of(self.owner)}*")
        return [*sandboxes(self.engine), *map(str, folders)]

    def logs(self) -> str:
        """The end of every log: what one wants to read when a test failed."""
        names = ("grading", "exchange", "hub")
        parts = [f"--- {name}\n" + "\n".join(self.log(name).splitlines()[-60:]) for name in names]
        return "\n".join([*parts, "--- supervisor", *self.said[-30:], "--- dockerd", self.engine.log()[-3000:]])


def kill(pid: int) -> bool:
    """Kill -9; whether there was such a process."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def children(pid: int) -> list[int]:
    """Of a process that may be gone."""
    try:
        return [
            int(each)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for each in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


@contextmanager
def running(engine: NestedEngine, students: Sequence[str], *, workers: int = 2) -> Iterator[KillableClass]:
    """The class, open, with the assignment released and every student logged in; closed at the end.

    Its address is one of the machine's own: no container of a student would have to reach it.
    """
    folder = Path(tempfile.mkdtemp(prefix="gpuclass-kills-", dir="/var/tmp"))  # the service user must get there
    folder.chmod(0o755)
    proxy.install()
    settings = _prepared(folder, students, workers)
    engine.address.chmod(0o666)
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "BACK_OFF_S", BACK_OFF_S)
        whole = processes.environment

        def environment(settings: Settings, extra: Mapping[str, str]) -> dict[str, str]:
            return {**whole(settings, extra), "DOCKER_HOST": f"unix://{engine.address}"}

        patch.setattr(processes, "environment", environment)
        supervisor = Supervisor(settings, SOCKET_GROUP, said.append)
        ending = threading.Event()
        watching = threading.Thread(target=supervisor.watch, args=(ending.is_set,))
        try:
            supervisor.start()
            watching.start()
            opened = KillableClass(settings, supervisor, engine, said=said)
            opened.tokens = asyncio.run(_tokens(settings, folder / "logins.csv"))
            yield opened
        finally:
            ending.set()
            if watching.is_alive():
                watching.join()
            supervisor.stop()
            shutil.rmtree(folder)


def _prepared(folder: Path, students: Sequence[str], workers: int) -> Settings:
    gateway = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.1"
    port = free_port("127.0.0.1")
    (folder / "class.toml").write_text(
        f"""
[class]
name = "kills{os.getpid()}"
title = "Kills"
language = "en"
[site]
address = "http://localhost:{port}"
port = {port}
proxy_api_port = {free_port("127.0.0.1")}
hub_port = {free_port(gateway)}
exchange_port = {free_port(gateway)}
[network]
subnet = "{gateway.rpartition(".")[0]}.0/24"
[exchange]
per_minute = 1000
[grading]
workers = {workers}
image = "{GRADER_IMAGE}"
memory = "512M"
""",
        encoding="utf-8",
    )
    rows = ["login,name,role,team", "teacher,Teacher,instructor,", *(f"{each},{each},student,1" for each in students)]
    (folder / "roster.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    settings = load(folder / "class.toml", environ={})
    source = settings.course_folder / "source" / ASSIGNMENT
    source.mkdir(parents=True)
    nbformat.write(source_version(), source / f"{ASSIGNMENT}.ipynb")
    for path in (settings.data, *settings.data.rglob("*")):
        os.chown(path, SERVICE_UID, SERVICE_UID)
    give_to_service_user(settings.data)
    run_as_service_user(settings, "roster", "import", "--passwords", str(settings.data / "logins.csv"))
    return settings


async def _tokens(settings: Settings, logins: Path) -> dict[str, str]:
    """Have everybody log in and ask the hub for a token."""
    with (settings.data / logins.name).open(encoding="utf-8-sig", newline="") as file:
        passwords = {row["login"]: row["password"] for row in csv.DictReader(file)}
    gate = asyncio.Semaphore(LOGINS_AT_ONCE)
    site = settings.site

    async def token(login: str) -> str:
        async with (
            gate,
            Visitor(
                site.address, login, passwords[login], subdomains=site.subdomains, connect=str(site.listen)
            ) as visitor,
        ):
            await visitor.log_in()
            made = await visitor.call("POST", f"{visitor.hub}/api/users/{login}/tokens", json={"note": "to hand in"})
            return str(made["token"])

    found = await asyncio.gather(*(token(login) for login in passwords))
    return dict(zip(passwords, found, strict=True))
