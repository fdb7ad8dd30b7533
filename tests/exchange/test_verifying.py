"""What is damaged is named with whose it is; what is well is not."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gpuclass.exchange.operating import verifying
from gpuclass.exchange.operating.looking import CannotLook
from gpuclass.exchange.operating.verifying import Damage, files_kept, verify
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.store import Store, Submission
from gpuclass.roster import Roster

FILES = {"warm-up.ipynb": b'{"cells": []}', "data/points.csv": b"x,y\n"}
OWN = {"warm-up.ipynb": b'{"cells": ["mine"]}'}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exchange"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder) as store:
        Courses(store, "camp", lambda: Roster(()))
        store.release("camp", "warm-up", FILES, by="teacher")
        yield store


@pytest.fixture
def mine(store: Store) -> Submission:
    """A submission with one file that nobody else has, and feedback on it."""
    return fill(store)


@pytest.fixture
def closed(folder: Path) -> Path:
    """The same, and no process has it open."""
    with Store(folder) as store:
        Courses(store, "camp", lambda: Roster(()))
        store.release("camp", "warm-up", FILES, by="teacher")
        fill(store)
    return folder


def fill(store: Store) -> Submission:
    store.submit("camp", "warm-up", "student1", FILES)
    mine = store.submit("camp", "warm-up", "student2", OWN)
    store.put_feedback(mine, {"warm-up.html": b"<p>good</p>"}, released=True, score=1, max_score=2)
    return mine


def place(store: Store, folder: Path, submission: Submission) -> Path:
    """Where the first file of a submission lies."""
    sha256 = store.files(submission)[0].sha256
    return folder / "objects" / sha256[:2] / sha256


def execute(folder: Path, statement: str, *values: object) -> None:
    """What somebody with an SQLite shell does."""
    with closing(sqlite3.connect(folder / "exchange.db")) as database, database:
        assert database.execute(statement, values).rowcount == 1


def only(folder: Path) -> Damage:
    (damage,) = verify(folder).damages
    return damage


def test_a_store_that_is_well_has_no_damage_and_all_is_counted(folder: Path, mine: Submission) -> None:
    counts: list[int] = []
    report = verify(folder, counts.append)
    assert report.damages == []
    assert (report.files, report.submissions, report.releases, report.feedback, report.unused) == (4, 2, 1, 1, 0)
    assert sum(counts) == report.bytes == sum(map(len, [*FILES.values(), *OWN.values(), b"<p>good</p>"]))


def test_what_a_submission_counts_against_a_quota_may_be_by_other_rules(folder: Path, mine: Submission) -> None:
    execute(folder, "UPDATE submissions SET space = 0 WHERE student = 'student2'")
    assert verify(folder).damages == []


def test_looking_changes_nothing(closed: Path) -> None:
    folder = closed
    next(folder.glob("objects/*/*")).chmod(0o600)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert verify(folder).damages
    after = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert {path.name for path in after.keys() - before.keys()} <= {"exchange.db-wal", "exchange.db-shm"}


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(0o440)


def truncate(path: Path) -> None:
    path.chmod(0o600)
    os.truncate(path, 5)
    path.chmod(0o440)


def swap(path: Path) -> None:
    other = next(each for each in path.parent.parent.glob("*/*") if each != path)
    path.unlink()
    shutil.copy(other, path)


@pytest.mark.parametrize(
    ("harm", "kind", "said"),
    [
        (flip_a_bit, "changed", "is not what it was."),
        (truncate, "changed", "19 bytes became 5."),
        (swap, "changed", "is not what it was."),
        (Path.unlink, "missing", "is missing."),
        (lambda path: path.chmod(0o644), "permissions", "has mode 644"),
    ],
)
def test_a_damaged_file_is_named_with_its_student(
    store: Store, folder: Path, mine: Submission, harm: Callable[[Path], None], kind: str, said: str
) -> None:
    path = place(store, folder, mine)
    harm(path)
    damage = only(folder)
    assert damage.kind == kind
    assert said in damage.what
    assert damage.subject == str(path.relative_to(folder))
    (holder,) = damage.holders
    assert (holder.kind, holder.student, holder.number) == ("submission", "student2", mine.id)
    assert str(holder).startswith(f"student2's submission {mine.id} to camp/warm-up of 20")


def test_a_damaged_file_names_everybody_who_has_it(store: Store, folder: Path, mine: Submission) -> None:
    sent = store.submissions("camp", "warm-up", "student1")[0]
    place(store, folder, sent).unlink()
    assert [holder.kind for holder in only(folder).holders] == ["release", "submission"]


def test_damaged_feedback_is_named(store: Store, folder: Path, mine: Submission) -> None:
    feedback = store.feedback(mine)
    assert feedback is not None
    sha256 = store.feedback_files(feedback)[0].sha256
    (folder / "objects" / sha256[:2] / sha256).unlink()
    assert [str(holder)[:34] for holder in only(folder).holders] == ["feedback on student2's submission "]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_that_the_service_may_not_read_is_named(store: Store, folder: Path, mine: Submission) -> None:
    os.chown(place(store, folder, mine), 4321, 4321)
    damage = only(folder)
    assert (damage.kind, damage.holders[0].student) == ("permissions", "student2")
    assert "belongs to user 4321" in damage.what


def test_healing_works_as_it_is_said(store: Store, folder: Path, mine: Submission) -> None:
    path = place(store, folder, mine)
    flip_a_bit(path)
    assert "Move it away" in only(folder).do
    path.rename(folder.parent / "aside")
    store.submit("camp", "warm-up", "student2", OWN)
    assert verify(folder).damages == []


def test_a_file_that_nobody_refers_to_is_harmless_but_counted(store: Store, folder: Path, mine: Submission) -> None:
    sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of "hello"
    path = folder / "objects" / "2c" / sha256
    path.write_bytes(b"hello")
    path.chmod(0o440)
    report = verify(folder)
    assert (report.damages, report.unused, report.unused_bytes) == ([], 1, 5)


def test_but_not_if_it_is_damaged_because_the_same_file_would_be_taken_for_it(folder: Path, mine: Submission) -> None:
    path = folder / "objects" / "2c" / "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    path.write_bytes(b"hallo")
    path.chmod(0o440)
    damage = only(folder)
    assert (damage.kind, damage.holders) == ("changed", ())
    assert damage.do.startswith("Nobody refers to it: move it away.")


def test_what_does_not_belong_there_is_named_and_not_followed(folder: Path, mine: Submission) -> None:
    (folder / "objects" / "2c" / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "objects" / "2c" / "pipe")
    assert [damage.subject for damage in verify(folder).damages] == ["objects/2c/link", "objects/2c/pipe"]


@pytest.mark.parametrize(
    ("statement", "kind", "said"),
    [
        ("UPDATE submissions SET size = 1 WHERE student = 'student2'", "row", "is not that of its files"),
        ("UPDATE submissions SET tree = 'x' WHERE student = 'student2'", "row", "refers to a row of trees"),
        ("UPDATE submissions SET release = 99 WHERE student = 'student2'", "row", "refers to a row of releases"),
        ("UPDATE submissions SET assignment = 'y' WHERE student = 'student2'", "row", "refers to a row of assignments"),
        ("DELETE FROM releases", "row", "refers to a row of releases"),
    ],
)
def test_an_edited_row_is_named(folder: Path, mine: Submission, statement: str, kind: str, said: str) -> None:
    execute(folder, statement)
    damages = [damage for damage in verify(folder).damages if said in damage.what]
    assert damages, verify(folder).damages
    assert damages[0].kind == kind


def edited(folder: Path, tree: str, edit: Callable[[list[list[object]]], object]) -> None:
    with closing(sqlite3.connect(folder / "exchange.db")) as database:
        files = json.loads(database.execute("SELECT files FROM trees WHERE sha256 = ?", [tree]).fetchone()[0])
    edit(files)
    execute(folder, "UPDATE trees SET files = ? WHERE sha256 = ?", json.dumps(files), tree)


@pytest.mark.parametrize(
    "edit",
    [
        lambda files: files[0].__setitem__(0, "other.ipynb"),
        lambda files: files[0].__setitem__(0, "../../etc/passwd"),
        lambda files: files[0].__setitem__(2, "0" * 32),
        lambda files: files[0].__setitem__(3, 1),
        lambda files: files.append([*files[0][:0], "more", *files[0][1:]]),
        lambda files: files.append("nonsense"),
        lambda files: files.clear(),
    ],
)
def test_an_edited_list_of_files_is_named_with_its_student(
    folder: Path, mine: Submission, edit: Callable[[list[list[object]]], object]
) -> None:
    edited(folder, mine.sha256, edit)
    damages = [damage for damage in verify(folder).damages if damage.subject == f"trees {mine.sha256}"]
    assert [holder.student for holder in damages[0].holders] == ["student2"]


def test_a_submission_moved_to_another_assignments_release_is_named(
    store: Store, folder: Path, mine: Submission
) -> None:
    store.release("camp", "other", FILES, by="teacher")
    execute(folder, "UPDATE submissions SET assignment = 'other' WHERE student = 'student2'")
    assert only(folder).what.endswith("answers a release of camp/warm-up.")


def test_a_broken_database_is_a_damage_and_no_traceback(closed: Path) -> None:
    with (closed / "exchange.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(3 * 4096))
    damages = verify(closed).damages
    assert damages[0].kind == "database"
    assert "backup" in damages[0].do


def test_a_missing_database_is_a_damage_where_there_are_files(closed: Path) -> None:
    (closed / "exchange.db").unlink()
    assert only(closed).kind == "database"


def test_where_nothing_was_kept_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(CannotLook, match="has not kept anything yet"):
        verify(tmp_path)


def test_what_comes_while_it_looks_is_no_damage(
    store: Store, folder: Path, mine: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(place: Path) -> tuple[dict[str, Any], list[Path]]:
        found = files_kept(place)
        store.submit("camp", "warm-up", "student3", {"warm-up.ipynb": b"just now"})
        return found

    monkeypatch.setattr(verifying, "files_kept", slowly)
    report = verify(folder)
    assert (report.damages, report.submissions, report.unused) == ([], 3, 0)


def test_it_finds_no_damage_while_students_submit(store: Store, folder: Path) -> None:
    done = threading.Event()

    def submit() -> None:
        number = 0
        while not done.is_set():
            store.submit("camp", "warm-up", f"s{number % 7}", {"warm-up.ipynb": str(number).encode()})
            number += 1

    students = threading.Thread(target=submit)
    students.start()
    try:
        for _ in range(20):
            assert verify(folder).damages == []
    finally:
        done.set()
        students.join()
