"""Students submit a megabyte each at the same second, then many within a minute: our exchange, nbgrader's and ngshare.

    python benchmarks/exchange.py [--burst 80] [--spread 500 --within 60] [--runs 3] [--only gpuclass|stock|ngshare]

Real servers, and real clients through nbgrader's own entry point, one exchange after the other on the same machine and
disk. A student's wait is from the moment of the press until the client says that it is submitted. Afterwards every
submission is read back from where it was kept, and what is not there to the byte is lost. benchmarks/submitting has the
parts; docs/explanation/exchange.md says more. The last line is one line of JSON, times in seconds; of several runs, the
run with the median p95 is shown for each exchange, with what was lost or failed in all of them.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import os
import random
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.submitting import ngshare
from gpuclass import ROOT, roster
from gpuclass.accounts import Accounts
from gpuclass.settings import CONFIG_VARIABLE, load
from gpuclass.trial import cpu_seconds_of, family

COURSE, ASSIGNMENT, NOTEBOOK = "camp", "ps1", "ps1.ipynb"
TEACHER = "teacher"
FIRST = "first"  # presses alone, before the others, and is not counted
PICTURE = 768 * 1024  # random bytes; in base64, as notebooks hold pictures, they are a megabyte
SEED = 20260302  # of the presses within a minute: the same seconds for every exchange
OPENS_WITHIN_S = 60
EXCHANGES = ("stock", "ngshare", "gpuclass")


@dataclass(frozen=True)
class Exchange:
    """One of the three, running.

    Attributes:
        submit: name of nbgrader's class for submitting.
        config: nbgrader's configuration for it.
        environment: of the students' processes.
        path: more to import from, for them.
        server: the process that serves; None where there is only a folder.
        kept: SHA-256 sums of the notebooks that a login has submitted, by the bytes that come back.
    """

    submit: str
    config: Mapping[str, Mapping[str, str]]
    environment: Mapping[str, str]
    path: str
    server: int | None
    kept: Callable[[str], set[str]]

    def server_cpu(self) -> float:
        """CPU seconds of the serving process so far."""
        return 0.0 if self.server is None else cpu_seconds_of(family(self.server))


@dataclass(frozen=True)
class Load:
    """How many press, and within how many seconds; 0 is all at once."""

    students: int
    within: float

    def moments(self) -> list[float]:
        """The second of each press."""
        chance = random.Random(SEED)  # noqa: S311  # not for secrets
        return sorted(chance.uniform(0, self.within) for _ in range(self.students))


@dataclass(frozen=True)
class Figures:
    """What one exchange did with one load.

    Attributes:
        waits: seconds from press to receipt, ascending, of those who got one.
        failures: what the others were told.
        lost: logins who got a receipt for what is not there.
        cpu: CPU seconds of the server and of all clients.
    """

    waits: list[float]
    failures: list[str]
    lost: list[str]
    cpu: Mapping[str, float]

    @property
    def p95(self) -> float:
        """Nobody of 95 in a hundred waited longer; without end where not so many got a receipt."""
        everybody = len(self.waits) + len(self.failures)
        place = math.ceil(everybody * 0.95) - 1
        return self.waits[place] if place < len(self.waits) else math.inf


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, say whether everybody got a receipt of ours and nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--burst", type=int, default=80, help="how many submit at once (default: 80; 0: skip)")
    parser.add_argument(
        "--spread", type=int, default=500, help="how many submit within a while (default: 500; 0: skip)"
    )
    parser.add_argument("--within", type=float, default=60, help="that while, in seconds (default: 60)")
    parser.add_argument("--runs", type=int, default=3, help="of each load (default: 3)")
    parser.add_argument("--only", choices=EXCHANGES, help="measure one, without a ratio")
    options = parser.parse_args(arguments)

    loads = {"burst": Load(options.burst, 0), "spread": Load(options.spread, options.within)}
    names = [options.only] if options.only else EXCHANGES
    lines = {}
    for kind, load_ in loads.items():
        if load_.students:
            found: dict[str, list[Figures]] = {name: [] for name in names}
            for run in range(options.runs):
                for name in names:
                    figures = measure(name, load_)
                    found[name].append(figures)
                    print(f"{kind}, run {run + 1}: {name:8} {json.dumps(line(load_, [figures]))}", flush=True)
                    for text in sorted(set(figures.failures))[:3]:
                        print(f"  {text}")
            lines[kind] = {name: line(load_, runs) for name, runs in found.items()}
    return report(lines)


def line(load_: Load, runs: Sequence[Figures]) -> dict[str, Any]:
    """One exchange's figures under one load: of the run with the median p95, with all that went wrong in any."""
    middle = sorted(runs, key=lambda run: run.p95)[(len(runs) - 1) // 2]
    waits = middle.waits
    return {
        "n": load_.students,
        "receipts": len(waits),
        "failed": sum(len(run.failures) for run in runs),
        "lost": sum(len(run.lost) for run in runs),
        "p50": round(statistics.median(waits), 3) if waits else None,
        "p95": round(middle.p95, 3) if math.isfinite(middle.p95) else None,
        "max": round(waits[-1], 3) if waits else None,
        "cpu_seconds": {who: round(seconds, 2) for who, seconds in middle.cpu.items()},
    }


def report(lines: Mapping[str, dict[str, Any]]) -> int:
    """Print the last line; the exit status: 0 when all of ours got receipts and none was lost.

    ``ratio`` is our p95 over that of the faster of the other two, ``ngshare_ratio`` over ngshare's. There is no limit
    on either: a copy that nobody waits for to be on disk, as stock's is, will always be faster.
    """
    good = True
    for figures in lines.values():
        ours = figures.get("gpuclass")
        if ours is None:
            continue
        good = good and ours["failed"] == ours["lost"] == 0
        others = {name: figures[name]["p95"] for name in ("stock", "ngshare") if figures.get(name, {}).get("p95")}
        if ours["p95"] and others:
            figures["ratio"] = round(ours["p95"] / min(others.values()), 3)
        if ours["p95"] and "ngshare" in others:
            figures["ngshare_ratio"] = round(ours["p95"] / others["ngshare"], 3)
    print(json.dumps({"benchmark": "exchange", **lines}))
    return 0 if good else 1


def measure(name: str, load_: Load) -> Figures:
    """One load on one exchange, from nothing, removed at the end."""
    logins = [f"s{number:04d}" for number in range(load_.students)]
    folder = Path("/var/tmp") / f"gpuclass-exchange-{name}-{os.getpid()}"  # a disk; /tmp may be memory
    folder.mkdir(mode=0o755)
    try:
        sums = {login: write_home(folder / "homes" / login, login) for login in [FIRST, *logins]}
        with ExitStack() as stack:
            exchange = stack.enter_context(OPEN[name](folder, [FIRST, *logins]))
            os.sync()  # what was prepared is on disk before the first second
            before = exchange.server_cpu()
            outcomes = press(exchange, folder, load_, logins)
            server = exchange.server_cpu() - before
            done = [outcome["login"] for outcome in outcomes if not outcome["failure"]]
            lost = [login for login in done if sums[login] not in exchange.kept(login)]
        said = [outcome["failure"] for outcome in outcomes if outcome["failure"]]
        silent = ["the student's process ended without a word"] * (load_.students - len(outcomes))
        return Figures(
            waits=sorted(outcome["wait"] for outcome in outcomes if not outcome["failure"]),
            failures=said + silent,
            lost=lost,
            cpu={"server": server, "clients": sum(outcome["cpu"] for outcome in outcomes)},
        )
    finally:
        shutil.rmtree(folder)


def press(exchange: Exchange, folder: Path, load_: Load, logins: Sequence[str]) -> list[dict[str, Any]]:
    """Let the students press; what each found."""

    def student(login: str, at: float) -> dict[str, Any]:
        return {"login": login, "token": f"token-of-{login}", "home": str(folder / "homes" / login), "at": at}

    plan = {
        "course": COURSE,
        "assignment": ASSIGNMENT,
        "environment": dict(exchange.environment),
        "config": {"ExchangeFactory": {"submit": exchange.submit}, **exchange.config},
        "first": student(FIRST, 0),
        "students": [student(login, at) for login, at in zip(logins, load_.moments(), strict=True)],
    }
    file = folder / "plan.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.submitting.students", str(file)],
        env={**os.environ, "PYTHONPATH": exchange.path, "JUPYTERHUB_USER": FIRST, **exchange.environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    outcomes: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return outcomes


def write_home(home: Path, login: str) -> str:
    """A student's folder of the assignment; the SHA-256 of its notebook."""
    place = home / ASSIGNMENT
    place.mkdir(parents=True)
    content = notebook(base64.encodebytes(secrets.token_bytes(PICTURE)).decode(), login)
    (place / NOTEBOOK).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def notebook(picture: str = "", author: str = "") -> bytes:
    """A notebook with one cell, and its output if there is one."""
    output = {"output_type": "display_data", "data": {"image/png": picture}, "metadata": {}}
    cell = {
        "cell_type": "code",
        "execution_count": 1,
        "id": "one",
        "metadata": {},
        "outputs": [output] if picture else [],
        "source": f"show(model)  # {author}",
    }
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1).encode()


# The three exchanges


@contextmanager
def stock(folder: Path, logins: Sequence[str]) -> Iterator[Exchange]:
    """nbgrader's own: a folder that everybody may write to."""
    root = folder / "exchange"
    inbound, outbound = root / COURSE / "inbound", root / COURSE / "outbound" / ASSIGNMENT
    inbound.mkdir(parents=True)
    outbound.mkdir(parents=True)
    for shared in (root, inbound):
        shared.chmod(0o777)
    (outbound / NOTEBOOK).write_bytes(notebook())
    sums: list[str] = []

    def kept(login: str) -> set[str]:
        if not sums:  # all of them lie under one Unix user here, so they are told apart by what is in them
            files = inbound.glob(f"*/{NOTEBOOK}")
            sums.extend(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
        return set(sums)

    yield Exchange(
        "nbgrader.exchange.default.ExchangeSubmit",
        {"Exchange": {"root": str(root)}, "CourseDirectory": {"course_id": COURSE}},
        {},
        "",
        None,
        kept,
    )


@contextmanager
def ngshares(folder: Path, logins: Sequence[str]) -> Iterator[Exchange]:
    """ngshare, as a service of a hub."""
    address = loopback()
    port, place = free_port(address), folder / "ngshare"
    place.mkdir()
    with hub(address) as hub_port:
        hub_api = f"http://{address}:{hub_port}/hub/api"
        with ngshare.serving(place, hub_api, address, port, [TEACHER]) as process:
            url = f"http://{address}:{port}{ngshare.PREFIX}"
            with as_teacher(url) as teacher:
                said(teacher.post(f"course/{COURSE}"))
                names = {"first_name": "", "last_name": "", "email": ""}
                students = json.dumps([{"username": login, **names} for login in logins])
                said(teacher.post(f"students/{COURSE}", data={"students": students}))
                said(teacher.post(f"assignment/{COURSE}/{ASSIGNMENT}", data={"files": encoded(notebook())}))
                yield Exchange(
                    "ngshare_exchange.ExchangeSubmit",
                    {"Exchange": {"_ngshare_url": url}},
                    {},
                    str(ngshare.installed()),
                    process.pid,
                    lambda login: read_back(teacher, login),
                )


@contextmanager
def ours(folder: Path, logins: Sequence[str]) -> Iterator[Exchange]:
    """Our service, every setting at its default but names and ports."""
    address = loopback()
    with hub(address) as hub_port:
        config = folder / "class.toml"
        config.write_text(
            f'[class]\nname = "{COURSE}"\ntitle = "Camp"\n[site]\nhub_port = {hub_port}\n'
            f'exchange_port = {free_port(address)}\n[network]\nsubnet = "{address.rpartition(".")[0]}.0/24"\n'
        )
        people = [f"{TEACHER},{TEACHER},instructor,", *(f"{login},{login},student," for login in logins)]
        (folder / "roster.csv").write_text("\n".join(["login,name,role,team", *people]), encoding="utf-8")
        settings = load(config)
        Accounts(settings.accounts_path).apply(roster.read(settings.roster_path), {})
        with (folder / "exchange.log").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "gpuclass", "exchange", "serve"],
                env={**os.environ, CONFIG_VARIABLE: str(config)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            url = settings.exchange_url
            wait_for(f"{url}/gpuclass/v1/health", process, folder / "exchange.log")
            with as_teacher(f"{url}/api") as teacher:
                said(teacher.post(f"assignment/{COURSE}/{ASSIGNMENT}", data={"files": encoded(notebook())}))
                yield Exchange(
                    "gpuclass.exchange.client.classes.ExchangeSubmit",
                    {},
                    {
                        "GPUCLASS_EXCHANGE_URL": url,
                        "GPUCLASS_COURSE": COURSE,
                        "GPUCLASS_LANGUAGE": "en",
                        "GPUCLASS_TIMEZONE": "Asia/Seoul",
                    },
                    "",
                    process.pid,
                    lambda login: read_back(teacher, login),
                )
        finally:
            process.terminate()
            process.wait()


OPEN = {"stock": stock, "ngshare": ngshares, "gpuclass": ours}


@contextmanager
def hub(address: str) -> Iterator[int]:
    """A double of the hub in a process of its own; its port."""
    port = free_port(address)
    command = [sys.executable, "-m", "benchmarks.submitting.hub", address, str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_for(f"http://{address}:{port}/", process, None)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path | None) -> None:
    """Return when something answers there.

    Raises:
        RuntimeError: the process ended, or it took too long; with its log.
    """
    deadline = time.monotonic() + OPENS_WITHIN_S
    while True:
        try:
            httpx.get(url)
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace") if log else url) from None
            time.sleep(0.05)
        else:
            return


def as_teacher(url: str) -> httpx.Client:
    """What the teacher sends requests with, below ``url``."""
    return httpx.Client(base_url=url, headers={"Authorization": f"token token-of-{TEACHER}"}, timeout=120)


def said(answer: httpx.Response) -> Any:
    """What an exchange answered, when it said yes.

    Raises:
        RuntimeError: it said no.
    """
    if answer.status_code != httpx.codes.OK or not answer.json()["success"]:
        raise RuntimeError(f"{answer.request.url}: {answer.status_code} {answer.text[:300]}")
    return answer.json()


def encoded(content: bytes) -> str:
    """A folder with the one notebook, as ngshare's API wants it."""
    return json.dumps([{"path": NOTEBOOK, "content": base64.b64encode(content).decode()}])


def read_back(teacher: httpx.Client, login: str) -> set[str]:
    """SHA-256 sums of a student's notebooks as the server gives them out."""
    answer = teacher.get(f"submission/{COURSE}/{ASSIGNMENT}/{login}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return set()
    contents = [base64.b64decode(file["content"]) for file in said(answer)["files"] if file["path"] == NOTEBOOK]
    return {hashlib.sha256(content).hexdigest() for content in contents}


def loopback() -> str:
    """A loopback address that hardly anybody else uses; its /24 is the class's network."""
    return f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.1"


def free_port(address: str) -> int:
    """A port that is free there now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
