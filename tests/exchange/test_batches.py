"""Grading again: tried out first, applied once, whatever comes in between."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gpuclass.exchange.records import Job, NotFound
from gpuclass.exchange.store.batches import Batches, Cell, Change, NotNow
from gpuclass.exchange.store.progress import latest
from gpuclass.exchange.store.reading import own_submissions
from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import Store

NOON = datetime(2026, 11, 23, 3, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "exchange", lambda: NOON) as made:
        with made.writing() as session:
            session.add(CourseRow(name="camp", created=NOON))
        made.release("camp", "one", {}, by="teacher")
        yield made


def submit(store: Store, *students: str) -> None:
    for student in students:
        store.submit("camp", "one", student, {})


def scores(score: float, **cells: float) -> dict[str, Any]:
    return {"score": score, "max_score": 10.0, "cells": cells}


def work(store: Store, **results: Any) -> list[Job]:
    """Do all there is to do; a preview's result by student."""
    done = []
    while (job := store.claim()) is not None:
        if job.kind == "preview":
            found = results.get(job.student, {"before": scores(5, test=5.0), "after": scores(5, test=5.0)})
            store.finish(job.id, result=found) if isinstance(found, dict) else store.finish(job.id, error=found)
        else:
            store.finish(job.id, status="graded")
        done.append(job)
    return done


def test_a_preview_lists_whose_score_would_change_and_changes_nobodys_state(store: Store) -> None:
    submit(store, "kim", "lee", "park")
    work(store)
    batches = Batches(store)
    number = batches.preview("camp", "one", None, requested_by="teacher")
    assert [own.state for own in own_submissions(store, "camp", "kim")] == ["done"]
    assert batches.batch(number).state == "previewing"
    work(
        store,
        kim={"before": scores(5, test=5.0, old=0.0), "after": scores(2, test=2.0, new=0.0)},
        lee={"before": None, "after": scores(2, test=2.0)},
    )
    found = batches.batch(number)
    assert (found.state, found.total, found.done, found.failed, found.unchanged) == ("ready", 3, 3, 0, 1)
    assert found.changes == (
        Change("kim", 5, 2, 10, (Cell("new", None, 0.0), Cell("old", 0.0, None), Cell("test", 5.0, 2.0))),
        Change("lee", None, 2, 10, (Cell("test", None, 2.0),)),
    )
    assert [each.stage for each in latest(store, "camp")] == ["graded"] * 3
    assert batches.applied("camp", "one") == 0


def test_applying_grades_the_latest_of_everybody_once_those_who_submitted_meanwhile_too(store: Store) -> None:
    submit(store, "kim", "lee")
    work(store)
    batches = Batches(store)
    number = batches.preview("camp", "one", None, requested_by="teacher")
    work(store)
    submit(store, "park")
    work(store)  # graded with the version before
    submit(store, "kim")  # waits: it is graded with the new one anyway
    batches.apply(number, requested_by="teacher")
    batches.apply(number, requested_by="teacher")
    assert batches.applied("camp", "one") == number
    done = work(store)
    assert sorted((job.student, job.submission, job.batch) for job in done) == [
        ("kim", 4, None),
        ("lee", 2, number),
        ("park", 3, number),
    ]
    assert done[0].student == "kim", "a student who waits comes before a batch"
    assert batches.batch(number).state == "applied"
    assert (batches.batch(number).total, batches.batch(number).done) == (2, 2)


def test_of_one_student_only_that_ones_submission_is_graded_again(store: Store) -> None:
    submit(store, "kim", "lee")
    work(store)
    batches = Batches(store)
    number = batches.preview("camp", "one", "lee", requested_by="teacher")
    assert [job.student for job in work(store)] == ["lee"]
    batches.apply(number, requested_by="teacher")
    assert [job.student for job in work(store)] == ["lee"]


def test_a_newer_question_cancels_the_one_before_and_only_what_is_ready_can_be_applied(store: Store) -> None:
    submit(store, "kim", "lee")
    work(store)
    batches = Batches(store)
    first = batches.preview("camp", "one", None, requested_by="teacher")
    with pytest.raises(NotNow, match="still being tried out"):
        batches.apply(first, requested_by="teacher")
    running = store.claim()
    assert running is not None
    second = batches.preview("camp", "one", None, requested_by="teacher")
    assert not batches.is_over(first), "one of its previews still runs"
    store.finish(running.id, result={"before": None, "after": scores(1)})
    assert batches.is_over(first)
    assert {job.batch for job in work(store)} == {second}
    with pytest.raises(NotNow, match="cancelled, perhaps for a newer one"):
        batches.apply(first, requested_by="teacher")
    batches.apply(second, requested_by="teacher")
    with pytest.raises(NotNow, match="cannot be cancelled"):
        batches.cancel(second)
    with pytest.raises(NotNow, match=f"Re-grade {second} of one is being applied"):
        batches.preview("camp", "one", None, requested_by="teacher")
    work(store)
    assert batches.preview("camp", "one", None, requested_by="teacher") > second


def test_where_nothing_could_be_tried_out_there_is_nothing_to_apply_and_it_says_why(store: Store) -> None:
    submit(store, "kim")
    work(store)
    batches = Batches(store)
    number = batches.preview("camp", "one", None, requested_by="teacher")
    work(store, kim="no source version")
    assert batches.batch(number).failing == (("kim", "no source version"),)
    with pytest.raises(NotNow, match="nothing to apply"):
        batches.apply(number, requested_by="teacher")
    assert latest(store, "camp")[0].stage == "graded", "the score that is there stands"


def test_there_must_be_something_that_was_graded(store: Store) -> None:
    batches = Batches(store)
    submit(store, "kim")  # waits
    for student in (None, "lee"):
        with pytest.raises(NotFound, match="Graded submission"):
            batches.preview("camp", "one", student, requested_by="teacher")
    with pytest.raises(NotFound, match="Assignment"):
        batches.preview("camp", "other", None, requested_by="teacher")
    with pytest.raises(NotFound, match="Re-grade"):
        batches.batch(7)


@pytest.mark.parametrize("applied", [False, True])
def test_a_killed_worker_goes_on_where_it_was(store: Store, applied: bool) -> None:
    submit(store, "kim", "lee")
    work(store)
    batches = Batches(store)
    number = batches.preview("camp", "one", None, requested_by="teacher")
    if applied:
        work(store)
        batches.apply(number, requested_by="teacher")
    for _ in range(2):
        assert store.claim() is not None
        assert store.requeue_running() == 1
    assert len(work(store)) == 2
    assert batches.batch(number).state == ("applied" if applied else "ready")


def test_a_preview_that_kills_the_worker_ends_its_batch_too(store: Store) -> None:
    submit(store, "kim")
    work(store)
    batches = Batches(store)
    number = batches.preview("camp", "one", None, requested_by="teacher")
    for _ in range(3):
        assert store.claim() is not None
        store.requeue_running()
    found = batches.batch(number)
    assert (found.state, found.failed) == ("ready", 1)
