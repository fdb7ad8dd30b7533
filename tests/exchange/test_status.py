"""What an operator sees of the exchange at a glance."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuclass import cli
from gpuclass.exchange.operating.looking import CannotLook
from gpuclass.exchange.operating.status import Health, Status, ask, gather
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.exchange.store.store import Store
from gpuclass.roster import Roster
from tests.exchange.conftest import HubDouble, running

NINE = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WELL = Health(answers=True, takes=True)
NOTEBOOK = {"warm-up.ipynb": b"{}"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, lambda: NINE) as store:
        Courses(store, "camp", lambda: Roster(()))
        store.release("camp", "warm-up", NOTEBOOK, by="teacher")
        yield store


def status(store: Store, folder: Path, health: Health = WELL, *, reserve: int = 0, after: timedelta = HOUR) -> Status:
    return gather(folder, health, reserve, NINE + after)


def test_submissions_are_counted_by_assignment_late_ones_and_those_sent_later_too(store: Store, tmp_path: Path) -> None:
    store.release("camp", "pixels", NOTEBOOK, by="teacher")
    store.release("camp", "pixels", {"a.ipynb": b"1"}, by="teacher", again=True)
    Deadlines(store).put("camp", "warm-up", NINE + HOUR, by="teacher")
    Deadlines(store).put("camp", "warm-up", NINE + 3 * HOUR, by="teacher", student="s2")
    for student, received, queued in (
        ("s1", NINE, None),
        ("s1", NINE + 2 * HOUR, NINE),
        ("s2", NINE + 2 * HOUR, None),
    ):
        store.submit("camp", "warm-up", student, NOTEBOOK, received=received, queued=queued)
    pixels, warm_up = status(store, tmp_path).assignments
    assert (pixels.version, pixels.due, pixels.submissions, pixels.size) == (2, None, 0, 0)
    assert (warm_up.version, warm_up.due, warm_up.extensions) == (1, NINE + HOUR, 1)
    assert (warm_up.submissions, warm_up.students, warm_up.late, warm_up.queued, warm_up.size) == (3, 2, 1, 1, 6)


def test_a_hidden_assignment_is_shown_as_hidden(store: Store, tmp_path: Path) -> None:
    store.hide_assignment("camp", "warm-up")
    assert [each.hidden for each in status(store, tmp_path).assignments] == [True]


def test_gradings_are_counted_and_those_that_wait_for_a_person_named(store: Store, tmp_path: Path) -> None:
    for student in ("s1", "s2", "s3", "s4"):
        store.submit("camp", "warm-up", student, NOTEBOOK)
    for error in (None, "the notebook is no JSON", "no space left"):
        job = store.claim()
        assert job is not None
        store.finish(job.id, error=error)
    store.submit("camp", "warm-up", "s3", NOTEBOOK)  # so its earlier failure matters to nobody
    jobs = status(store, tmp_path).jobs
    assert (jobs.waiting, jobs.running, jobs.done, jobs.failed, jobs.oldest_waiting) == (2, 0, 1, 1, 3600)
    assert [(each.student, each.error) for each in jobs.failures] == [("s2", "the notebook is no JSON")]
    store.enqueue("camp", "warm-up", "s2", requested_by="teacher")
    assert status(store, tmp_path).jobs.failed == 0


def test_sizes_count_each_content_once_and_name_what_is_nobodys(store: Store, tmp_path: Path) -> None:
    store.submit("camp", "warm-up", "s1", NOTEBOOK)
    stray = tmp_path / "objects" / "2c" / "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    stray.write_bytes(b"hello")
    (tmp_path / "incoming" / "of-a-killed-process").mkdir()
    sizes = status(store, tmp_path).sizes
    assert (sizes.files, sizes.bytes, sizes.unused, sizes.unused_bytes, sizes.leftovers) == (2, 7, 1, 5, 1)
    assert sizes.database >= (tmp_path / "exchange.db").stat().st_size


def test_nothing_is_wrong_while_nothing_is(store: Store, tmp_path: Path) -> None:
    assert status(store, tmp_path).problems == ()


def test_each_thing_that_is_wrong_is_a_sentence_with_what_to_do(store: Store, tmp_path: Path) -> None:
    store.submit("camp", "warm-up", "s1", NOTEBOOK)
    store.submit("camp", "warm-up", "s2", NOTEBOOK)
    job = store.claim()
    assert job is not None
    assert len(status(store, tmp_path).problems) == 0, "one is being graded"
    store.finish(job.id, error="broken")
    no_room = status(store, tmp_path, Health(answers=False, takes=False, said="refused"), reserve=2**62)
    for begin, problem in zip(
        ("The service does not answer (refused)", "The disk has no room", "Submissions wait and none", "1 submissions"),
        no_room.problems,
        strict=True,
    ):
        assert problem.startswith(begin)
    takes_none = status(store, tmp_path, Health(answers=True, takes=False, said="disk"), after=timedelta())
    assert takes_none.problems[0] == "The service answers but takes no submissions: disk."


def test_before_anything_was_kept_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(CannotLook, match="has not kept anything yet"):
        gather(tmp_path, WELL, 0, NINE)


def test_the_service_is_asked_and_its_silence_is_an_answer() -> None:
    with closing(HubDouble("127.0.0.1")) as double:  # answers 403 to all that it does not know
        said = ask(f"http://127.0.0.1:{double.port}")
        assert (said.answers, said.takes, said.said) == (True, False, "status 403")
    assert not ask(f"http://127.0.0.1:{double.port}").answers


@pytest.mark.slow
def test_the_command_shows_a_running_exchange(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        camp.by("teacher").post("api/assignment/camp/warm-up", data={"files": json.dumps([])})
        environment = {**os.environ, "GPUCLASS_CONFIG": str(camp.settings.path), "COLUMNS": "200"}
        shown = CliRunner().invoke(cli.app, ["exchange", "status"], env=environment)
        assert shown.exit_code == 0, shown.output
        assert [line.split() for line in shown.stdout.splitlines()][1] == [
            "camp",
            "warm-up",
            "1",
            "–",
            "0",
            "0",
            "0",
            "0",
            "0B",
        ]
        assert "courses: camp; service: answers\n" in shown.stdout
        answer = json.loads(CliRunner().invoke(cli.app, ["exchange", "status", "--json"], env=environment).stdout)
        assert (answer["health"]["takes"], answer["problems"]) == (True, [])
    shown = CliRunner().invoke(cli.app, ["exchange", "status"], env=environment)
    assert shown.exit_code == 1
    assert "! The service does not answer" in shown.stdout
