"""One class, really open, for all tests of this folder: proxy, hub, exchange, grading, containers, walls."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from gpuclass.rehearsal import Visitor
from gpuclass.settings import Settings, load
from tests.classroom.inside import PROBES, Inside

CLASS = """
[class]
name = "citest"
title = "시험 수업"

[site]
address = "http://localhost:18000"
port = 18000
proxy_api_port = 18001
hub_port = 18081
exchange_port = 18082
desk_port = 18083

[network]
subnet = "10.94.0.0/24"

[server]
memory = "2G"
tmp = "64M"
"""
ROSTER = """login,name,role,team
teacher,김선생,instructor,
mentor1,박멘토,mentor,1
s001,이하나,student,1
s002,최두리,student,1
s003,정세찬,student,2
operator,운영자,operator,
"""
OPENS_WITHIN_S = 900  # images may have to be built first


@dataclass
class OpenClass:
    """The running class and the way in."""

    settings: Settings
    passwords: dict[str, str]
    output: list[str]

    def visitor(self, login: str) -> Visitor:
        site = self.settings.site
        return Visitor(site.address, login, self.passwords[login], subdomains=site.subdomains, connect=str(site.listen))

    def logs(self) -> str:
        """The last lines of every process and container: what one wants to read when a test failed."""
        parts = []
        for path in sorted((self.settings.data / "log").glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-60:]
            parts.append(f"--- {path.name}\n" + "\n".join(lines))
        for container in containers():
            log = container.logs(tail=40).decode(errors="replace")
            parts.append(f"--- container {container.name}\n{log}")
        return "\n".join(parts)


@pytest.fixture(scope="package")
def classroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenClass]:
    """`gpuclass up` on a class of its own, closed again at the end; checks that nothing stays behind."""
    folder = Path("/var/tmp") / f"gpuclass-citest-{os.getpid()}"  # the service user must get there
    folder.mkdir(mode=0o755)
    (folder / "class.toml").write_text(CLASS, encoding="utf-8")
    (folder / "roster.csv").write_text(ROSTER, encoding="utf-8")
    settings = load(folder / "class.toml", environ={})
    process = subprocess.Popen(
        [sys.executable, "-m", "gpuclass", "up", "--passwords", str(folder / "logins.csv")],
        env={**os.environ, "GPUCLASS_CONFIG": str(settings.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output: list[str] = []
    open_class = OpenClass(settings, {}, output)
    reader = threading.Thread(target=lambda: output.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]  # PIPE above
    reader.start()
    try:
        _wait_until_open(process, open_class)
        with (folder / "logins.csv").open(encoding="utf-8-sig", newline="") as file:
            open_class.passwords.update({row["login"]: row["password"] for row in csv.DictReader(file)})
        yield open_class
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)
        reader.join(10)
        process.stdout.close()  # type: ignore[union-attr]  # PIPE above
        shutil.rmtree(folder)
    _nothing_stays_behind(settings)


def _wait_until_open(process: subprocess.Popen[str], open_class: OpenClass) -> None:
    deadline = time.monotonic() + OPENS_WITHIN_S
    while not any("The class is open" in line for line in open_class.output):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the class did not open:\n{''.join(open_class.output)}\n{open_class.logs()}")
        time.sleep(0.1)


def _nothing_stays_behind(settings: Settings) -> None:
    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout

    with closing(docker.from_env()) as client:
        assert settings.network_name not in [network.name for network in client.networks.list()]
    assert containers() == []
    assert "citest" not in said("nft", "list", "tables")
    assert str(settings.site.hub_port) not in said("pgrep", "-af", "configurable-http-proxy")


def containers() -> list[Container]:
    """The class's containers, running or not."""
    with closing(docker.from_env()) as client:
        return client.containers.list(all=True, filters={"label": "gpuclass.class=citest"})


@pytest.fixture
async def inside(classroom: OpenClass) -> AsyncIterator[Inside]:
    async with classroom.visitor("s001") as student:
        await student.log_in()
        await student.start_server()
        async with student.kernel() as kernel:
            assert not (await kernel.run(PROBES)).error
            yield Inside(kernel, student)


@pytest.fixture(autouse=True)
def logs_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put the class's logs into the report of a test that failed."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed and "classroom" in request.fixturenames:
        print(request.getfixturevalue("classroom").logs())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs Docker and the images."""
    for item in items:
        if "tests/classroom/" in item.nodeid:
            item.add_marker(pytest.mark.images)
