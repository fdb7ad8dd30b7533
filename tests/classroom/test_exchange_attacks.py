"""Attacks on the exchange from where students are: their own container, with its address, token and client."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from gpuclass.exchange.store.store import Store
from gpuclass.rehearsal import Kernel
from tests.classroom.conftest import OpenClass
from tests.classroom.inside import PROBES

ASSIGNMENT = "attacked"
NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})

HOLD = """
held = []
def hold(count, address):
    for _ in range(count):
        try:
            held.append(socket.create_connection(address, 3))
        except OSError:
            break
    time.sleep(1)
    alive = 0
    for connection in held:
        connection.setblocking(False)
        try:
            alive += connection.recv(1) != b""
        except BlockingIOError:
            alive += 1
        except OSError:
            pass
    return alive
"""


async def value(kernel: Kernel, expression: str) -> Any:
    """An expression's value in somebody's container, as JSON."""
    result = await kernel.run(f"print(json.dumps({expression}))")
    assert not result.error, result.text
    return json.loads(result.printed)


@asynccontextmanager
async def seated(classroom: OpenClass, login: str) -> AsyncIterator[Kernel]:
    """Somebody's kernel in their own container, with the probes in it."""
    async with classroom.visitor(login) as person:
        await person.log_in()
        await person.start_server()
        async with person.kernel() as kernel:
            assert not (await kernel.run(PROBES + HOLD)).error
            yield kernel


@pytest.fixture
async def released(classroom: OpenClass) -> None:
    """An assignment, released from the teacher's container."""
    tree = json.dumps([{"path": "one.ipynb", "content": base64.b64encode(NOTEBOOK.encode()).decode()}])
    url = f"{classroom.settings.exchange_url}/gpuclass/v1/assignment/{classroom.settings.course}/{ASSIGNMENT}"
    async with seated(classroom, "teacher") as teacher:
        form = urlencode({"files": tree})
        found = await value(teacher, f"http('PUT', {url!r}, data={form.encode()!r})")
        assert found["status"] == 200, found


def stored(classroom: OpenClass) -> list[tuple[str, dict[str, bytes]]]:
    """Who submitted what, from the store itself."""
    with Store(classroom.settings.exchange_folder) as store:
        return [
            (each.student, {file.path: store.read(file) for file in store.files(each)})
            for each in store.submissions(classroom.settings.course, ASSIGNMENT)
        ]


@pytest.mark.usefixtures("released")
async def test_links_pipes_devices_and_planted_files_of_a_real_home_are_not_sent(classroom: OpenClass) -> None:
    plant = f"""
import subprocess, pathlib
home = pathlib.Path.home()
folder = home / "{ASSIGNMENT}"
def nbgrader(command):
    done = subprocess.run(["nbgrader", command, folder.name], cwd=home, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
nbgrader("fetch_assignment")
became = {{}}
def attempt(name, work):
    try:
        work()
        became[name] = "made"
    except OSError as error:
        became[name] = error.strerror
attempt("link", lambda: (folder / "passwd").symlink_to("/etc/passwd"))
attempt("token", lambda: (folder / "environ").symlink_to("/proc/self/environ"))
attempt("folder", lambda: (folder / "etc").symlink_to("/etc"))
attempt("pipe", lambda: os.mkfifo(folder / "pipe.ipynb"))
attempt("device", lambda: os.mknod(folder / "zero", 0o20666, os.makedev(1, 5)))
attempt("hard link", lambda: os.link("/etc/passwd", folder / "hard"))
attempt("sparse", lambda: ((folder / "big.bin").touch(), os.truncate(folder / "big.bin", 2**40)))
attempt("old time", lambda: (folder / "timestamp.txt").write_text("1999-01-01 00:00:00.000000 UTC"))
(folder / "feedback").mkdir(exist_ok=True)
(folder / "feedback" / "one.html").write_text("<script>alert(1)</script>")
"""
    async with seated(classroom, "s001") as student:
        assert not (result := await student.run(plant)).error, result.text
        became = await value(student, "became")
        assert became["device"] == "Operation not permitted"
        assert became["hard link"] != "made"
        assert became["pipe"] == became["link"] == "made"
        assert not (result := await student.run('nbgrader("submit")')).error, result.text
    files = [files for login, files in stored(classroom) if login == "s001"][-1]
    assert set(files) == {"one.ipynb"}


@pytest.mark.usefixtures("released")
async def test_from_a_container_nobody_submits_for_another_or_at_another_time(classroom: OpenClass) -> None:
    url, course = classroom.settings.exchange_url, classroom.settings.course
    tree = json.dumps([{"path": "one.ipynb", "content": ""}, {"path": "timestamp.txt", "content": ""}])
    form = urlencode({"files": tree, "student": "s002", "user": "s002", "timestamp": "1999-01-01 00:00:00.0 UTC"})
    forged = {"X-Forwarded-User": "s002", "Cookie": "jupyterhub-session-id=x", "Date": "Fri, 01 Jan 1999 00:00:00 GMT"}
    paths = [f"api/submission/{course}/{ASSIGNMENT}?user=s002", f"api/submission/{course}/{ASSIGNMENT}/s002"]
    before = stored(classroom)
    async with seated(classroom, "s001") as student:
        for path in paths:
            call = f"http('POST', '{url}/{path}', data={form.encode()!r}, **{forged!r})"
            found = await value(student, call)
            assert found["status"] in (200, 405), found
            if found["status"] == 200:
                assert json.loads(found["body"])["timestamp"] > "2026"
        for name in ("../../s002/one.ipynb", "/etc/cron.d/x", "a\\u0000b", "a+b/../c"):
            tree = json.dumps([{"path": name.replace("\\u0000", "\0"), "content": ""}])
            data = urlencode({"files": tree}).encode()
            found = await value(student, f"http('POST', '{url}/api/submission/{course}/{ASSIGNMENT}', data={data!r})")
            assert found["status"] == 400, (name, found)
    assert {login for login, _ in stored(classroom)[len(before) :]} == {"s001"}


@pytest.mark.usefixtures("released")
async def test_one_containers_connections_are_bounded_and_a_neighbour_does_not_notice(classroom: OpenClass) -> None:
    settings = classroom.settings
    address = (str(settings.gateway), settings.site.exchange_port)
    path = f"{settings.exchange_url}/api/assignment/{settings.course}/{quote(ASSIGNMENT)}"
    async with seated(classroom, "s001") as attacker, seated(classroom, "s002") as neighbour:
        assert await value(attacker, f"hold(1500, {address!r})") <= 32
        begin = asyncio.get_running_loop().time()
        for _ in range(5):
            assert (await value(neighbour, f"http('GET', {path!r})"))["status"] == 200
        assert asyncio.get_running_loop().time() - begin < 10
        with socket.create_connection(address, 3):
            pass  # and the machine itself comes through
