"""A worker that is killed before any single change it makes on the disk: its successor's score is the right one, once.

The worker, nbgrader and the databases are real, in a process of its own; Python tells it of each file it opens for
writing, each rename, each removal, SQLAlchemy of each commit, and before the nth it kills itself. Only cells run beside
it in the same process, without Docker. Some places are
tried; ``GPUCLASS_EVERY=1`` tries every change, as `make chaos` does.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from sqlalchemy import Engine, event, select

from gpuclass.exchange.store.schema import CourseRow, FeedbackRow, JobRow
from gpuclass.exchange.store.store import Store
from gpuclass.grader import job, worker
from gpuclass.grader.child import scratch_of
from gpuclass.grader.job import Graded, Task
from gpuclass.grader.wire import CellRun
from gpuclass.settings import Settings, load
from tests.grader.agents import LIMITS
from tests.grader.courses import cell, notebook, write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # nbgrader's gradebook closes connections when collected
]

EVERY = os.environ.get("GPUCLASS_EVERY", "") not in ("", "0")
SOME = 6
NOTEBOOKS = ("first", "second")
POINTS = {"first": 3, "second": 5}
FULL = sum(POINTS.values())
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = frozenset(("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"))
KILLED = -signal.SIGKILL
NO_DOCKER = "unix:///nonexistent/docker.sock"


class InPlace:
    """Stands in for a pair: runs cells and tests here."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def start(self, files: Mapping[str, bytes], cells: Sequence[str], *rest: Any, **more: Any) -> None:
        pass

    def renew(self, *rest: Any, **more: Any) -> None:
        self._names = {}

    def run(self, source: str) -> CellRun:
        try:
            exec(source, self._names)  # noqa: S102  # cells of this file
        except Exception:
            return CellRun(ok=False)
        return CellRun(ok=True)

    test = run

    def reached(self, source: str, *, locked: bool) -> None:
        pass

    def recorded(self) -> list[str]:
        return []


class Grading:
    """Stands in for a grading process: the same code, in this one."""

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch

    def grade(self, task: Task, notebooks: int = 4) -> Graded:
        return job.grade(replace(task, scratch=self._scratch), InPlace, LIMITS)  # type: ignore[arg-type]  # not a Pair

    def stop(self) -> None:
        pass


def source(name: str) -> NotebookNode:
    answer = "def right():\n    ### BEGIN SOLUTION\n    return True\n    ### END SOLUTION"
    return notebook(
        cell("markdown", f"# {name}"),
        cell("code", answer, f"{name}-answer", solution=True),
        cell("code", "assert right()", f"{name}-test", grade=True, locked=True, points=POINTS[name]),
    )


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class in which one submission waits and nothing was ever graded. Its second notebook is wrong."""
    folder = tmp_path_factory.mktemp("waiting")
    (folder / "class.toml").write_text('[class]\nname = "camp"\ntitle = "Camp"\nlanguage = "en"\n', encoding="utf-8")
    settings = load(folder / "class.toml", environ={})
    submitted = {}
    for name in NOTEBOOKS:
        made = source(name)
        write(settings.course_folder / "source" / "ps1", made, name)
        made.cells[1].source = f"def right():\n    return {name == NOTEBOOKS[0]}"
        submitted[f"{name}.ipynb"] = str(nbformat.writes(made)).encode()
    with Store(settings.exchange_folder) as store:
        with store.writing() as session:
            session.add(CourseRow(name=settings.course, created=store.clock()))
        store.release(settings.course, "ps1", submitted, by="teacher")
        store.submit(settings.course, "ps1", "kim", submitted)
    return folder


SCORE = POINTS[NOTEBOOKS[0]]


def in_process(folder: Path, watch: Callable[[str], None]) -> int:
    """Run the class's worker until nothing waits, in a process of its own; returns how that ended.

    Args:
        folder: of the class.
        watch: called in that process before each change on the disk, with a word for its place.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        with (folder / "log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        os.environ["DOCKER_HOST"] = NO_DOCKER
        _work(load(folder / "class.toml", environ={}), watch)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _work(settings: Settings, watch: Callable[[str], None]) -> None:
    vars(worker)["Child"] = lambda setup: Grading(scratch_of(setup.owner))
    worker.POLL_SECONDS = 0.01

    def changing(place: str) -> None:
        if "_show_life" not in threading.current_thread().name:  # what that thread writes is at no certain moment
            watch(place)

    def audit(name: str, details: tuple[Any, ...]) -> None:
        writes = name == "open" and isinstance(details[2], int) and details[2] & WRITING
        there = name == "os.mkdir" and Path(str(details[0])).is_dir()  # nothing changes
        if (writes or name in CHANGES) and not there and _ours(settings, str(details[0])):
            changing(f"{name} {_place(settings, str(details[0]))}")

    sys.addaudithook(audit)
    event.listen(Engine, "commit", lambda connection: changing(f"commit {connection.engine.url.database}"))
    made = worker.worker(settings)
    wait = made._wait

    def until_idle(seconds: float) -> object:
        if seconds <= worker.POLL_SECONDS:
            made.stop()
        return wait(seconds)

    made._wait = until_idle
    made.run()


def _ours(settings: Settings, path: str) -> bool:
    return path.startswith((str(settings.data), f"{tempfile.gettempdir()}/{scratch_of(worker.owner(settings))}"))


def _place(settings: Settings, path: str) -> str:
    """A path without what differs from run to run."""
    return re.sub(r"[0-9a-f]{16,}|gpuclass-grading-\S+?(?=/|$)|[\w-]{22,}", "…", path.removeprefix(str(settings.data)))


def at(folder: Path, number: int) -> Path:
    """A copy of the class for one kill."""
    copy = folder.with_name(f"{folder.name}-{number}")
    shutil.copytree(folder, copy)
    return copy


def places_of(waiting: Path) -> list[str]:
    """Every change that grading the submission makes, in order."""
    copy = at(waiting, 0)
    noted = copy.parent / "places"

    def note(place: str) -> None:
        with noted.open("a") as file:
            file.write(place.replace(str(copy), "") + "\n")

    assert in_process(copy, note) == 0, (copy / "log").read_text()
    check(copy)
    shutil.rmtree(copy)
    return noted.read_text().splitlines()


@pytest.mark.timeout(3600 if EVERY else 600)
def test_a_worker_killed_before_any_change_has_a_successor_that_scores_once(waiting: Path) -> None:
    places = places_of(waiting)
    first = {place: number for number, place in reversed(list(enumerate(places, 1)))}
    numbers = range(1, len(places) + 1) if EVERY else some(sorted(first.values()), len(places))
    wrong = []
    for number in numbers:
        copy = at(waiting, number)
        killed = in_process(copy, Bomb(number))
        after = in_process(copy, lambda place: None)
        try:
            assert (killed, after) == (KILLED, 0), (copy / "log").read_text()[-2000:]
            check(copy)
        except Exception as error:
            wrong.append(f"{number}, {places[number - 1]}: {type(error).__name__}: {error}"[:600])
        shutil.rmtree(copy)
    print(f"\nchanges={len(places)} places={len(first)} kills={len(numbers)} wrong={len(wrong)}")
    assert wrong == []


def some(places: list[int], last: int) -> list[int]:
    """A few of them, evenly spread, and the last change of all, which finishes the job."""
    return sorted({*places[:: max(1, len(places) // SOME)], last})


class Bomb:
    """Kills its process before the nth change."""

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, place: str) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def check(folder: Path) -> None:
    """One job, done; one score, the right one, in the exchange and in the gradebook; its pages; nothing left over."""
    settings = load(folder / "class.toml", environ={})
    with Store(settings.exchange_folder) as store:
        with store.reading() as session:
            assert [(each.state, each.error) for each in session.scalars(select(JobRow))] == [("done", None)]
            scored = Counter(session.scalars(select(FeedbackRow.submission)))
        assert list(scored.values()) == [1], "scored more than once"
        (submission,) = store.submissions(settings.course, "ps1")
        feedback = store.feedback(submission, released=True)
        assert feedback is not None
        assert (feedback.score, feedback.max_score) == (SCORE, FULL)
        pages = {file.path: store.read(file) for file in store.feedback_files(feedback)}
    assert set(pages) == {f"{name}.html" for name in NOTEBOOKS}
    assert f"{POINTS['first']} / {POINTS['first']}".encode() in pages["first.html"]
    assert f"0 / {POINTS['second']}".encode() in pages["second.html"]
    gradebook = settings.course_folder / "gradebook.db"
    with sqlite3.connect(f"file:{gradebook}?mode=ro", uri=True) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    with Gradebook(f"sqlite:///{gradebook}", settings.course) as book:
        found = book.find_submission("ps1", "kim")
        assert (found.score, found.max_score) == (SCORE, FULL)
    left = list(Path(tempfile.gettempdir()).glob(f"{scratch_of(worker.owner(settings))}*"))
    assert left == []
    assert {path.name for path in (settings.course_folder / "autograded/kim/ps1").glob("*.ipynb")} == {
        f"{name}.ipynb" for name in NOTEBOOKS
    }
