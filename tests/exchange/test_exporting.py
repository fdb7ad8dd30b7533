"""A course leaves as folders that nbgrader's own exchange takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpuclass.errors import PlainError, UsageError
from gpuclass.exchange.operating import exporting
from gpuclass.exchange.operating.exporting import export
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import Store, Submission
from gpuclass.roster import Roster
from tests.exchange.stocknbgrader import Stock

NINE = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
OLD = {"warm-up.ipynb": b'{"cells": []}', "data/points.csv": b"x,y\n"}
NEW = {"warm-up.ipynb": b'{"cells": [1]}', "data/points.csv": b"x,y\n"}
PAGE = {"warm-up.html": b"<p>good</p>"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exchange"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder, lambda: NINE) as store:
        Courses(store, "camp", lambda: Roster(()))
        store.release("camp", "warm-up", OLD, by="teacher")
        store.release("camp", "warm-up", NEW, by="teacher", again=True)
        yield store


def send(store: Store, student: str, content: bytes, minutes: int = 0) -> Submission:
    files = {"warm-up.ipynb": content, "data/mine.csv": b"1,2\n"}
    return store.submit("camp", "warm-up", student, files, received=NINE + timedelta(minutes=minutes))


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stock:
    return Stock(tmp_path / "out", "camp", tmp_path / "home", monkeypatch)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_stock_nbgrader_lists_and_fetches_the_newest_release(store: Store, folder: Path, stock: Stock) -> None:
    export(folder, "camp", stock.root, NINE)
    assert [(each["course_id"], each["assignment_id"]) for each in stock.list()] == [("camp", "warm-up")]
    assert contents(stock.fetch("warm-up")) == NEW


def test_stock_nbgrader_lists_every_submission_and_collects_the_latest(
    store: Store, folder: Path, stock: Stock
) -> None:
    for student, content, minutes in (("s1", b"first", 0), ("s1", b"second", 5), ("s2", b"other", 1)):
        send(store, student, content, minutes)
    export(folder, "camp", stock.root, NINE)
    listed = {each["student_id"]: each["submissions"] for each in stock.list(inbound=True)}
    assert {student: len(sent) for student, sent in listed.items()} == {"s1": 2, "s2": 1}
    assert listed["s1"][1]["timestamp"] == "2026-11-23 00:05:00.000000 UTC"
    collected = contents(stock.collect("warm-up") / "s1" / "warm-up")
    assert (collected["warm-up.ipynb"], collected["data/mine.csv"]) == (b"second", b"1,2\n")
    assert collected["timestamp.txt"] == b"2026-11-23 00:05:00.000000 UTC"


def into_cache(stock: Stock) -> None:
    """Students' caches of what they submitted, as nbgrader makes them: without the random ending."""
    for place in (stock.root / "camp" / "inbound").iterdir():
        shutil.copytree(place, stock.cache / "camp" / place.name.rsplit("+", 1)[0])


def test_stock_nbgrader_finds_the_feedback_of_each_submission(store: Store, folder: Path, stock: Stock) -> None:
    first, second = send(store, "s1", b"first"), send(store, "s2", b"second")
    store.put_feedback(first, {"warm-up.html": b"old"}, released=True)
    store.put_feedback(first, PAGE, released=True, score=1, max_score=2)
    store.put_feedback(second, {"warm-up.html": b"not yet"}, released=False)
    export(folder, "camp", stock.root, NINE)
    assert len(list((stock.root / "camp" / "feedback").iterdir())) == 1, "what was not released stays unreleased"
    into_cache(stock)
    assert stock.fetch_feedback("warm-up", "s1") == PAGE


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_stock_nbgrader_goes_on_with_what_was_exported(store: Store, folder: Path, stock: Stock) -> None:
    send(store, "s1", b"first")
    export(folder, "camp", stock.root, NINE)
    stock.root.chmod(0o777)  # nbgrader wants it so
    stock.submit("warm-up", "s2", {"warm-up.ipynb": b"by stock"})
    stock.collect("warm-up")
    stock.release_feedback("warm-up", "s1", {"warm-up.html": b"by stock"})
    into_cache_of_s1 = next((stock.root / "camp" / "inbound").glob("s1+*"))
    shutil.copytree(into_cache_of_s1, stock.cache / "camp" / into_cache_of_s1.name.rsplit("+", 1)[0])
    assert stock.fetch_feedback("warm-up", "s1") == {"warm-up.html": b"by stock"}


def test_modes_are_nbgraders_and_the_folder_is_its_owners_only(store: Store, folder: Path, stock: Stock) -> None:
    send(store, "s1", b"first")
    export(folder, "camp", stock.root, NINE)
    names = ("", "camp", "camp/outbound", "camp/inbound", "camp/feedback", "camp/outbound/warm-up/warm-up.ipynb")
    assert {name: (stock.root / name).stat().st_mode & 0o7777 for name in names} == {
        "": 0o700,
        "camp": 0o755,
        "camp/outbound": 0o755,
        "camp/inbound": 0o2733,
        "camp/feedback": 0o711,
        "camp/outbound/warm-up/warm-up.ipynb": 0o644,
    }


def test_what_is_hidden_is_not_released_there(store: Store, folder: Path, stock: Stock) -> None:
    send(store, "s1", b"first")
    store.hide_assignment("camp", "warm-up")
    export(folder, "camp", stock.root, NINE)
    assert stock.list() == []
    assert len(stock.list(inbound=True)) == 1


def test_nbgraders_own_files_are_ours_and_not_what_a_student_put_there(
    store: Store, folder: Path, stock: Stock
) -> None:
    forged = {"timestamp.txt": b"1999-01-01 00:00:00 UTC", "submission_secret.txt": b"of a friend", "a.ipynb": b"{}"}
    store.submit("camp", "warm-up", "s1", forged)
    store.submit("camp", "warm-up", "s2", {"timestamp.txt/in-a-folder": b"x", "a.ipynb": b"{}"})
    export(folder, "camp", stock.root, NINE)
    for place in (stock.root / "camp" / "inbound").iterdir():
        assert (place / "timestamp.txt").read_text() == "2026-11-23 00:00:00.000000 UTC"
        assert len((place / "submission_secret.txt").read_text()) == 128


def test_names_too_long_for_one_folder_are_kept_beside(store: Store, folder: Path, stock: Stock) -> None:
    name = "가" * 70
    store.release("camp", name, NEW, by="teacher")
    store.submit("camp", name, "s1", NEW)
    found = export(folder, "camp", stock.root, NINE)
    assert [text[:22] for text in found.apart] == ["s1's submission 1 to 가"]
    assert list((stock.root / "camp" / "inbound").iterdir()) == []


def test_a_dry_run_says_the_same_and_writes_nothing(store: Store, folder: Path, stock: Stock) -> None:
    send(store, "s1", b"first")
    planned = export(folder, "camp", stock.root, NINE, dry_run=True)
    assert not stock.root.exists()
    assert export(folder, "camp", stock.root, NINE) == planned
    assert (planned.submissions, planned.students, planned.files) == (1, 1, 6)


def test_a_folder_with_something_in_it_is_refused_and_left_alone(store: Store, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "dear").write_text("mine")
    with pytest.raises(UsageError, match=r"is not an empty folder\. Nothing was written"):
        export(folder, "camp", tmp_path / "full", NINE)
    assert contents(tmp_path / "full") == {"dear": b"mine"}
    with pytest.raises(UsageError, match="is not an empty folder"):
        export(folder, "camp", tmp_path / "full" / "dear", NINE)
    with pytest.raises(UsageError, match="in the exchange's own folder"):
        export(folder, "camp", folder / "out", NINE)
    with pytest.raises(UsageError, match=r"There is no course 'champ'\. Courses: camp\."):
        export(folder, "champ", tmp_path / "out", NINE)


@pytest.mark.parametrize("name", ["folder", "gpuclass-camp", "inbound"])
def test_any_name_of_a_course_is_exported(store: Store, folder: Path, stock: Stock, name: str) -> None:
    with store.writing() as session:
        session.add(CourseRow(name=name, created=NINE))
    store.release(name, "warm-up", NEW, by="teacher")
    store.submit(name, "warm-up", "s1", NEW)
    assert export(folder, name, stock.root, NINE).damaged == []
    assert len(list((stock.root / name / "inbound").iterdir())) == 1


def test_what_is_damaged_is_named_and_left_out_whole(store: Store, folder: Path, stock: Stock) -> None:
    sent = send(store, "s1", b"first")
    send(store, "s2", b"second")
    path = store.blobs.path(next(file.sha256 for file in store.files(sent) if file.path == "warm-up.ipynb"))
    path.chmod(0o600)
    path.write_bytes(b"fir5t")
    found = export(folder, "camp", stock.root, NINE)
    assert found.damaged == ["s1's submission 1 to warm-up: warm-up.ipynb"]
    assert [place.name.split("+")[0] for place in (stock.root / "camp" / "inbound").iterdir()] == ["s2"]


def test_an_export_that_fails_leaves_nothing(
    store: Store, folder: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(store, "s1", b"first")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "read_through", full)
    with pytest.raises(PlainError, match="is full; nothing was left there"):
        export(folder, "camp", stock.root, NINE)
    assert list(stock.root.iterdir()) == []


def test_without_room_nothing_is_begun(
    store: Store, folder: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MARGIN", 2**62)
    with pytest.raises(PlainError, match="Choose another disk"):
        export(folder, "camp", stock.root, NINE)
    assert not stock.root.exists()


def test_an_export_that_was_killed_is_recognised(store: Store, folder: Path, stock: Stock) -> None:
    (stock.root / ".exporting").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"An export that was cut short left \.exporting there; remove it"):
        export(folder, "camp", stock.root, NINE)
