"""What a kernel counts, what the server hears of it, and when it posts; without a container."""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler
from traitlets.config import Config

from gpuclass.desk.reports import parse
from gpuclass.reporting import CLASSES_LIMIT, DATAGRAM_LIMIT, wanted
from gpuclass.reporting.listening import COUNT_LIMIT, IN_A_WINDOW, WINDOW_S, Listener, Said, understood
from gpuclass.reporting.posting import (
    EVERY_S,
    LONGEST_S,
    LOOK_S,
    PLACES_LIMIT,
    Kind,
    Place,
    Reporting,
    Sum,
    place_of,
    poster,
)
from gpuclass.reporting.telling import Cells, reported

ON = {"GPUCLASS_DESK_URL": "http://10.89.0.1:8083/services/desk"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        (ON, True),
        (ON | {"GPUCLASS_REPORTS": "1", "GPUCLASS_ROLE": "student"}, True),
        (ON | {"GPUCLASS_REPORTS": "0"}, False),
        (ON | {"GPUCLASS_ROLE": "instructor"}, False),
        ({"GPUCLASS_DESK_URL": "", "GPUCLASS_REPORTS": "1"}, False),
    ],
)
def test_students_report_where_there_is_a_desk_that_wants_it(environ: dict[str, str], expected: bool) -> None:
    assert wanted(environ) is expected


# The kernel's part


@pytest.fixture
def cells(tmp_path: Path) -> Cells:
    return Cells(tmp_path / "ear")


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What comes at the server's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "ear"))
        heard.setblocking(False)

        def all_heard() -> list[dict[str, Any]]:
            found = []
            while True:
                try:
                    found.append(json.loads(heard.recv(DATAGRAM_LIMIT)))
                except BlockingIOError:
                    return found

        yield all_heard


def test_cells_and_error_classes_are_counted(cells: Cells) -> None:
    for error in (None, ValueError("mine"), KeyError(), ValueError(), None):
        cells.count("a", error)
    assert (cells.cells, cells.errors) == (5, {"ValueError": 2, "KeyError": 1})


def test_the_same_cell_failing_with_the_same_class_is_repeated(cells: Cells) -> None:
    for expected in (1, 2, 3):
        cells.count("a", ValueError())
        assert cells.repeated == expected
    cells.count("a", KeyError())
    assert cells.repeated == 1, "another error is a step on"
    cells.count("b", KeyError())
    assert cells.repeated == 1, "and so is another cell"


def test_mending_another_cell_in_between_does_not_hide_that_somebody_is_stuck(cells: Cells) -> None:
    cells.count("a", ValueError())
    cells.count("b", None)
    cells.count("a", ValueError())
    assert cells.repeated == 2
    cells.count("a", None)
    assert cells.repeated == 0


@pytest.mark.parametrize("stopped", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError()])
def test_a_cell_that_somebody_stopped_is_no_error(cells: Cells, stopped: BaseException) -> None:
    cells.count("a", stopped)
    assert (cells.cells, cells.errors, cells.repeated) == (1, {}, 0)


def made_up(name: str, *bases: type) -> type[BaseException]:
    return type(name, bases or (Exception,), {"__module__": "__main__"})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (json.JSONDecodeError("mine", "mine", 0), "JSONDecodeError"),
        (made_up("MyDiaryOfToday")(), "Exception"),
        (made_up("비밀", LookupError)(), "LookupError"),
        (made_up("Inner", made_up("Outer", KeyError))(), "KeyError"),
        (type("x" * 61, (OSError,), {"__module__": "library"})(), "OSError"),
        (type("print(1)", (OSError,), {"__module__": "library"})(), "OSError"),
    ],
)
def test_a_class_that_the_notebook_made_up_is_told_as_what_it_derives_from(error: BaseException, expected: str) -> None:
    assert reported(error) == expected


def test_the_number_of_classes_and_a_datagram_are_bounded(cells: Cells, ear: Callable[[], list[Any]]) -> None:
    for number in range(500):
        kind = type(f"{'E' * 55}{number:03}", (Exception,), {"__module__": "library"})
        cells.count("a", kind())
    cells.tell()
    (said,) = ear()
    assert len(said["errors"]) == CLASSES_LIMIT + 1
    assert sum(said["errors"].values()) == 500
    assert understood(json.dumps(said).encode()) == Said(500, said["errors"], cells.repeated)


def test_nothing_but_totals_is_sent(cells: Cells, ear: Callable[[], list[Any]]) -> None:
    cells.count("secret-cell", ValueError("secret text"))
    cells.tell()
    assert ear() == [{"cells": 1, "errors": {"ValueError": 1}, "repeated": 1}]


def test_a_socket_that_is_away_or_full_is_nobodys_concern(tmp_path: Path, cells: Cells) -> None:
    cells.tell()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(str(tmp_path / "ear"))
        for _ in range(2000):  # nobody reads: a blocking send would stop here for ever
            cells.tell()
    cells.tell()  # the file is there, and nobody behind it
    (tmp_path / "ear").unlink()
    (tmp_path / "ear").mkdir()
    cells.tell()


@pytest.fixture
def shell(cells: Cells) -> Any:
    """IPython as a kernel has it, without a kernel and without a history on the disk."""
    shell = InteractiveShell(config=Config({"HistoryAccessor": {"enabled": False}}))  # type: ignore[no-untyped-call]  # no annotations
    shell.events.register("post_run_cell", cells.after_cell)
    return shell


def test_ipython_says_which_cell_has_ended_and_how(
    shell: Any, cells: Cells, ear: Callable[[], list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell("x = 1", cell_id="a")
    shell.run_cell("def f(:", cell_id="b")
    shell.run_cell("def g(:", cell_id="b")
    shell.run_cell("%reset -f", cell_id="c")
    shell.run_cell("x", cell_id="d")
    shell.run_cell("1/0", silent=True)
    assert ear()[-1] == {"cells": 5, "errors": {"SyntaxError": 2, "NameError": 1}, "repeated": 1}
    assert "Error in callback" not in capsys.readouterr().out


def test_a_class_that_resists_being_looked_at_breaks_no_cell(
    shell: Any, cells: Cells, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
        class Meta(type):
            def __getattribute__(cls, name):
                if name in ("__mro__", "__module__", "__name__"):
                    raise RuntimeError(name)
                return super().__getattribute__(name)
        class Odd(ValueError, metaclass=Meta):
            pass
        raise Odd
    """
    shell.showtraceback = lambda *_, **__: None  # IPython's own stumbles over it
    shell.run_cell(textwrap.dedent(code))
    assert shell.run_cell("2 + 2").result == 4
    assert "Error in callback" not in capsys.readouterr().out
    assert cells.cells == 2


def test_a_child_that_a_cell_forked_tells_nothing(cells: Cells, ear: Callable[[], list[Any]]) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from IPython.core.interactiveshell import InteractiveShell
        from gpuclass.reporting.telling import Cells
        from traitlets.config import Config
        shell = InteractiveShell(config=Config({"HistoryAccessor": {"enabled": False}}))
        cells = Cells(Path(sys.argv[1]))
        shell.events.register("post_run_cell", cells.after_cell)
        shell.run_cell("import os; child = os.fork()")
        if shell.user_ns["child"] == 0:
            shell.run_cell("1/0")
            os._exit(0)
        os.waitpid(shell.user_ns["child"], 0)
        shell.run_cell("import subprocess, threading; subprocess.run(['true'])")
        shell.run_cell("t = threading.Thread(target=lambda: 1 / 1); t.start(); t.join()")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), cells._path], check=True, capture_output=True)
    assert [said["cells"] for said in ear()] == [1, 2, 3]


# What the server hears


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"cells": 3, "errors": {"ValueError": 1}, "repeated": 2}', Said(3, {"ValueError": 1}, 2)),
        (b'{"cells": 3, "errors": {}, "repeated": 2, "code": "1"}', Said(3, {}, 2)),
        (b'{"cells": 1e3, "errors": {}, "repeated": 2}', None),
        (b'{"cells": 99999999999999, "errors": {}, "repeated": -1}', Said(COUNT_LIMIT, {}, 0)),
        (b'{"cells": true, "errors": {"E": "2"}, "repeated": 0}', Said(0, {"E": 0}, 0)),
        (b'{"cells": 1, "errors": {"a b": 1, "E": 1}, "repeated": 0}', Said(1, {"E": 1}, 0)),
        (json.dumps({"cells": 1, "errors": {f"E{n}": 1 for n in range(50)}, "repeated": 0}).encode(), None),
        (b"[" * 2000, None),
        (b"1" * 2000, None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_a_datagram_is_understood_or_dropped(content: bytes, expected: Said | None) -> None:
    assert understood(content) == expected


@asynccontextmanager
async def listener(path: Path) -> AsyncIterator[list[tuple[int, Said]]]:
    heard: list[tuple[int, Said]] = []
    found = Listener(lambda pid, said: heard.append((pid, said)), path)
    found.start()
    try:
        yield heard
    finally:
        found.close()


def sender(path: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.connect(str(path))
    return found


SAID = b'{"cells": 1, "errors": {}, "repeated": 0}'


async def test_the_operating_system_says_who_speaks(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "ear"
    async with listener(path) as heard:
        Cells(path).tell()
        code = "from gpuclass.reporting.telling import *; import sys; Cells(Path(sys.argv[1])).tell()"
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(path))
        await child.wait()
        await asyncio.sleep(0.05)
        assert [pid for pid, _ in heard] == [os.getpid(), child.pid]
    assert list(path.parent.iterdir()) == []


async def test_nobody_speaks_for_another_process(tmp_path: Path) -> None:
    async with listener(tmp_path / "ear") as heard:
        with sender(tmp_path / "ear") as speaker:
            claim = struct.pack("3i", 1, os.getuid(), os.getgid())
            if os.geteuid() != 0:  # root may claim to be anybody; in a container nobody is root
                with pytest.raises(PermissionError):
                    speaker.sendmsg([SAID], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, claim)])
            speaker.send(SAID)
        await asyncio.sleep(0.05)
        assert [pid for pid, _ in heard] == [os.getpid()]


async def test_open_files_that_are_sent_along_do_not_stay_open(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with listener(tmp_path / "ear") as heard:
        before = open_files()
        with sender(tmp_path / "ear") as speaker:
            for _ in range(5):
                speaker.sendmsg([SAID], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 20))])
        await asyncio.sleep(0.05)
        assert open_files() == before
        assert len(heard) == 5


async def test_what_is_too_long_or_nonsense_is_dropped(tmp_path: Path) -> None:
    async with listener(tmp_path / "ear") as heard:
        with sender(tmp_path / "ear") as speaker:
            for content in (SAID.ljust(DATAGRAM_LIMIT + 1), b"nonsense", b"", SAID):
                speaker.send(content)
        await asyncio.sleep(0.05)
        assert len(heard) == 1


@pytest.mark.parametrize("pause", ["", "; time.sleep(0.0003)"], ids=["as fast as can be", "between two looks"])
async def test_somebody_who_shouts_makes_the_server_rest(pause: str, tmp_path: Path) -> None:
    code = f"""
        import socket, sys, time
        speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        speaker.connect(sys.argv[1])
        while True:
            speaker.send(b'{{"cells": 1, "errors": {{}}, "repeated": 0}}'){pause}
    """
    loop = asyncio.get_running_loop()
    async with listener(tmp_path / "ear") as heard:
        began = loop.time()
        shouting = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "ear")
        )
        try:
            await asyncio.sleep(1.6)
            windows = (loop.time() - began) / WINDOW_S + 1
            assert IN_A_WINDOW < len(heard) <= windows * IN_A_WINDOW
        finally:
            shouting.kill()
            await shouting.wait()


async def test_all_cells_run_at_once_are_heard_to_the_last(tmp_path: Path) -> None:
    async with listener(tmp_path / "ear") as heard:
        cells = Cells(tmp_path / "ear")
        for _ in range(150):
            cells.count("a", None)
            cells.tell()
            await asyncio.sleep(0.002)  # a cell that does nothing takes Jupyter more than twice as long
        await asyncio.sleep(0.05)
        assert heard[-1][1].cells == 150


# What the server posts


class KernelsDouble:
    def __init__(self, **kernels: tuple[int, str]) -> None:
        self.kernels = kernels
        self.works = False

    def running(self) -> Mapping[int, str]:
        return {pid: name for name, (pid, _) in self.kernels.items()}

    def busy(self) -> bool:
        return self.works

    async def path(self, kernel_id: str) -> str:
        return self.kernels[kernel_id][1]


LECTURE = "notebooks/01-pixels-to-tensors/01-pixels-to-tensors.ipynb"
EXERCISE = "01-pixels-to-tensors/exercise-01.ipynb"


@pytest.mark.parametrize(
    ("path", "session", "kind"),
    [
        (LECTURE, "01-pixels-to-tensors", "lecture"),
        ("notebooks/01-pixels-to-tensors/deeper/mine.ipynb", "01-pixels-to-tensors", "lecture"),
        (EXERCISE, "01-pixels-to-tensors", "exercise"),
        ("notebooks/mine.ipynb", "", ""),
        ("mine.ipynb", "", ""),
        ("", "", ""),
        ("../../etc/x.ipynb", "", ""),
        ("/etc/x.ipynb", "", ""),
        ("x" * 101 + "/mine.ipynb", "", ""),
    ],
)
def test_a_session_is_known_by_its_folder(path: str, session: str, kind: Kind) -> None:
    assert place_of(path) == Place(session, kind)


async def test_a_report_is_the_notebook_that_spoke_last() -> None:
    summed = Sum(KernelsDouble(a=(7, LECTURE), b=(8, EXERCISE)))
    summed.hear(8, Said(2, {"ValueError": 2}, 2))
    summed.hear(7, Said(5))
    assert await summed.report() == {
        "session": "01-pixels-to-tensors",
        "kind": "lecture",
        "cells": 5,
        "errors": [],
        "repeated": 0,
        "busy": False,
    }
    summed.hear(8, Said(4, {"ValueError": 2, "KeyError": 1}, 1))
    report = await summed.report()
    assert (report["kind"], report["cells"], report["repeated"]) == ("exercise", 4, 1)
    assert report["errors"] == [{"class": "ValueError", "count": 2}, {"class": "KeyError", "count": 1}]


async def test_only_kernels_of_this_server_are_heard() -> None:
    summed = Sum(KernelsDouble(a=(7, LECTURE)))
    summed.hear(9, Said(5, {"ValueError": 5}, 5))
    assert (await summed.report())["session"] == ""


async def test_a_restarted_kernel_counts_on_and_repeats_nothing() -> None:
    kernels = KernelsDouble(a=(7, LECTURE))
    summed = Sum(kernels)
    summed.hear(7, Said(5, {"ValueError": 3}, 3))
    assert (await summed.report())["repeated"] == 3
    kernels.kernels["a"] = (17, LECTURE)
    summed.hear(17, Said())
    report = await summed.report()
    assert (report["cells"], report["errors"], report["repeated"]) == (5, [{"class": "ValueError", "count": 3}], 0)
    summed.hear(17, Said(1, {"ValueError": 1}, 1))
    assert (await summed.report())["cells"] == 6


async def test_a_notebook_that_was_closed_repeats_nothing() -> None:
    kernels = KernelsDouble(a=(7, LECTURE))
    summed = Sum(kernels)
    summed.hear(7, Said(5, {"ValueError": 3}, 3))
    await summed.report()
    kernels.kernels.clear()
    report = await summed.report()
    assert (report["session"], report["repeated"]) == ("01-pixels-to-tensors", 0)


async def test_many_folders_and_classes_stay_bounded() -> None:
    kernels = KernelsDouble(a=(7, ""))
    summed = Sum(kernels)
    for number in range(PLACES_LIMIT * 2):
        kernels.kernels["a"] = (7, f"folder{number}/mine.ipynb")
        summed.hear(7, Said(number, {f"E{number}": 1}, 1))
        await summed.report()
    assert len(summed._tallies) == PLACES_LIMIT


async def test_the_desk_understands_what_is_posted() -> None:
    reports = Posted(KernelsDouble(a=(7, EXERCISE)))
    reports.sum.hear(7, Said(COUNT_LIMIT, {f"{'E' * 50}{n}": COUNT_LIMIT for n in range(20)}, COUNT_LIMIT))
    await reports.until(LOOK_S)
    now = datetime(2026, 12, 1, tzinfo=UTC)
    report = parse(reports.sent[0][1], {"01-pixels-to-tensors"}, now)
    assert (report.session, report.kind, report.cells, len(report.errors)) == (
        "01-pixels-to-tensors",
        "exercise",
        COUNT_LIMIT,
        5,
    )


class Posted(Reporting):
    """A reporting whose time passes at once; `sent` has the time and the content of each post."""

    def __init__(self, kernels: KernelsDouble, *, away: Callable[[float], bool] = lambda now: False) -> None:
        self.kernels = kernels
        self.sent: list[tuple[float, bytes]] = []
        self.tried: list[float] = []
        self.time = 0.0
        self.events: list[tuple[float, Callable[[], None]]] = []
        self.away = away
        super().__init__(
            kernels, self.post, sleep=self.sleep, clock=lambda: self.time, chance=lambda: 0.5, path=Path("/nowhere")
        )

    async def post(self, content: bytes) -> bool:
        self.tried.append(self.time)
        if self.away(self.time):
            raise OSError("no route")
        self.sent.append((self.time, content))
        return True

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        for at, event in self.events:
            if at <= self.time:
                event()
        self.events = [(at, event) for at, event in self.events if at > self.time]
        if self.time > self.end:
            raise asyncio.CancelledError

    async def until(self, end: float) -> None:
        self.end = end
        with pytest.raises(asyncio.CancelledError):
            await self.run()


async def test_nothing_new_is_posted_every_half_minute() -> None:
    reports = Posted(KernelsDouble())
    await reports.until(100)
    times = [at for at, _ in reports.sent]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses
    assert all(EVERY_S <= pause < EVERY_S + LOOK_S for pause in pauses)


async def test_a_change_is_posted_within_two_seconds_and_never_sooner() -> None:
    kernels = KernelsDouble(a=(7, LECTURE))
    reports = Posted(kernels)
    for number in range(1, 300):
        said = Said(number)
        reports.events.append((10 + number / 10, lambda said=said: reports.sum.hear(7, said)))  # type: ignore[misc]  # bound
    await reports.until(45)
    times = [at for at, _ in reports.sent if 10 < at < 42]
    assert times[0] <= 10.1 + LOOK_S
    assert len(times) == pytest.approx(15, abs=1)
    assert all(later - earlier >= LOOK_S for earlier, later in pairwise(times))
    assert json.loads(reports.sent[-1][1])["cells"] == 299


async def test_a_kernel_that_begins_to_work_is_a_change() -> None:
    kernels = KernelsDouble()
    reports = Posted(kernels)
    reports.events.append((10, lambda: setattr(kernels, "works", True)))
    await reports.until(20)
    assert [json.loads(content)["busy"] for _, content in reports.sent] == [False, True]


async def test_a_desk_that_is_away_is_asked_less_and_less_and_gets_the_newest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reports = Posted(KernelsDouble(a=(7, LECTURE)), away=lambda now: now < 1000)
    reports.events.append((500, lambda: reports.sum.hear(7, Said(3))))
    await reports.until(1100)
    pauses = [later - earlier for earlier, later in pairwise(reports.tried)]
    failed = [pause for at, pause in zip(reports.tried, pauses, strict=False) if at < 1000]
    assert failed == sorted(failed)
    assert failed[-1] <= LONGEST_S
    assert len(failed) < 40
    assert json.loads(reports.sent[0][1])["cells"] == 3
    assert not [record for record in caplog.records if record.levelname != "DEBUG"], "silent"


async def test_a_report_that_cannot_be_made_does_not_end_reporting() -> None:
    kernels = KernelsDouble(a=(7, LECTURE))
    reports = Posted(kernels)
    reports.events.append((10, lambda: reports.sum.hear(7, Said(1))))
    reports.events.append((10, lambda: kernels.kernels.update(a=(7, None))))  # type: ignore[arg-type]  # PurePath(None)
    reports.events.append((20, lambda: kernels.kernels.update(a=(7, LECTURE))))
    reports.events.append((21, lambda: reports.sum.hear(7, Said(2))))
    await reports.until(30)
    assert json.loads(reports.sent[-1][1])["cells"] == 2


async def test_a_report_goes_to_the_desk_alone_with_the_servers_token() -> None:
    asked: list[HTTPServerRequest] = []

    class Desk(RequestHandler):
        async def post(self) -> None:
            asked.append(self.request)
            if len(asked) > 1:
                self.redirect("/elsewhere")
            else:
                self.set_status(204)

        get = post

    app = Application([(r".*", Desk)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = app.listen(port, "127.0.0.1")
    try:
        post = poster(f"http://127.0.0.1:{port}/services/desk/", "the-token")
        assert await post(b"{}")
        assert not await post(b"{}"), "a redirect is not followed"
    finally:
        server.stop()
        await server.close_all_connections()
    assert [request.path for request in asked] == ["/services/desk/own/report"] * 2
    assert asked[0].headers["Authorization"] == "token the-token"
