"""Whose submission is graded next, and that each is graded once whatever happens meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gpuclass.exchange.records import Job, Kind, NotFound
from gpuclass.exchange.store.batches import Batches, NotNow
from gpuclass.exchange.store.queue import ATTEMPTS_LIMIT
from gpuclass.exchange.store.reading import own_submissions
from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import Store
from gpuclass.exchange.store.turns import A_BATCH, A_STUDENT, AN_INSTRUCTOR, HOUR, PATIENCE, Waiting, line

NINE = datetime(2026, 11, 23, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def waits(
    number: int,
    student: str,
    *,
    submission: int | None = None,
    priority: int = A_STUDENT,
    kind: Kind = "grade",
    after: timedelta | None = None,
    since: timedelta = timedelta(),
) -> Waiting:
    not_before = None if after is None else NINE + after
    return Waiting(number, ("camp", "one", student), submission or number, kind, priority, NINE - since, not_before)


def turns(*waiting: Waiting, served: dict[str, datetime] | None = None, now: datetime = NINE) -> list[int]:
    return [job.id for job in line(waiting, served or {}, now)]


def test_students_take_turns_however_often_one_submits() -> None:
    assert turns(waits(1, "kim"), waits(2, "kim"), waits(3, "kim"), waits(4, "lee"), waits(5, "park")) == [
        1, 4, 5, 2, 3,
    ]  # fmt: skip


def test_who_was_served_longest_ago_is_next() -> None:
    served = {"kim": NINE, "lee": NINE - MINUTE}
    assert turns(waits(1, "kim"), waits(2, "lee"), waits(3, "park"), served=served) == [3, 2, 1]


def test_a_student_comes_before_an_instructor_and_that_before_a_batch() -> None:
    found = turns(waits(1, "kim", priority=A_BATCH), waits(2, "lee", priority=AN_INSTRUCTOR), waits(3, "park"))
    assert found == [3, 2, 1]


def test_a_batch_does_not_wait_behind_students_for_ever() -> None:
    old = waits(1, "kim", priority=A_BATCH, since=PATIENCE + MINUTE)
    assert turns(old, waits(2, "lee"), served={"lee": NINE - MINUTE}) == [1, 2]


def test_an_old_submission_is_never_graded_after_a_newer_one_of_the_same_student() -> None:
    again = waits(9, "kim", submission=1, priority=A_BATCH)
    assert turns(again, waits(8, "kim", submission=2), waits(7, "lee")) == [7, 9, 8]


def test_what_must_wait_for_its_hour_holds_back_what_came_after_it() -> None:
    assert turns(waits(1, "kim", after=MINUTE), waits(2, "kim"), waits(3, "lee")) == [3]
    assert turns(waits(1, "kim", after=MINUTE), waits(2, "kim"), waits(3, "lee"), now=NINE + MINUTE) == [1, 3, 2]


def test_a_preview_holds_nobody_back() -> None:
    preview = waits(1, "kim", submission=5, priority=A_BATCH, kind="preview")
    assert turns(preview, waits(2, "kim", submission=6)) == [2, 1]


jobs = st.builds(
    waits,
    st.integers(1, 10**6),
    st.sampled_from(["kim", "lee", "park"]),
    submission=st.integers(1, 8),
    priority=st.sampled_from([A_STUDENT, AN_INSTRUCTOR, A_BATCH]),
    kind=st.sampled_from(["grade", "preview"]),
    after=st.none() | st.timedeltas(-HOUR, HOUR),
    since=st.timedeltas(timedelta(), HOUR),
)


@settings(deadline=None)
@given(waiting=st.lists(jobs, max_size=12, unique_by=lambda job: job.id))
def test_the_line_has_each_job_that_may_begin_once_and_keeps_each_students_order(waiting: list[Waiting]) -> None:
    found = line(waiting, {}, NINE)
    assert len({job.id for job in found}) == len(found)
    for job in waiting:
        before = [each for each in waiting if (each.work, each.kind) == (job.work, job.kind) and each.order < job.order]
        held = any(each.not_before and each.not_before > NINE for each in (*before, job))
        assert (job in found) is not held
    for student in ("kim", "lee", "park"):
        order = [job.order for job in found if job.work[2] == student and job.kind == "grade"]
        assert order == sorted(order)


# In the database


class Clock:
    now = NINE

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(folder: Path, clock: Callable[[], datetime], attempts: int = 0) -> Store:
    store = Store(folder, clock, attempts=attempts)
    with store.writing() as session:
        session.add(CourseRow(name="camp", created=clock()))
    for assignment in ("one", "two"):
        store.release("camp", assignment, {}, by="teacher")
    return store


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with opened(tmp_path / "exchange", clock, attempts=3) as store:
        yield store


def test_more_attempts_than_an_hour_allows_are_taken_and_graded_when_it_does(store: Store, clock: Clock) -> None:
    for minute in range(5):
        clock.now = NINE + minute * MINUTE
        store.submit("camp", "one", "kim", {"a": bytes([minute])})
    store.submit("camp", "two", "kim", {})  # another assignment has attempts of its own
    store.submit("camp", "one", "lee", {})
    found = own_submissions(store, "camp", "kim")
    assert [own.not_before for own in found] == [None, None, None, NINE + HOUR, NINE + HOUR + MINUTE, None]
    assert [own.place for own in found] == [0, 2, 3, None, None, 4]
    begun = []
    for _ in range(6):
        job = store.claim()
        if job is not None:
            begun.append(job.submission)
            store.finish(job.id)
    assert begun == [1, 7, 2, 3, 6]
    clock.now = NINE + HOUR
    later = store.claim()
    assert later is not None
    assert later.submission == 4
    store.finish(later.id)
    assert store.claim() is None, "the fifth has a minute to wait"
    clock.now += MINUTE
    last = store.claim()
    assert last is not None
    assert last.submission == 5


def test_after_a_quiet_hour_all_attempts_are_there_again(store: Store, clock: Clock) -> None:
    for hour in range(2):
        clock.now = NINE + hour * HOUR
        for _ in range(3):
            store.submit("camp", "one", "kim", {})
    assert [own.not_before for own in own_submissions(store, "camp", "kim")] == [None] * 6


def test_an_instructor_who_asks_for_it_has_it_graded_before_the_hour_and_once(store: Store) -> None:
    for content in (b"1", b"2", b"3", b"4"):
        store.submit("camp", "one", "kim", {"a": content})
    job = store.enqueue("camp", "one", "kim", requested_by="teacher")
    assert (job, store.job(job).not_before) == (4, None)
    assert store.enqueue("camp", "one", "kim", requested_by="teacher") == job
    begun = []
    while (claimed := store.claim()) is not None:
        begun.append(claimed.submission)
        store.finish(claimed.id)
    assert begun == [1, 2, 3, 4]


STUDENTS, ASSIGNMENTS = ("kim", "lee", "park"), ("one", "two")


class Grading(RuleBasedStateMachine):
    """Submissions, gradings, kills and instructors in any order; at the end everything that waits is worked off."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.folder = tempfile.TemporaryDirectory()
        self.store = opened(Path(self.folder.name) / "exchange", self.clock, attempts=2)
        self.running: list[Job] = []
        self.graded: dict[int, int] = {}
        self.latest: dict[tuple[str, str], int] = {}
        self.batches: list[int] = []

    @rule(student=st.sampled_from(STUDENTS), assignment=st.sampled_from(ASSIGNMENTS))
    def submit(self, student: str, assignment: str) -> None:
        sent = self.store.submit("camp", assignment, student, {})
        self.graded[sent.id] = 0

    @rule(student=st.sampled_from(STUDENTS), assignment=st.sampled_from(ASSIGNMENTS))
    def ask_again(self, student: str, assignment: str) -> None:
        if self.store.latest_submission("camp", assignment, student) is not None:
            before = {job.id for job in self.running}
            job = self.store.enqueue("camp", assignment, student, requested_by="teacher")
            assert job not in before, "one that runs may have begun before what the instructor corrected"

    @rule()
    def claim(self) -> None:
        job = self.store.claim()
        if job is not None:
            assert job.state == "running"
            assert job.not_before is None or job.not_before <= self.clock.now
            self.running.append(job)

    @rule(which=st.integers(0, 5))
    def finish(self, which: int) -> None:
        if self.running:
            job = self.running.pop(which % len(self.running))
            if job.kind == "preview":
                self.store.finish(job.id, result={"before": None, "after": {"score": 1, "max_score": 1, "cells": {}}})
                return
            self.graded[job.submission] += 1
            work = (job.assignment, job.student)
            assert job.submission >= self.latest.get(work, 0), "the gradebook would go back to an older submission"
            self.latest[work] = job.submission
            self.store.finish(job.id, status="graded")

    @rule(assignment=st.sampled_from(ASSIGNMENTS), student=st.none() | st.sampled_from(STUDENTS))
    def preview(self, assignment: str, student: str | None) -> None:
        with suppress(NotFound, NotNow):
            self.batches.append(Batches(self.store).preview("camp", assignment, student, requested_by="teacher"))

    @rule(which=st.integers(0, 5), apply=st.booleans())
    def end_preview(self, which: int, apply: bool) -> None:
        if self.batches:
            number = self.batches[which % len(self.batches)]
            with suppress(NotNow):
                if apply:
                    Batches(self.store).apply(number, requested_by="teacher")
                else:
                    Batches(self.store).cancel(number)

    @rule()
    def kill(self) -> None:
        assert self.store.requeue_running() == len(self.running)
        for job in self.running:
            if job.kind == "grade" and self.store.job(job.id).state == "failed":
                self.graded[job.submission] += 1  # it waits for a person, who knows why
        self.running = []

    @rule(minutes=st.integers(1, 40))
    def wait(self, minutes: int) -> None:
        self.clock.now += minutes * MINUTE

    @invariant()
    def nothing_of_the_same_work_runs_twice(self) -> None:
        works = [(job.assignment, job.student) for job in self.running]
        assert len(set(works)) == len(works)

    def teardown(self) -> None:
        try:
            for _ in range(4 * len(self.graded) + 12 * len(self.batches) + 10 * ATTEMPTS_LIMIT):
                self.claim()
                self.finish(0)
                if not self.running:
                    self.wait(20)
            assert {Batches(self.store).batch(number).state for number in self.batches} <= {
                "ready",
                "applied",
                "cancelled",
            }
            assert all(self.graded.values()), f"never graded: {self.graded}"
            assert set(self.latest.items()) <= {
                ((assignment, student), number)
                for assignment in ASSIGNMENTS
                for student in STUDENTS
                for number in [self._last(assignment, student)]
            }
        finally:
            self.store.close()
            self.folder.cleanup()

    def _last(self, assignment: str, student: str) -> int:
        latest = self.store.latest_submission("camp", assignment, student)
        return latest.id if latest else 0


TestGrading = pytest.mark.slow(Grading.TestCase)
TestGrading.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
