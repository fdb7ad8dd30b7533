"""The exchange's store: what it returned is on disk, whole, once, and stays."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpuclass.exchange.names import UnsafeName
from gpuclass.exchange.store.queue import ATTEMPTS_LIMIT
from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import AlreadyThere, DiskFull, KeyReused, NotFound, QuotaExceeded, Store

NINE = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
FILES = {"warm-up.ipynb": b'{"cells": []}', "data/points.csv": b"x,y\n"}


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NINE

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store(tmp_path / "exchange", clock) as store:
        add_course(store, "camp")
        store.release("camp", "warm-up", FILES, by="teacher")
        yield store


def add_course(store: Store, name: str) -> None:
    with store.writing() as session:
        session.add(CourseRow(name=name, created=store.clock()))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_submission_comes_back_as_it_was_sent_with_the_servers_time(store: Store, tmp_path: Path) -> None:
    submission = store.submit("camp", "warm-up", "student1", {**FILES, "timestamp.txt": b"1999-01-01 00:00:00 UTC"})
    assert (submission.student, submission.received, submission.size) == ("student1", NINE, 40)
    store.write_files(submission, tmp_path / "submitted")
    assert contents(tmp_path / "submitted") == {**FILES, "timestamp.txt": b"2026-11-23 00:00:00.000000 UTC"}


def test_written_files_replace_the_folder_as_a_whole(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "submitted" / "student1"
    folder.mkdir(parents=True)
    (folder / "numpy.py").write_text("planted")
    store.write_files(store.submit("camp", "warm-up", "student1", FILES), folder)
    assert set(contents(folder)) == {*FILES, "timestamp.txt"}
    assert [path.name for path in folder.parent.iterdir()] == ["student1"]


def test_what_was_stored_is_there_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_course(store, "camp")
        store.release("camp", "warm-up", FILES, by="teacher")
        sent = store.submit("camp", "warm-up", "student1", FILES)
    with Store(tmp_path) as store:
        assert store.submissions("camp", "warm-up") == [sent]
        assert {file.path: store.read(file) for file in store.files(sent)} == FILES


def test_the_same_content_is_kept_once(store: Store, tmp_path: Path) -> None:
    for student in ("student1", "student2", "student1"):
        store.submit("camp", "warm-up", student, FILES)
    assert len([path for path in (tmp_path / "exchange" / "objects").rglob("*") if path.is_file()]) == len(FILES)
    assert len(store.submissions("camp", "warm-up")) == 3


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: bytes([content[0] ^ 1]) + content[1:]])
def test_a_file_that_a_disk_has_damaged_is_replaced_when_it_is_sent_again(
    store: Store, damage: Callable[[bytes], bytes]
) -> None:
    submission = store.submit("camp", "warm-up", "student1", FILES)
    file = store.files(submission)[0]
    path = store.blobs.path(file.sha256)
    path.chmod(0o600)
    path.write_bytes(damage(FILES[file.path]))
    store.submit("camp", "warm-up", "student1", FILES)
    assert store.read(file) == FILES[file.path]


def test_two_submissions_at_the_same_instant_have_different_times(store: Store) -> None:
    first, second = (store.submit("camp", "warm-up", "student1", FILES) for _ in range(2))
    assert second.received - first.received == timedelta(microseconds=1)
    assert store.latest_submission("camp", "warm-up", "student1") == second


def test_the_latest_is_the_one_that_came_last_even_if_the_clock_was_set_back(store: Store, clock: Clock) -> None:
    store.submit("camp", "warm-up", "student1", FILES)
    clock.now -= timedelta(hours=1)
    last = store.submit("camp", "warm-up", "student1", FILES)
    assert store.latest_submission("camp", "warm-up", "student1") == last


def test_a_release_of_the_same_name_is_refused_unless_it_is_meant(store: Store) -> None:
    with pytest.raises(AlreadyThere):
        store.release("camp", "warm-up", FILES, by="teacher")
    assert store.release("camp", "warm-up", {"warm-up.ipynb": b"{}"}, by="teacher", again=True) == 2
    assert [file.path for file in store.released_files("camp", "warm-up")] == ["warm-up.ipynb"]


def test_releasing_again_keeps_every_submission(store: Store) -> None:
    sent = store.submit("camp", "warm-up", "student1", FILES)
    store.release("camp", "warm-up", {"warm-up.ipynb": b"{}"}, by="teacher", again=True)
    assert store.submissions("camp", "warm-up") == [sent]


def test_a_hidden_assignment_is_gone_until_it_is_released_again_and_nothing_is_lost(store: Store) -> None:
    sent = store.submit("camp", "warm-up", "student1", FILES)
    store.hide_assignment("camp", "warm-up")
    assert store.assignments("camp") == []
    with pytest.raises(NotFound, match="Assignment not found"):
        store.submit("camp", "warm-up", "student1", FILES)
    assert store.latest_submission("camp", "warm-up", "student1") == sent  # a grading under way goes on
    store.release("camp", "warm-up", FILES, by="teacher")
    assert store.submissions("camp", "warm-up") == [sent]


def test_an_unknown_course_or_assignment_stores_nothing(store: Store, tmp_path: Path) -> None:
    for course, assignment in (("other", "warm-up"), ("camp", "other")):
        with pytest.raises(NotFound):
            store.submit(course, assignment, "student1", {"new.txt": b"only here"})
    assert len([path for path in (tmp_path / "exchange" / "objects").rglob("*") if path.is_file()]) == len(FILES)


@pytest.mark.parametrize("path", ["../gradebook.db", "/etc/passwd", "a/../b", "a\0b", "", "."])
def test_a_path_that_leaves_the_folder_is_refused(store: Store, path: str) -> None:
    with pytest.raises(UnsafeName):
        store.submit("camp", "warm-up", "student1", {path: b""})


def test_a_full_quota_refuses_and_tells_how_much_is_used(store: Store) -> None:
    store.submit("camp", "warm-up", "student1", {"a.txt": b"x" * 6000}, quota=10_000)
    with pytest.raises(QuotaExceeded) as refusal:
        store.submit("camp", "warm-up", "student1", {"b.txt": b"x"}, quota=10_000)  # a byte fills a block
    assert (refusal.value.used, refusal.value.limit) == (6000, 10_000)
    store.submit("camp", "warm-up", "student2", {"b.txt": b"x"}, quota=10_000)


def test_a_full_disk_refuses_and_leaves_nothing_half_done(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.submit("camp", "warm-up", "student1", {"new.txt": b"new"})
    assert store.submissions("camp", "warm-up") == []
    assert list(store.incoming.iterdir()) == []


def test_a_draft_written_in_pieces_is_submitted_and_keeps_nothing_open(store: Store) -> None:
    with store.draft() as draft:
        for piece in (b"first ", b"", b"second"):
            draft.write(piece)
        assert draft.size == 12
        blob = draft.finish()
        assert blob.sha256 == hashlib.sha256(b"first second").hexdigest()
        assert blob.md5 == hashlib.md5(b"first second", usedforsecurity=False).hexdigest()
        submission = store.submit("camp", "warm-up", "student1", {"a.txt": draft, "b.txt": b"first second"})
    assert [store.read(file) for file in store.files(submission)] == [b"first second"] * 2
    assert list(store.incoming.iterdir()) == []


def test_a_draft_that_is_dropped_leaves_nothing_and_cannot_be_submitted(store: Store) -> None:
    draft = store.draft()
    draft.write(b"new")
    draft.finish()
    draft.drop()
    draft.drop()
    assert list(store.incoming.iterdir()) == []
    with pytest.raises(OSError, match="No such file"):
        store.submit("camp", "warm-up", "student1", {"new.txt": draft})
    assert store.submissions("camp", "warm-up") == []


def test_a_refused_submission_leaves_no_file_behind(store: Store, tmp_path: Path) -> None:
    store.submit("camp", "warm-up", "student1", FILES, key="press-1")
    before = contents(tmp_path / "exchange" / "objects")
    with pytest.raises(KeyReused):
        store.submit("camp", "warm-up", "student1", {"other.txt": b"other"}, key="press-1")
    with store.draft() as draft:
        draft.write(b"x" * 10_000)
        with pytest.raises(QuotaExceeded):
            store.submit("camp", "warm-up", "student1", {"large.txt": draft}, quota=10_000)
    assert contents(tmp_path / "exchange" / "objects") == before
    assert list(store.incoming.iterdir()) == []


def test_what_is_pressed_again_says_so_and_is_found_by_its_key(store: Store) -> None:
    assert store.before("camp", "warm-up", "student1", "press-1") == (None, 0)
    first = store.submit("camp", "warm-up", "student1", FILES, key="press-1")
    second = store.submit("camp", "warm-up", "student1", FILES, key="press-1", quota=1)
    assert (first, first.again, second.again) == (second, False, True)
    assert store.before("camp", "warm-up", "student1", "press-1") == (first, 2 * 4096)
    assert store.before("camp", "warm-up", "student2", "press-1") == (None, 0)
    assert store.before("camp", "nothing", "student1", "press-1") == (None, None)


def test_below_the_reserve_nothing_is_taken_and_all_else_goes_on(tmp_path: Path) -> None:
    with Store(tmp_path) as roomy:
        add_course(roomy, "camp")
        roomy.release("camp", "warm-up", FILES, by="teacher")
        sent = roomy.submit("camp", "warm-up", "student1", FILES)
    free = shutil.disk_usage(tmp_path).free
    with Store(tmp_path, reserve=2 * free) as store:
        with pytest.raises(DiskFull) as refusal:
            store.submit("camp", "warm-up", "student2", FILES)
        assert refusal.value.errno == errno.ENOSPC
        assert store.submissions("camp", "warm-up") == [sent]
        assert store.claim() is not None
    with Store(tmp_path, reserve=free // 2) as store:
        store.check_room(0)
        with pytest.raises(DiskFull):
            store.check_room(free)


def test_what_a_killed_process_wrote_is_on_disk_before_anybody_is_told_of_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.submit("camp", "warm-up", "student1", FILES)  # as if killed before its sync: SQLite takes it for committed
    synced = []
    sync = os.fsync

    def note(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    with Store(tmp_path / "exchange"):
        assert tmp_path / "exchange" / "exchange.db-wal" in synced


def test_feedback_replaces_earlier_feedback(store: Store) -> None:
    submission = store.submit("camp", "warm-up", "student1", FILES)
    assert store.feedback(submission) is None
    store.put_feedback(submission, {"warm-up.html": b"first"}, released=False)
    store.put_feedback(submission, {"warm-up.html": b"second"}, released=True, score=3.0, max_score=4.0)
    feedback = store.feedback(submission)
    assert feedback is not None
    assert (feedback.released, feedback.score, feedback.max_score) == (True, 3.0, 4.0)
    assert [store.read(file) for file in store.feedback_files(feedback)] == [b"second"]


def test_standing_tells_how_far_each_submission_is(store: Store) -> None:
    graded = store.submit("camp", "warm-up", "student1", FILES)
    job = store.claim()
    assert job is not None
    store.put_feedback(graded, {"warm-up.html": b"good"}, released=True, score=1.0, max_score=1.0)
    store.finish(job.id)
    waiting = store.submit("camp", "warm-up", "student1", FILES)
    store.submit("camp", "warm-up", "student2", FILES)
    first, second = store.standing("camp", "student1")
    assert (first.submission, first.state, first.feedback and first.feedback.score) == (graded, "done", 1.0)
    assert (second.submission, second.state, second.feedback) == (waiting, "waiting", None)


def test_jobs_are_claimed_in_the_order_of_the_submissions_and_once(store: Store) -> None:
    sent = [store.submit("camp", "warm-up", student, FILES) for student in ("student1", "student2")]
    jobs = [store.claim(), store.claim()]
    assert [job and (job.submission, job.state) for job in jobs] == [(s.id, "running") for s in sent]
    assert store.claim() is None


def test_one_students_submissions_to_an_assignment_are_graded_one_after_the_other(store: Store) -> None:
    first, second = (store.submit("camp", "warm-up", "student1", FILES) for _ in range(2))
    job = store.claim()
    assert job is not None
    assert job.submission == first.id
    assert store.claim() is None
    store.finish(job.id)
    later = store.claim()
    assert later is not None
    assert later.submission == second.id


def test_a_finished_job_says_how_it_ended(store: Store) -> None:
    store.submit("camp", "warm-up", "student1", FILES)
    job = store.claim()
    assert job is not None
    store.finish(job.id, error="the notebook is not JSON")
    assert (store.job(job.id).state, store.job(job.id).error) == ("failed", "the notebook is not JSON")


def test_enqueue_grades_the_latest_submission_again(store: Store) -> None:
    with pytest.raises(NotFound):
        store.enqueue("camp", "warm-up", "student1", requested_by="teacher")
    sent = store.submit("camp", "warm-up", "student1", FILES)
    first = store.claim()
    assert first is not None
    store.finish(first.id)
    job = store.job(store.enqueue("camp", "warm-up", "student1", requested_by="teacher"))
    assert (job.submission, job.requested_by, job.state) == (sent.id, "teacher", "waiting")


def test_a_job_that_a_killed_worker_left_is_done_again_but_not_forever(store: Store) -> None:
    store.submit("camp", "warm-up", "student1", FILES)
    attempts = []
    for _ in range(ATTEMPTS_LIMIT):
        attempts.append(store.claim())
        assert store.requeue_running() == 1
    assert store.claim() is None
    [number] = {job.id for job in attempts if job}
    assert store.job(number).state == "failed"
    assert "died" in str(store.job(number).error)


def submit_many(folder: Path, student: str, count: int) -> None:
    with Store(folder) as store:
        for number in range(count):
            store.submit("camp", "warm-up", student, {"n.txt": str(number % 3).encode()})


def claim_all(folder: Path, claimed: multiprocessing.Queue[int]) -> None:
    with Store(folder) as store:
        while (job := store.claim()) is not None:
            claimed.put(job.id)
            store.finish(job.id)


@pytest.mark.slow
def test_processes_that_submit_and_claim_at_once_lose_and_double_nothing(store: Store, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    folder = tmp_path / "exchange"
    writers = [context.Process(target=submit_many, args=(folder, f"student{n}", 25)) for n in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert len(store.submissions("camp", "warm-up")) == 100
    claimed: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=claim_all, args=(folder, claimed)) for _ in range(3)]
    for process in workers:
        process.start()
    ids = sorted(claimed.get(timeout=60) for _ in range(100))
    for process in workers:
        process.join()
    assert ids == sorted(set(ids))
    assert {process.exitcode for process in writers + workers} == {0}


KILLED_WHILE_SUBMITTING = """
import os, sys
from pathlib import Path
from gpuclass.exchange.store.store import Store
store = Store(Path(sys.argv[1]))
number = 0
while True:
    submission = store.submit("camp", "warm-up", "student1", {"n.txt": f"{os.getpid()} {number}".encode()})
    print(submission.id, submission.sha256, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_every_receipt_has_its_submission_after_kill_9_and_leftovers_go(store: Store, tmp_path: Path) -> None:
    receipts: list[list[str]] = []
    for round_ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_WHILE_SUBMITTING, tmp_path / "exchange"], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            receipts += [process.stdout.readline().split() for _ in range(3 + round_)]
            process.send_signal(signal.SIGKILL)
            receipts += [line.split() for line in process.stdout if line.endswith("\n")]
    (store.incoming / "mine").touch()
    with Store(tmp_path / "exchange") as again:
        kept = {(submission.id, submission.sha256) for submission in again.submissions("camp", "warm-up")}
        assert {(int(number), sha256) for number, sha256 in receipts} <= kept
        for submission in again.submissions("camp", "warm-up"):
            assert all(again.read(file) for file in again.files(submission))
        assert (store.incoming / "mine").exists()  # its owner lives
        assert len(list(store.incoming.parent.iterdir())) == 2
