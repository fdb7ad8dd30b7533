"""Eighty students press start in the same second: a class of ours against JupyterHub with stock DockerSpawner.

    python benchmarks/storm.py [--students 80] [--only gpuclass|stock] [--logs FOLDER]

Real containers, real hubs, one after the other on the same machine; root, like ``gpuclass up``. Everybody is logged in
first. A student is ready when the first page of their own server has come, by the way that a browser takes:
button, page of progress, through the proxy and the hub's round of cookies into Lab. What stock is stands in
benchmarks/stock; docs/explanation/start.md says more. The last line is one line of JSON, times in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import math
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx
from docker.models.containers import Container

from benchmarks.startup import STOCK
from benchmarks.startup import stock as stock_image
from gpuclass import images, proxy
from gpuclass.engine import PID_FILES
from gpuclass.network import CLASS_LABEL
from gpuclass.processes import StopSignal
from gpuclass.rehearsal import RehearsalError, Visitor
from gpuclass.settings import CONFIG_VARIABLE
from gpuclass.trial import cpu_seconds, cpu_seconds_of, family, memory_mib

LIMIT = 0.4  # the last student's wait, over the last of stock
PATIENCE_S = 900  # of a student, and stock's timeouts
LOG_INS_AT_ONCE = 8
REMOVED_AT_ONCE = 4
SETTLE_S = 2  # after the log-ins, so that what they left to do is not counted
OPENS_WITHIN_S = 900  # images may have to be built first
PORT, PROXY_API_PORT, HUB_PORT, EXCHANGE_PORT = 15000, 15001, 15081, 15082
SUBNET = "10.91.0.0/24"
NAME = "storm"  # of our class
PREFIX = "gpuclass-storm-stock"  # of stock's containers
VARIANTS = ("stock", "gpuclass")

CLASS = f"""
[class]
name = "{NAME}"
title = "Class start"

[site]
address = "http://localhost:{PORT}"
port = {PORT}
proxy_api_port = {PROXY_API_PORT}
hub_port = {HUB_PORT}
exchange_port = {EXCHANGE_PORT}

[network]
subnet = "{SUBNET}"
"""


class BenchmarkError(RuntimeError):
    """The benchmark itself could not go on; its text holds the log of what did not start."""


@dataclass(frozen=True)
class Side:
    """One of the two set-ups, running.

    Attributes:
        address: where students go.
        subdomains: whether each has a domain of their own.
        passwords: by login.
        process: ancestor of every process of it, the engine and the containers left out.
        containers: Docker's filter that finds its containers.
        logs: folder with the logs of its processes.
    """

    address: str
    subdomains: bool
    passwords: Mapping[str, str]
    process: subprocess.Popen[bytes]
    containers: Mapping[str, str]
    logs: Path

    def last_words(self) -> list[str]:
        """The ends of its logs: what one wants to read when somebody failed."""
        return [f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in sorted(self.logs.glob("*.log"))]

    def visitor(self, login: str) -> Visitor:
        """A student of it with a browser."""
        return Visitor(
            self.address,
            login,
            self.passwords[login],
            subdomains=self.subdomains,
            connect="127.0.0.1",
            patience_s=PATIENCE_S,
        )


@dataclass(frozen=True)
class Figures:
    """One start of a whole class.

    Attributes:
        waits: seconds from the button to the server's page, ascending, of those who got there.
        failures: what the others were told.
        cpu: CPU seconds until the last was ready, by who used them. ``class`` is hub, proxy, engine and containers
            together; ``machine`` is everything that the machine did, its other work included.
        memory_mib: PSS of all containers' processes then.
    """

    waits: list[float]
    failures: list[str]
    cpu: dict[str, float]
    memory_mib: float

    def line(self) -> dict[str, Any]:
        """As in the benchmark's JSON."""
        waits = self.waits
        return {
            "first": round(waits[0], 2) if waits else None,
            "p50": round(statistics.median(waits), 2) if waits else None,
            "p95": round(waits[math.ceil(len(waits) * 0.95) - 1], 2) if waits else None,
            "last": round(waits[-1], 2) if waits else None,
            "failed": len(self.failures),
            "cpu_seconds": {who: round(seconds, 1) for who, seconds in self.cpu.items()},
            "memory_mib": round(self.memory_mib),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, say whether the limit holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=80, help="how many press start (default: 80)")
    parser.add_argument("--only", choices=VARIANTS, help="run one side, without a ratio")
    parser.add_argument("--logs", type=Path, help="keep the logs of hub, proxy and services below this folder")
    options = parser.parse_args(arguments)
    StopSignal()  # Ctrl-C and its like interrupt what runs; everything below is undone on the way out

    client = images.connect()
    people = logins(options.students)
    lines: dict[str, dict[str, Any]] = {}
    with closing(client):
        student = images.build(["student"], client=client)["student"]
        proxy.install()
        for name in [options.only] if options.only else VARIANTS:
            with data_folder(name) as folder, ExitStack() as undo:
                if name == "stock":
                    side = undo.enter_context(stock(client, stock_image(client, student), people, folder))
                else:
                    side = undo.enter_context(ours(people, folder))
                figures = asyncio.run(storm(client, side))
                if options.logs:
                    shutil.copytree(side.logs, options.logs / name, dirs_exist_ok=True)
                if figures.failures:
                    print("\n".join([*figures.failures, *side.last_words()]))
            lines[name] = figures.line()
            print(f"{name}: {json.dumps(lines[name])}", flush=True)
    return report(options.students, lines)


def report(students: int, lines: Mapping[str, Mapping[str, Any]]) -> int:
    """Print the last line; the exit status: 0 when nobody of ours failed and the limit, where there is one, holds."""
    line: dict[str, Any] = {"benchmark": "storm", "students": students, **lines}
    good = "gpuclass" not in lines or lines["gpuclass"]["failed"] == 0
    if len(lines) == len(VARIANTS):
        ratio = _ratio(lines, "last")
        line |= {"ratio": ratio, "limit": LIMIT, "median_ratio": _ratio(lines, "p50")}
        good = good and ratio is not None and ratio <= LIMIT
    print(json.dumps(line))
    return 0 if good else 1


def _ratio(lines: Mapping[str, Mapping[str, Any]], what: str) -> float | None:
    ours, theirs = (lines[name][what] for name in ("gpuclass", "stock"))
    return None if ours is None or theirs is None else round(ours / theirs, 3)


def logins(students: int) -> list[str]:
    """One more than asked for: the first only warms up the machine's caches, for both sides alike."""
    return [f"s{number:03d}" for number in range(students + 1)]


@contextmanager
def data_folder(name: str) -> Iterator[Path]:
    """A new folder that the service user may enter, removed at the end."""
    folder = Path("/var/tmp") / f"gpuclass-storm-{name}-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def ours(people: Sequence[str], folder: Path) -> Iterator[Side]:
    """A class as `gpuclass up` opens it, every setting at its default but ports and network."""
    (folder / "class.toml").write_text(CLASS, encoding="utf-8")
    roster = "".join(f"{login},{login},student,\n" for login in people)
    (folder / "roster.csv").write_text(f"login,name,role,team\n{roster}", encoding="utf-8")
    cards = folder / "logins.csv"
    command = [sys.executable, "-m", "gpuclass", "up", "--passwords", str(cards)]
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, CONFIG_VARIABLE: str(folder / "class.toml"), "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; the class is closed below
        )
    try:
        wait_until(lambda: "The class is open" in log.read_text(), process, log)
        with cards.open(encoding="utf-8-sig", newline="") as file:
            passwords = {row["login"]: row["password"] for row in csv.DictReader(file)}
        yield Side(
            f"http://localhost:{PORT}", True, passwords, process, {"label": f"{CLASS_LABEL}={NAME}"}, folder / "log"
        )
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


@contextmanager
def stock(client: docker.DockerClient, image: str, people: Sequence[str], folder: Path) -> Iterator[Side]:
    """JupyterHub with DockerSpawner, as benchmarks/stock/jupyterhub_config.py has it."""
    password = secrets.token_urlsafe()
    environment = {
        "STORM_IMAGE": image,
        "STORM_GATEWAY": client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"],
        "STORM_PASSWORD": password,
        "STORM_PATIENCE": str(PATIENCE_S),
        "STORM_PORT": str(PORT),
        "STORM_HUB_PORT": str(HUB_PORT),
        "STORM_PROXY": f"{proxy.NODE} {proxy.SCRIPT}",
        "STORM_PROXY_API_PORT": str(PROXY_API_PORT),
        "STORM_PREFIX": PREFIX,
    }
    log = folder / "log" / "hub.log"
    log.parent.mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "--config", str(STOCK / "jupyterhub_config.py")],
            env={**os.environ, **environment},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://localhost:{PORT}"
    try:
        wait_until(lambda: answers(f"{address}/hub/login"), process, log)
        yield Side(address, False, dict.fromkeys(people, password), process, {"name": f"{PREFIX}-"}, log.parent)
    finally:
        # not asked to stop: it would stop eighty servers one after another
        for member in family(process.pid):  # its proxy has a session of its own
            with suppress(ProcessLookupError):
                os.kill(int(member.name), signal.SIGKILL)
        process.wait()
        with ThreadPoolExecutor(REMOVED_AT_ONCE) as threads:
            left = client.containers.list(all=True, filters={"name": f"{PREFIX}-"})
            list(threads.map(lambda container: container.remove(force=True, v=True), left))


def answers(url: str) -> bool:
    """Whether a page is there."""
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def wait_until(there: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when ``there()``.

    Raises:
        BenchmarkError: the process ended, or it took too long.
    """
    deadline = time.monotonic() + OPENS_WITHIN_S
    while not there():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchmarkError(f"it did not open:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.1)


async def storm(client: docker.DockerClient, side: Side) -> Figures:
    """Log everybody in, then let everybody press start at once."""
    warm, *class_ = side.passwords
    async with AsyncExitStack() as browsers:
        visitors = [await browsers.enter_async_context(side.visitor(login)) for login in class_]
        async with side.visitor(warm) as visitor:
            await visitor.log_in()
            await visitor.press_start()
            await visitor.stop_server()
        turn = asyncio.Semaphore(LOG_INS_AT_ONCE)
        await asyncio.gather(*(log_in(visitor, turn) for visitor in visitors))
        await asyncio.sleep(SETTLE_S)

        before = cpu(side)
        clock = time.perf_counter
        began = clock()
        outcomes = await asyncio.gather(*(start(visitor) for visitor in visitors))
        used = {who: seconds - before[who] for who, seconds in cpu(side).items()}

    containers = client.containers.list(filters=dict(side.containers))
    used["containers"] = sum(cpu_seconds(container) for container in containers)
    used["engine"] += sum(cpu_seconds_of([shim(container)]) for container in containers)
    used["class"] = sum(seconds for who, seconds in used.items() if who not in ("machine", "simulator"))
    return Figures(
        waits=sorted(moment - began for moment in outcomes if isinstance(moment, float)),
        failures=[outcome for outcome in outcomes if isinstance(outcome, str)],
        cpu=used,
        memory_mib=sum(memory_mib(container) for container in containers),
    )


async def log_in(visitor: Visitor, turn: asyncio.Semaphore) -> None:
    """Log one student in."""
    async with turn:
        await visitor.log_in()


async def start(visitor: Visitor) -> float | str:
    """Press start; the moment at which the server's page was there, or why it never was."""
    try:
        await visitor.press_start()
    except (RehearsalError, TimeoutError, httpx.HTTPError) as error:
        return f"{visitor.login}: {type(error).__name__}: {error}"
    return time.perf_counter()


def cpu(side: Side) -> dict[str, float]:
    """CPU seconds used so far by the machine and by whom we know; the rest is containers, kernel threads and others."""
    found = dict.fromkeys(("machine", "hub", "proxy", "engine", "simulator"), 0.0)
    user, nice, system, _, _, irq, softirq = (int(field) for field in Path("/proc/stat").read_text().split()[1:8])
    found["machine"] = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    found["simulator"] = time.process_time()
    for process in family(side.process.pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            command = (process / "cmdline").read_bytes()
            who = "proxy" if b"configurable-http-proxy" in command else "hub" if b"jupyterhub" in command else ""
            if who:
                found[who] += cpu_seconds_of([process])
    engine: set[Path] = set()
    for file in PID_FILES:
        with suppress(FileNotFoundError):
            engine.update(family(int(file.read_text())))
    found["engine"] = cpu_seconds_of(engine)
    return found


def shim(container: Container) -> Path:
    """The folder under /proc of the process that runs a container for containerd; its children were runc."""
    stat = Path(f"/proc/{container.attrs['State']['Pid']}/stat").read_text()
    return Path("/proc") / stat.rpartition(")")[2].split()[1]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Interrupted; what was started is stopped and removed.")
