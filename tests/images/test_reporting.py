"""What a student's real server tells the desk, with a real kernel; and what a cell can do about it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gpuclass.desk.reports import Report, parse
from gpuclass.trial import Server
from tests.images.conftest import StartServer
from tests.images.test_notebook import notebook_kernel

pytestmark = pytest.mark.images

SESSION = "01-pixels-to-tensors"
NOTEBOOK = f"notebooks/{SESSION}/{SESSION}.ipynb"
OWN = "hunter2"


@dataclass
class DeskDouble:
    """Takes reports, as the desk's route does."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def newest(self) -> Report:
        """What the desk would keep."""
        return parse(self.bodies[-1], {SESSION}, datetime.now(UTC)) if self.bodies else Report()


@pytest.fixture
def desk() -> Iterator[DeskDouble]:
    double = DeskDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            double.asked.append(f"{self.path} {self.headers['Authorization']}")
            double.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    double.url = f"http://127.0.0.1:{server.server_port}/services/desk"
    yield double
    server.shutdown()
    server.server_close()


async def until(condition: Callable[[], Any], what: Callable[[], Any], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.1)


def make_notebook(home: Path, path: str = NOTEBOOK) -> None:
    (home / path).parent.mkdir(parents=True)
    (home / path).write_text("{}", encoding="utf-8")
    for folder in (home / path).parents:
        if folder.is_relative_to(home):
            folder.chmod(0o777)


async def test_the_desk_learns_where_somebody_is_and_what_fails_and_nothing_else(
    start: StartServer, home: Path, desk: DeskDouble
) -> None:
    make_notebook(home)
    with start(GPUCLASS_DESK_URL=desk.url) as server:
        async with notebook_kernel(server, NOTEBOOK) as kernel:
            await until(lambda: desk.newest.session == SESSION, lambda: desk.bodies)
            assert desk.newest.cells == 0, "it is known which notebook is open before a cell is run"
            for code in (
                f"password = '{OWN}'",
                f"print('{OWN}')",
                "%reset -f",
                f"raise ValueError('{OWN}')",
                f"class {OWN}(KeyError): pass\nraise {OWN}('{OWN}')",
                f"def {OWN}(:",
            ):
                await kernel.run(code)
            for _ in range(3):
                assert (await kernel.run(f"import os; open('{OWN}')")).error == "FileNotFoundError"
            await until(lambda: desk.newest.cells == 9, lambda: desk.bodies)
            report = desk.newest
            assert (report.kind, report.repeated, report.busy) == ("lecture", 3, False)
            counts = {error.name: error.count for error in report.errors}
            assert counts == {"ValueError": 1, "KeyError": 1, "SyntaxError": 1, "FileNotFoundError": 3}

            sleeping = asyncio.create_task(kernel.run("import time; time.sleep(6)"))
            await until(lambda: desk.newest.busy, lambda: desk.bodies)
            await sleeping
            await until(lambda: not desk.newest.busy, lambda: desk.bodies)
    assert OWN not in b"".join(desk.bodies).decode()
    assert set(desk.asked) == {"/services/desk/own/report token any"}
    keys = {key for body in desk.bodies for key in json.loads(body)}
    assert keys == {"session", "kind", "cells", "errors", "repeated", "busy", "at"}


FORKS = """
import os, subprocess, sys, threading
child = os.fork()
if child == 0:
    get_ipython().run_cell("1/0")
    os._exit(0)
os.waitpid(child, 0)
"""
LIAR = """
import socket, subprocess, sys
code = '''
import socket
lie = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
lie.connect("/tmp/gpuclass/reports")
lie.send(b'{"cells": 777, "errors": {"LieError": 7}, "repeated": 7}')
'''
subprocess.run([sys.executable, "-c", code], check=True)
"""
TERMINAL = """
import subprocess
print(subprocess.run(["ipython", "-c", "1/0"], capture_output=True).returncode)
"""


async def test_forks_other_processes_and_a_lost_socket_upset_neither_cells_nor_counts(
    start: StartServer, home: Path, desk: DeskDouble
) -> None:
    make_notebook(home)
    with start(GPUCLASS_DESK_URL=desk.url) as server:
        async with notebook_kernel(server, NOTEBOOK) as kernel:
            assert not (await kernel.run(FORKS)).error
            assert not (await kernel.run(LIAR)).error
            assert (await kernel.run(TERMINAL)).printed == "1\n", "the error is the program's own"
            threads = "import threading\nt = threading.Thread(target=print)\nt.start(); t.join()"
            assert not (await kernel.run(threads)).error
            await until(lambda: desk.newest.cells == 4, lambda: desk.bodies)
            assert desk.newest.errors == ()
            removed = await kernel.run("import os; os.unlink('/tmp/gpuclass/reports')")
            again = await kernel.run("6 * 7")
            assert (removed.error, again.value, again.printed) == ("", "42", "")
        await asyncio.sleep(3)
        assert desk.newest.cells == 4, "who takes the socket away is not reported on"
        assert "[E " not in server.log()


@pytest.mark.parametrize("more", [{"GPUCLASS_REPORTS": "0"}, {"GPUCLASS_ROLE": "instructor"}])
async def test_turned_off_nothing_is_sent_and_nobody_listens(
    more: dict[str, str], start: StartServer, home: Path, desk: DeskDouble
) -> None:
    make_notebook(home)
    with start(GPUCLASS_DESK_URL=desk.url, **more) as server:
        async with notebook_kernel(server, NOTEBOOK) as kernel:
            looked = await kernel.run(
                "import os, sys\n"
                "print(os.path.exists('/tmp/gpuclass/reports'), 'gpuclass.reporting.telling' in sys.modules)"
            )
            assert looked.printed == "False False\n"
        await asyncio.sleep(3)
    assert desk.bodies == []


async def test_a_desk_that_is_away_is_no_concern_of_a_server(start: StartServer, home: Path, desk: DeskDouble) -> None:
    make_notebook(home)
    with start(GPUCLASS_DESK_URL="http://127.0.0.1:9/services/desk") as server:
        async with notebook_kernel(server, NOTEBOOK) as kernel:
            assert (await kernel.run("1 + 1")).value == "2"
        await asyncio.sleep(3)
        assert listening(server)
        assert "desk" not in server.log()
    assert desk.bodies == []


def listening(server: Server) -> bool:
    found: bool = server.container.exec_run(["test", "-S", "/tmp/gpuclass/reports"]).exit_code == 0
    return found
