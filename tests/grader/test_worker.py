"""Every receipt is graded once, whatever dies meanwhile. A stand-in grades: no nbgrader, no Docker."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Never

import pytest
from sqlalchemy.exc import OperationalError

from gpuclass.exchange.store.batches import Batches
from gpuclass.exchange.store.deadlines import Deadline, Deadlines
from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import Store, Submission
from gpuclass.grader.child import ChildDied
from gpuclass.grader.inforce import InForce, Mark
from gpuclass.grader.job import Graded, Task
from gpuclass.grader.worker import DISK_WAIT, Worker
from gpuclass.settings import Settings

PAGE = b"<html>"


class Grading:
    """Grades by script: an outcome or an exception each time."""

    def __init__(self, folder: Path, *script: Graded | Exception) -> None:
        self.script = list(script)
        self.tasks: list[Task] = []
        self.page = folder / "ps1.html"
        self.page.write_bytes(PAGE)

    def grade(self, task: Task) -> Graded:
        self.tasks.append(task)
        outcome = self.script.pop(0) if self.script else self.full
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def full(self) -> Graded:
        return Graded("graded", score=2.0, max_score=3.0, feedback={"ps1.html": str(self.page)})

    def stop(self) -> None:
        self.script = []


def opened(settings: Settings) -> Store:
    """The exchange's store with the course and a released assignment."""
    store = Store(settings.exchange_folder)
    with store.writing() as session:
        session.add(CourseRow(name=settings.course, created=store.clock()))
    store.release(settings.course, "ps1", {"ps1.ipynb": b"{}"}, by="lee")
    return store


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with opened(settings) as made:
        yield made


@pytest.fixture
def submit(store: Store, settings: Settings) -> Callable[[str], int]:
    def make(student: str) -> int:
        return store.submit(settings.course, "ps1", student, {"ps1.ipynb": student.encode()}).id

    return make


def work(settings: Settings, store: Store, grading: Grading, *, answers: bool = True) -> list[float]:
    """Run a worker until the queue is empty; returns how long it waited each time."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if seconds < 1:
            worker.stop()  # the queue is empty

    worker = Worker(settings, store, lambda: grading, lambda: answers, wait)
    worker.run()
    return waits


def test_a_submission_is_graded_and_its_feedback_put_back(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    number = submit("kim")
    grading = Grading(tmp_path)
    work(settings, store, grading)
    (task,) = grading.tasks
    assert (task.student, task.assignment, task.course) == ("kim", "ps1", settings.course)
    assert Path(task.submission, "ps1.ipynb").read_bytes() == b"kim"
    assert task.received == store.submission(number).received.isoformat()
    assert (task.due, task.extensions, task.version, task.newest) == (None, None, 1, 1)
    feedback = store.feedback(store.submission(number))
    assert feedback is not None
    assert (feedback.released, feedback.score, feedback.max_score) == (True, 2.0, 3.0)
    assert [store.read(file) for file in store.feedback_files(feedback)] == [PAGE]
    (standing,) = store.standing(settings.course, "kim")
    assert standing.state == "done"


def test_the_deadline_and_version_go_along_as_they_are_when_the_job_begins(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")
    due = datetime(2026, 11, 23, 18, tzinfo=timezone(timedelta(hours=9)))
    deadlines = Deadlines(store)
    deadlines.put(settings.course, "ps1", due, by="lee")
    deadlines.put(settings.course, "ps1", due + timedelta(hours=1), by="lee", student="kim")
    store.release(settings.course, "ps1", {"ps1.ipynb": b"corrected"}, by="lee", again=True)
    grading = Grading(tmp_path)
    work(settings, store, grading)
    (task,) = grading.tasks
    assert (task.version, task.newest) == (1, 2)
    assert task.deadline == Deadline(due, {"kim": due + timedelta(hours=1)})


def test_feedback_waits_for_release_where_the_class_says_so(
    make_settings: Callable[[str], Settings], tmp_path: Path
) -> None:
    settings = make_settings('[grading]\nfeedback = "on_release"\n')
    with opened(settings) as store:
        submission = store.submit(settings.course, "ps1", "kim", {"ps1.ipynb": b"x"})
        work(settings, store, Grading(tmp_path))
        feedback = store.feedback(submission)
    assert feedback is not None
    assert not feedback.released


def test_a_job_that_was_cut_short_is_graded_once_after_the_restart(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")
    assert store.claim() is not None, "as a worker that was then killed"
    grading = Grading(tmp_path)
    work(settings, store, grading)
    work(settings, store, grading)
    assert len(grading.tasks) == 1


def test_a_grading_process_that_dies_is_tried_again_after_a_while(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")
    waits = work(settings, store, Grading(tmp_path, *[ChildDied("gone")] * 3))
    assert waits[:3] == [1.0, 5.0, 20.0]
    (standing,) = store.standing(settings.course, "kim")
    assert standing.state == "done"


def test_a_submission_that_kills_its_process_every_time_fails_and_the_next_is_graded(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")
    submit("lee")
    work(settings, store, Grading(tmp_path, *[ChildDied("gone")] * 4))
    assert [store.standing(settings.course, who)[0].state for who in ("kim", "lee")] == ["failed", "done"]


NO_ENGINE = Graded("failed", "Docker cannot be reached", engine_failed=True)


def test_jobs_wait_while_the_engine_is_away(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")
    waits = work(settings, store, Grading(tmp_path, *[NO_ENGINE] * 12), answers=False)
    assert len(waits) == 13
    assert store.standing(settings.course, "kim")[0].state == "done"


def test_an_engine_that_answers_but_starts_no_sandbox_fails_the_job(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")
    work(settings, store, Grading(tmp_path, *[NO_ENGINE] * 12), answers=True)
    assert store.standing(settings.course, "kim")[0].state == "failed"


def test_an_assignment_without_source_version_fails_with_its_reason(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")
    work(settings, store, Grading(tmp_path, Graded("failed", "there is no source version of 'ps1'")))
    job = store.job(1)
    assert (job.state, job.error) == ("failed", "there is no source version of 'ps1'")


def test_a_full_disk_lets_the_job_wait_and_not_the_worker_end(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit("kim")
    full: list[Exception] = [
        OSError(errno.ENOSPC, "No space left on device"),
        OperationalError("INSERT", {}, Exception("database or disk is full")),
    ]
    write, claim = store.write_files, store.claim

    def write_files(submission: Submission, folder: Path) -> None:
        if full:
            raise full.pop(0)
        write(submission, folder)

    refused = [OperationalError("UPDATE", {}, Exception("database or disk is full"))]
    monkeypatch.setattr(store, "write_files", write_files)
    monkeypatch.setattr(store, "claim", lambda: claim() if not refused else raises(refused.pop()))
    waits = work(settings, store, Grading(tmp_path))
    assert waits[:3] == [DISK_WAIT] * 3
    assert store.job(1).state == "done"


def raises(error: Exception) -> Never:
    raise error


def test_what_cannot_be_written_at_all_fails_its_own_job_and_the_next_is_graded(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit("kim")
    submit("lee")
    write = store.write_files

    def write_files(submission: Submission, folder: Path) -> None:
        if submission.student == "kim":
            raise IsADirectoryError(errno.EISDIR, "Is a directory", "timestamp.txt")
        write(submission, folder)

    monkeypatch.setattr(store, "write_files", write_files)
    work(settings, store, Grading(tmp_path))
    assert [store.job(number).state for number in (1, 2)] == ["failed", "done"]
    assert "Is a directory" in str(store.job(1).error)


def test_stopping_leaves_the_job_for_the_next_start(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")

    class Stopping(Grading):
        def grade(self, task: Task) -> Graded:
            worker.stop()
            raise ChildDied("stopped")

    worker = Worker(settings, store, lambda: Stopping(tmp_path), lambda: True)
    worker.run()
    assert store.job(1).state == "running"
    work(settings, store, Grading(tmp_path))
    assert store.job(1).state == "done"


def test_a_check_comes_before_any_submission_and_its_report_is_kept(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")
    number = store.request_check(settings.course, "02-new", "lee")
    report = {"differences": [], "full": True}
    grading = Grading(tmp_path, Graded("graded", report=report))
    work(settings, store, grading)
    assert [(task.kind, task.assignment) for task in grading.tasks] == [("check", "02-new"), ("grade", "ps1")]
    found = store.check(number)
    assert (found.state, found.report) == ("done", report)
    assert store.job(1).state == "done"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([Graded("failed", "there is no source version of '02-new'")], "there is no source version of '02-new'"),
        ([ChildDied("gone")] * 4, "gone"),
    ],
)
def test_a_check_that_cannot_be_made_says_why(
    settings: Settings, store: Store, script: list[Graded | Exception], said: str, tmp_path: Path
) -> None:
    number = store.request_check(settings.course, "02-new", "lee")
    work(settings, store, Grading(tmp_path, *script))
    found = store.check(number)
    assert (found.state, found.report) == ("failed", {"error": said})


def test_a_check_that_was_cut_short_is_made_at_the_next_start_and_given_up_after_the_second(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    number = store.request_check(settings.course, "02-new", "lee")
    assert store.claim_check() is not None, "as a worker that was then killed"
    store.requeue_running()
    assert store.check(number).state == "waiting"
    assert store.claim_check() is not None
    grading = Grading(tmp_path)
    work(settings, store, grading)
    found = store.check(number)
    assert (found.state, grading.tasks) == ("failed", [])
    assert found.report is not None
    assert "ended 2 times" in found.report["error"]


def test_two_checks_of_one_assignment_never_run_at_once_and_a_waiting_one_is_shared(store: Store) -> None:
    first = store.request_check("camp", "ps1", "lee")
    assert store.request_check("camp", "ps1", "park") == first
    claimed = store.claim_check()
    assert claimed is not None
    assert claimed.id == first
    second = store.request_check("camp", "ps1", "lee")  # the source may have changed since the first began
    other = store.request_check("camp", "ps2", "lee")
    assert second != first
    at_once = store.claim_check()
    assert at_once is not None
    assert at_once.id == other
    assert store.claim_check() is None
    store.finish_check(first, {})
    last = store.claim_check()
    assert last is not None
    assert last.id == second


def test_a_preview_goes_into_a_folder_of_its_own_and_gives_no_feedback(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    number = submit("kim")
    work(settings, store, Grading(tmp_path))
    before = store.feedback(store.submission(number))
    batches = Batches(store)
    batch = batches.preview(settings.course, "ps1", None, requested_by="lee")
    scores = {"score": 2.0, "max_score": 3.0, "cells": {"test": 2.0}}
    report = {"before": scores, "after": {**scores, "score": 1.0}, "source": "abc", "corrected": True}
    grading = Grading(tmp_path, Graded("graded", score=1.0, report=report))
    work(settings, store, grading)
    (task,) = grading.tasks
    assert (task.kind, task.batch) == ("preview", batch)
    assert Path(task.submission).is_relative_to(settings.course_folder / ".regrade" / str(batch))
    assert store.feedback(store.submission(number)) == before
    found = batches.batch(batch)
    assert (found.state, found.source, [change.after for change in found.changes]) == ("ready", "abc", [1.0])

    batches.apply(batch, requested_by="lee")
    submit("park")
    grading = Grading(tmp_path)
    work(settings, store, grading)
    assert [(task.student, task.kind, task.batch) for task in grading.tasks] == [
        ("park", "grade", batch),
        ("kim", "grade", batch),
    ]
    assert batches.batch(batch).state == "applied"
    folder = settings.course_folder / ".regrade" / str(batch)
    assert folder.exists(), "nobody has put its version in force"
    (settings.course_folder / ".in-force").mkdir()
    InForce(settings.course_folder).put("ps1", Mark("abc", "", batch=batch))
    work(settings, store, Grading(tmp_path))
    assert not folder.exists()


def test_a_cancelled_preview_leaves_no_folder_behind(
    settings: Settings, store: Store, submit: Callable[[str], int], tmp_path: Path
) -> None:
    submit("kim")
    work(settings, store, Grading(tmp_path))
    batches = Batches(store)
    batch = batches.preview(settings.course, "ps1", None, requested_by="lee")
    report = {"before": None, "after": {"score": 1.0, "max_score": 3.0, "cells": {}}, "source": "abc"}
    work(settings, store, Grading(tmp_path, Graded("graded", report=report)))
    folder = settings.course_folder / ".regrade" / str(batch)
    assert folder.exists()
    batches.cancel(batch)
    work(settings, store, Grading(tmp_path))
    assert not folder.exists()
