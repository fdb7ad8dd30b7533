"""``gpuclass grading …`` as an operator types it; a stand-in for the worker, in a thread, does what is queued."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gpuclass import cli
from gpuclass.cli import grading as commands
from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import Store
from gpuclass.exchange.store.workers import Workers
from gpuclass.grader.alone import alone
from gpuclass.settings import Settings

Command = Callable[..., Result]
BEFORE = {"score": 3.0, "max_score": 4.0, "cells": {"test-a": 3.0}}
AFTER = {"score": 1.0, "max_score": 4.0, "cells": {"test-a": 1.0}}


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``gpuclass grading …`` in a class of kim and lee, both graded."""
    monkeypatch.setattr(commands, "POLL_S", 0.02)
    with Store(settings.exchange_folder) as store:
        with store.writing() as session:
            session.add(CourseRow(name=settings.course, created=store.clock()))
        store.release(settings.course, "ps1", {}, by="teacher")
        for student in ("kim", "lee"):
            store.submit(settings.course, "ps1", student, {})
        while (job := store.claim()) is not None:
            store.finish(job.id, status="graded")

    def run(*arguments: str, says: str = "") -> Result:
        environment = {"GPUCLASS_CONFIG": str(settings.path), "COLUMNS": "200"}
        return CliRunner().invoke(cli.app, ["grading", *arguments], input=says, env=environment)

    return run


@contextmanager
def worker(settings: Settings) -> Iterator[list[str]]:
    """Does what is queued: kim's score would fall, lee's stays. Gives the kinds of what it did."""
    done: list[str] = []
    stopping = threading.Event()
    with Store(settings.exchange_folder) as store:
        run = Workers(store).begin()

        def work() -> None:
            while not stopping.wait(0.02):
                job = store.claim()
                if job is not None:
                    after = AFTER if job.student == "kim" else BEFORE
                    result: Any = {"before": BEFORE, "after": after} if job.kind == "preview" else None
                    store.finish(job.id, status=None if result else "graded", result=result)
                    done.append(f"{job.kind} {job.student}")

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield done
        finally:
            stopping.set()
            thread.join()
            Workers(store).end(run)


def test_a_re_grade_shows_whose_score_changes_and_changes_it_when_told_so(command: Command, settings: Settings) -> None:
    with worker(settings) as done:
        shown = command("regrade", "ps1", says="y\n")
    assert shown.exit_code == 0, shown.output
    assert "test-a 3 → 1" in shown.output
    assert "1 scores would change, 1 stay as they are." in shown.output
    assert "2 of 2 submissions of ps1 are graded again." in shown.output
    assert done == ["preview kim", "preview lee", "grade kim", "grade lee"]


@pytest.mark.parametrize(("arguments", "says"), [((), "n\n"), ((), "\n"), (("--json",), "")])
def test_without_a_yes_nothing_changes(
    command: Command, settings: Settings, arguments: tuple[str, ...], says: str
) -> None:
    with worker(settings) as done:
        shown = command("regrade", "ps1", *arguments, says=says)
        again = command("regrade", "ps1", "--student", "kim", "--json")
    assert shown.exit_code == 0, shown.output
    assert done == ["preview kim", "preview lee", "preview kim"]
    if arguments:
        found = json.loads(shown.stdout)
        assert (found["state"], [change["student"] for change in found["changes"]]) == ("cancelled", ["kim"])
    else:
        assert "Nothing has changed." in shown.output
    assert json.loads(again.stdout)["total"] == 1


def test_a_script_may_say_yes_beforehand(command: Command, settings: Settings) -> None:
    with worker(settings) as done:
        shown = command("regrade", "ps1", "--student", "kim", "--yes", "--json")
    found = json.loads(shown.stdout)
    assert (shown.exit_code, found["state"], found["done"]) == (0, "applied", 1)
    assert done == ["preview kim", "grade kim"]


def test_without_a_worker_it_does_not_wait_for_ever(command: Command) -> None:
    shown = command("regrade", "ps1")
    assert shown.exit_code != 0
    assert "No grading worker is at work" in shown.output


def test_what_was_never_graded_cannot_be_graded_again(command: Command) -> None:
    for arguments in (("other",), ("ps1", "--student", "park")):
        shown = command("regrade", *arguments)
        assert shown.exit_code != 0
        assert "gpuclass grading status" in shown.output
        assert "Traceback" not in shown.output


def test_status_counts_names_whom_it_fails_and_misses_the_worker(command: Command, settings: Settings) -> None:
    with worker(settings):
        well = command("status", "--json")
    assert well.exit_code == 0, well.output
    [count] = json.loads(well.stdout)["assignments"]
    assert (count["name"], count["submitted"], count["graded"]) == ("ps1", 2, 2)
    with Store(settings.exchange_folder) as store:
        store.enqueue(settings.course, "ps1", "kim", requested_by="teacher")
        job = store.claim()
        assert job is not None
        store.finish(job.id, error="there is no source version")
    ill = command("status")
    assert ill.exit_code == 1
    assert "failed: kim, ps1: there is no source version" in ill.output
    assert "No grading worker is at work" in ill.output


def test_a_second_worker_ends_and_says_who_is_at_work(command: Command, settings: Settings) -> None:
    with alone(settings.data):
        shown = command("serve")
    assert shown.exit_code != 0
    assert "is at work already: process" in shown.output
