"""A backup is whole at any moment, and what it holds comes back."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuclass.errors import PlainError, UsageError
from gpuclass.exchange.operating import backup
from gpuclass.exchange.operating.backup import back_up
from gpuclass.exchange.operating.verifying import verify
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.store import Store
from gpuclass.roster import Roster

NOTEBOOK = {"warm-up.ipynb": b"{}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exchange"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder) as store:
        Courses(store, "camp", lambda: Roster(()))
        store.release("camp", "warm-up", NOTEBOOK, by="teacher")
        yield store


def test_what_was_backed_up_comes_back(store: Store, folder: Path, target: Path) -> None:
    sent = store.submit("camp", "warm-up", "s1", {"warm-up.ipynb": b"mine"})
    assert back_up(folder, target).files == 2
    assert target.stat().st_mode & 0o777 == 0o700, "it is everybody's work: for its owner only"
    restored = folder.with_name("restored")
    shutil.copytree(target, restored)
    with Store(restored) as again:
        assert again.submissions("camp", "warm-up") == [sent]
        assert again.read(again.files(sent)[0]) == b"mine"
        again.submit("camp", "warm-up", "s2", {"warm-up.ipynb": b"later"})
    assert verify(restored).damages == []


def test_the_next_backup_copies_only_what_is_new(store: Store, folder: Path, target: Path) -> None:
    back_up(folder, target)
    store.submit("camp", "warm-up", "s1", {"warm-up.ipynb": b"mine"})
    done = back_up(folder, target)
    assert (done.files, done.bytes, done.there) == (1, 4, 1)
    report = verify(target)
    assert (report.damages, report.submissions) == ([], 1)


def test_a_backup_is_whole_while_students_submit(store: Store, folder: Path, target: Path) -> None:
    done = threading.Event()

    def submit() -> None:
        number = 0
        while not done.is_set():
            store.submit("camp", "warm-up", f"s{number % 7}", {"warm-up.ipynb": str(number).encode()})
            number += 1

    students = threading.Thread(target=submit)
    students.start()
    counts = []
    try:
        for _ in range(8):
            assert back_up(folder, target).damaged == []
            report = verify(target)
            assert report.damages == []
            counts.append(report.submissions)
    finally:
        done.set()
        students.join()
    assert counts == sorted(counts)
    assert counts[-1] > 0


def test_a_backup_that_is_cut_short_leaves_the_one_before(
    store: Store, folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(folder, target)
    store.submit("camp", "warm-up", "s1", {"warm-up.ipynb": b"mine"})

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(backup, "read_through", full)
        with pytest.raises(PlainError, match="An earlier backup in it is whole"):
            back_up(folder, target)
    report = verify(target)
    assert (report.damages, report.submissions) == ([], 0)
    (target / "objects" / "aa").mkdir(exist_ok=True)
    (target / "objects" / "aa" / "of-a-killed-one.new").touch()
    back_up(folder, target)
    report = verify(target)
    assert (report.damages, report.submissions) == ([], 1)
    assert sorted(path.name for path in target.iterdir()) == ["exchange.db", "objects"]


def test_a_damaged_file_never_takes_the_place_of_a_good_one(store: Store, folder: Path, target: Path) -> None:
    sent = store.submit("camp", "warm-up", "s1", {"warm-up.ipynb": b"mine"})
    path = store.blobs.path(sha256 := store.files(sent)[0].sha256)
    back_up(folder, target)
    path.chmod(0o600)
    path.write_bytes(b"mime")
    assert back_up(folder, target).damaged == [], "the good copy is there"
    assert verify(target).damages == []
    assert back_up(folder, target.with_name("other")).damaged == [sha256]


def test_only_a_folder_for_it_is_taken(store: Store, folder: Path, target: Path) -> None:
    with pytest.raises(UsageError, match="in the exchange's own folder"):
        back_up(folder, folder / "backup")
    target.mkdir()
    (target / "dear").write_text("mine")
    with pytest.raises(UsageError, match="holds something else than a backup: dear"):
        back_up(folder, target)
    with Store(target.with_name("live")):
        pass
    with pytest.raises(UsageError, match="holds something else than a backup: incoming"):
        back_up(folder, target.with_name("live"))


def test_an_exchange_that_came_up_empty_or_rolled_back_does_not_replace_the_backup(
    store: Store, folder: Path, target: Path
) -> None:
    store.submit("camp", "warm-up", "s1", {"warm-up.ipynb": b"first"})
    older = folder.with_name("older")
    back_up(folder, older)
    store.submit("camp", "warm-up", "s1", {"warm-up.ipynb": b"second"})
    back_up(folder, target)
    before = (target / "exchange.db").read_bytes()
    for wrong in ("empty", "older", "another"):
        place = folder.with_name(wrong)
        with Store(place) as other:
            if wrong != "older":
                Courses(other, "camp", lambda: Roster(()))
                other.release("camp", "warm-up", NOTEBOOK, by="teacher")
            for number in range(3 if wrong == "another" else 0):
                other.submit("camp", "warm-up", "s2", {"warm-up.ipynb": str(number).encode()})
        with pytest.raises(PlainError, match=r"lacks submission 2, .*the backup is as it was"):
            back_up(place, target)
        assert (target / "exchange.db").read_bytes() == before
        assert sorted(path.name for path in target.iterdir()) == ["exchange.db", "objects"]
    store.submit("camp", "warm-up", "s1", {"warm-up.ipynb": b"third"})
    back_up(folder, target)
    assert verify(target).submissions == 3
    (target / "exchange.db").write_bytes(b"no database" * 1000)
    with pytest.raises(PlainError, match=r"earlier backup cannot be read.*Back up into a new folder"):
        back_up(folder, target)


def test_two_backups_to_one_folder_do_not_meet(store: Store, folder: Path, target: Path) -> None:
    target.mkdir()
    with backup._alone(target), pytest.raises(UsageError, match="Another backup is being made"):
        back_up(folder, target)
