"""A disk that is really full: nothing that was receipted suffers, and the service goes on when there is room."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import Store
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree
from tests.exchange.streaming import new_key, send

pytestmark = pytest.mark.slow

DISK = 16 * 2**20  # bytes
STUDENTS = ("student1", "student2", "student3")
EVERYTHING = "1K"  # a reserve that leaves the disk full


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own at ``folder``, in memory; needs root, as the project's tests do."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """A file that takes every byte that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(disk).free == 0
    return filler


def submit_until_refused(camp: Camp, size: int, limit: int) -> tuple[dict[str, tuple[int, bytes]], int]:
    """What was kept, by key: number and content; and the status of the first refusal."""
    kept: dict[str, tuple[int, bytes]] = {}
    for number in range(limit):
        content, key = secrets.token_bytes(size), new_key()
        answer = send(camp.by(STUDENTS[number % len(STUDENTS)]), "one", {"warm-up.ipynb": content}, key)
        if answer.status_code != 200:
            assert "it was not submitted" in answer.json()["message"]
            return kept, answer.status_code
        kept[key] = answer.json()["submission"], content
    raise AssertionError("the disk was never full")


def submit_empty_files(store: Store, kept: dict[int, bytes], count: int) -> None:
    """They take no room but in the database."""
    for number in range(count):
        kept[store.submit("camp", "one", f"student{number}", {"empty.txt": b""}).id] = b""


def read_all(store: Store) -> dict[int, bytes]:
    return {
        submission.id: b"".join(store.read(file) for file in store.files(submission))
        for submission in store.submissions("camp", "one")
    }


def test_a_full_disk_refuses_keeps_every_receipt_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "exchange") as disk,
        running(tmp_path, as_process=True, reserve=EVERYTHING, per_minute=10_000) as camp,
    ):
        camp.by("teacher").post("api/assignment/camp/one", data={"files": tree(NOTEBOOK)}).raise_for_status()
        kept, status = submit_until_refused(camp, 700_000, 100)  # no room for the files
        assert (status, len(kept) > 5) == (507, True)
        filler = fill(disk)
        assert submit_until_refused(camp, 1, 1) == ({}, 507)
        key = next(iter(kept))  # a press whose receipt got lost is still answered with its receipt
        again = send(camp.by("student1"), "one", {"warm-up.ipynb": kept[key][1]}, key)
        assert (again.status_code, again.json()["submission"], again.json()["again"]) == (200, kept[key][0], True)
        listed = camp.by("teacher").get("api/submissions/camp/one").json()["submissions"]
        assert len(listed) == len(kept)

        filler.unlink()
        later = send(camp.by("student1"), "one", {"warm-up.ipynb": b"later"})
        assert later.status_code == 200, later.text
        with Store(disk) as store:
            read = read_all(store)
            assert read == dict(kept.values()) | {later.json()["submission"]: b"later"}
            assert list((disk / "incoming").glob("*/*")) == []
        camp.log.write_text("")  # the refusals' tracebacks are meant


def test_a_database_without_room_refuses_keeps_every_receipt_and_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "exchange") as disk, Store(disk) as store:
        with store.writing() as session:
            session.add(CourseRow(name="camp", created=store.clock()))
        store.release("camp", "one", NOTEBOOK, by="teacher")
        kept: dict[int, bytes] = {}
        submit_empty_files(store, kept, 20)
        fill(disk)
        with pytest.raises(OperationalError, match="full"):
            submit_empty_files(store, kept, 100_000)
        assert len(kept) >= 20
        assert read_all(store) == kept
        (disk / "filler").unlink()
        kept[store.submit("camp", "one", "later", {"later.txt": b"later"}).id] = b"later"
        assert read_all(store) == kept
        with store.reading() as session:
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"


def test_the_reserve_leaves_room_for_the_grader_and_the_gradebook(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "exchange") as disk,
        running(tmp_path, as_process=True, reserve="4M", per_minute=10_000) as camp,
    ):
        camp.by("teacher").post("api/assignment/camp/one", data={"files": tree(NOTEBOOK)}).raise_for_status()
        kept, status = submit_until_refused(camp, 700_000, 100)
        assert (status, len(kept) > 3) == (507, True)
        left = os.statvfs(disk)
        assert left.f_bavail * left.f_frsize >= 4 * 2**20 - 2**20  # the database's own growth is not counted
        with Store(disk) as worker:
            submission = worker.submission(next(iter(kept.values()))[0])
            worker.put_feedback(submission, {"warm-up.html": bytes(100_000)}, released=True)
        camp.log.write_text("")  # the refusals' tracebacks are meant
