"""`gpuclass grade` and `gpuclass grading serve` as they are run, with real containers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import Store
from gpuclass.grader.sandbox import LABEL, connect
from gpuclass.grader.worker import owner
from gpuclass.settings import Settings
from tests.grader.courses import cell, released, solved, source_version, write

pytestmark = pytest.mark.images

FULL = {"test-add": 3.0, "test-add-hidden": 5.0, "test-scale": 2.0, "why": 0.0}
LIMITS = '[grading]\ncell_timeout = "5s"\nmemory = "1G"\n'


def gpuclass(*arguments: object, settings: Settings | None = None, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GPUCLASS_CONFIG": str(settings.path)} if settings else dict(os.environ)
    command = [sys.executable, "-m", "gpuclass", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def rows(ran: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert ran.returncode == 0, ran.stderr
    return {row["student"]: row for row in map(json.loads, ran.stdout.splitlines())}


def test_plain_folders_are_graded_without_a_class(built: dict[str, str], tmp_path: Path) -> None:
    source = write(tmp_path / "ps1", source_version())
    (source / "data.csv").write_text("1,2")
    thief = solved()
    thief.cells.append(cell("code", "import os\nos._exit(0)"))
    folders = [
        write(tmp_path / "in" / "right", solved()),
        write(tmp_path / "in" / "blank", released()),
        write(tmp_path / "in" / "김 민지", solved()),
        write(tmp_path / "in" / "thief", thief),
        write(tmp_path / "in" / "broken", b"{"),
        tmp_path / "in" / "nested",
    ]
    write(folders[-1] / "ps1", solved(add="def add(a, b):\n    return abs(a) + b"))
    found = rows(gpuclass("grade", source, *folders, "--json", "--feedback", tmp_path / "out", folder=tmp_path))

    assert set(found["right"]) == {
        *("student", "assignment", "status", "score", "max_score", "cells", "seconds", "reason")
    }
    assert {name: row["score"] for name, row in found.items()} == {
        "right": 10.0,
        "blank": 0.0,
        "김 민지": 10.0,
        "thief": 10.0,
        "broken": 0.0,
        "nested": 5.0,
    }
    assert {row["max_score"] for row in found.values()} == {14.0}
    assert {name for name, row in found.items() if row["status"] == "quarantined"} == {"broken"}
    assert found["right"]["cells"] == FULL
    assert found["right"]["assignment"] == "ps1"
    assert found["broken"]["reason"]
    pages = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert pages == {f"{folder.name}/ps1.html" for folder in folders}
    assert "secret" not in (tmp_path / "out" / "nested" / "ps1.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "in/kim"], "without class.toml there is no course"),
        (["ps1"], "Name at least one folder"),
        (["ps1", "in/nobody"], "is not a folder"),
        (["ps1", "in/kim", "other/kim"], "both called 'kim'"),
        (["in", "in/kim"], "holds no notebook"),
        (["in/kim", "in/kim"], "it is not a source version"),
    ],
)
def test_arguments_that_cannot_be_used_end_with_2_and_a_plain_sentence(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    write(tmp_path / "ps1", source_version())
    for folder in ("in/kim", "other/kim"):
        plain = solved()
        for each in plain.cells:
            each.metadata.clear()
        write(tmp_path / folder, plain)
    ran = gpuclass("grade", *arguments, "--json", folder=tmp_path)
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


@contextmanager
def working(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """The grading worker as a process of its own."""
    log = (settings.data / "grading.log").open("a", encoding="utf-8")
    with (
        log,
        subprocess.Popen(
            [sys.executable, "-m", "gpuclass", "grading", "serve"],
            env={**os.environ, "GPUCLASS_CONFIG": str(settings.path)},
            stdout=log,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(what: Callable[[], object], settings: Settings, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            pytest.fail("it did not happen; the worker's log:\n" + (settings.data / "grading.log").read_text())
        time.sleep(0.05)


@pytest.fixture
def store(built: dict[str, str], make_settings: Callable[[str], Settings]) -> Iterator[tuple[Settings, Store]]:
    settings = make_settings(LIMITS)
    write(settings.course_folder / "source" / "ps1", source_version())
    with Store(settings.exchange_folder) as made:
        with made.writing() as session:
            session.add(CourseRow(name=settings.course, created=made.clock()))
        made.release(settings.course, "ps1", {"ps1.ipynb": b"{}"}, by="lee")
        yield settings, made


def submit(settings: Settings, store: Store, student: str, folder: Path) -> int:
    path = write(folder / student, solved()) / "ps1.ipynb"
    return store.submit(settings.course, "ps1", student, {"ps1.ipynb": path.read_bytes()}).id


def test_a_worker_that_is_killed_grades_every_submission_once_after_its_restart(
    store: tuple[Settings, Store], tmp_path: Path
) -> None:
    settings, exchange = store
    students = ["kim", "lee", "park"]
    for student in students:
        submit(settings, exchange, student, tmp_path / "in")

    def sandboxes() -> list[Any]:
        client = connect()
        try:
            found = client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
            return [each for each in found if each.labels[LABEL].startswith(owner(settings))]
        finally:
            client.close()

    def states() -> list[str | None]:
        return [exchange.standing(settings.course, student)[0].state for student in students]

    with working(settings) as process:
        wait_for(sandboxes, settings)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "done" not in states()
    with working(settings):
        wait_for(lambda: states() == ["done"] * 3, settings)
    assert sandboxes() == []
    for student in students:
        (standing,) = exchange.standing(settings.course, student)
        assert standing.feedback is not None
        assert (standing.feedback.score, standing.feedback.max_score) == (10.0, 14.0)
        assert [file.path for file in exchange.feedback_files(standing.feedback)] == ["ps1.html"]


def test_the_courses_own_submissions_are_graded_again_by_name(store: tuple[Settings, Store], tmp_path: Path) -> None:
    settings, exchange = store
    submit(settings, exchange, "kim", tmp_path / "in")
    with working(settings):
        wait_for(lambda: exchange.standing(settings.course, "kim")[0].state == "done", settings)
    found = rows(gpuclass("grade", "ps1", "--json", settings=settings, folder=tmp_path))
    assert {name: row["cells"] for name, row in found.items()} == {"kim": FULL}


def test_a_terminated_command_leaves_no_sandbox_behind(built: dict[str, str], tmp_path: Path) -> None:
    source = write(tmp_path / "ps1", source_version())
    endless = write(tmp_path / "kim", solved(add="while True: pass"))
    command = [sys.executable, "-m", "gpuclass", "grade", str(source), str(endless), "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    client = connect()

    def sandboxes() -> list[Any]:
        for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
            labels.update(f"{LABEL}=grade#{child}" for child in children.read_text().split())
        return [each for label in labels for each in client.containers.list(all=True, filters={"label": label})]

    labels: set[str] = set()
    try:
        end = time.monotonic() + 60.0
        while not sandboxes():
            assert time.monotonic() < end
            time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
        assert not [each for label in labels for each in client.containers.list(all=True, filters={"label": label})]
    finally:
        process.kill()
        process.wait()
        client.close()
