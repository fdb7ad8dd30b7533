"""A corrected assignment reaches a student's folder, and nothing that the student wrote is touched."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from gpuclass.exchange.client import folder
from gpuclass.exchange.client.receipts import due_line, receipt_line
from gpuclass.exchange.client.versions import Versions, told


def notebook(text: str) -> bytes:
    return json.dumps({"cells": [text], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


ONE = {"warm-up.ipynb": notebook("one"), "data/points.csv": b"1\n", "same.py": b"same"}
TWO = {"warm-up.ipynb": notebook("two"), "data/points.csv": b"2\n", "same.py": b"same", "new.txt": b"new"}
COPY = "warm-up (version 2).ipynb"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "home" / "day"


@pytest.fixture
def versions(tmp_path: Path, place: Path) -> Versions:
    """A student who has fetched version 1."""
    folder.write_new(place, ONE)
    found = Versions(tmp_path / "home", "camp", "day", place, "en")
    found.fetched(1, ONE)
    return found


def contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def edit(place: Path, text: str = "my answer") -> bytes:
    content = notebook(text)
    (place / "warm-up.ipynb").write_bytes(content)
    return content


def test_files_that_were_not_touched_become_the_new_ones_and_that_is_the_version(
    versions: Versions, place: Path
) -> None:
    assert versions.answered() == 1
    assert versions.is_behind(2)
    done = versions.update(2, TWO)
    assert contents(place) == TWO
    assert (done.replaced, done.added) == (["warm-up.ipynb", "data/points.csv"], ["new.txt"])
    assert versions.answered() == 2
    assert not versions.is_behind(2)


def test_an_edited_notebook_stays_and_the_new_one_lies_beside_it(versions: Versions, place: Path) -> None:
    mine = edit(place)
    done = versions.update(2, TWO)
    assert (place / "warm-up.ipynb").read_bytes() == mine
    assert json.loads((place / COPY).read_bytes())["cells"] == ["two"]
    assert (place / "data/points.csv").read_bytes() == b"2\n"
    assert versions.answered() == 1
    text = told("en", "day", 2, done)
    assert text == (
        "day has a new version 2. Files you had not changed are the new ones now: data/points.csv, new.txt. "
        f"Files you had changed stay; the new ones lie beside them: {COPY}."
    )
    assert "\n" not in told("ko", "day", 2, done)


def test_work_on_a_file_that_is_the_same_in_both_versions_answers_the_new_one(versions: Versions, place: Path) -> None:
    edit(place)
    done = versions.update(2, {**TWO, "warm-up.ipynb": ONE["warm-up.ipynb"]})
    assert done.beside == []
    assert versions.answered() == 2


def test_a_copy_never_lies_over_something_that_was_there(versions: Versions, place: Path) -> None:
    edit(place)
    (place / COPY).write_bytes(b"a student's own")
    versions.update(2, TWO)
    assert (place / COPY).read_bytes() == b"a student's own"
    assert (place / "warm-up (version 2) 2.ipynb").exists()


def test_who_takes_the_copy_over_answers_the_new_version_also_edited(versions: Versions, place: Path) -> None:
    edit(place)
    versions.update(2, TWO)
    (place / "warm-up.ipynb").rename(place / "old.ipynb")
    taken = json.loads((place / COPY).read_bytes())
    taken["cells"].append("my answer to the new one")
    (place / COPY).write_bytes(json.dumps(taken).encode())
    (place / COPY).rename(place / "warm-up.ipynb")
    assert versions.answered() == 2
    assert versions.edited_beside() == {}


def test_who_worked_in_the_copy_is_told_that_another_file_is_graded(versions: Versions, place: Path) -> None:
    edit(place)
    versions.update(2, TWO)
    assert versions.edited_beside() == {}
    (place / COPY).write_bytes(notebook("my answer, in the copy"))
    assert versions.edited_beside() == {"warm-up.ipynb": COPY}
    assert versions.answered() == 1


def test_a_deleted_file_comes_back_with_a_new_version_and_is_named(versions: Versions, place: Path) -> None:
    (place / "data/points.csv").unlink()
    (place / "same.py").unlink()
    done = versions.update(2, TWO)
    assert contents(place) == TWO
    assert done.back == ["data/points.csv", "same.py"]
    assert "are back, new: data/points.csv, same.py." in told("en", "day", 2, done)


def test_an_update_happens_once_and_a_third_version_follows_a_copy_that_was_taken_over(
    versions: Versions, place: Path
) -> None:
    edit(place)
    versions.update(2, TWO)
    (place / COPY).replace(place / "warm-up.ipynb")
    assert not versions.is_behind(2)
    versions.update(3, {**TWO, "warm-up.ipynb": notebook("three")})
    assert (place / "warm-up.ipynb").read_bytes() == notebook("three")
    assert versions.answered() == 3


def test_an_update_that_runs_out_of_disk_leaves_every_file_whole_and_goes_on_the_next_time(
    versions: Versions, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(place)

    def full(*_: object) -> list[str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder, "write_over", full)
    with pytest.raises(OSError, match="No space"):
        versions.update(2, TWO)
    assert {path: content for path, content in contents(place).items() if path in before} == before
    assert versions.answered() == 1
    monkeypatch.undo()
    assert versions.is_behind(2)
    versions.update(2, TWO)
    assert contents(place) == TWO


def test_a_link_is_neither_followed_nor_replaced(versions: Versions, place: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.ipynb"
    elsewhere.write_bytes(ONE["warm-up.ipynb"])
    (place / "warm-up.ipynb").unlink()
    (place / "warm-up.ipynb").symlink_to(elsewhere)
    versions.update(2, TWO)
    assert elsewhere.read_bytes() == ONE["warm-up.ipynb"]
    assert (place / "warm-up.ipynb").is_symlink()
    assert (place / COPY).exists()


def test_what_was_never_fetched_has_no_version_and_is_not_updated(tmp_path: Path, place: Path) -> None:
    folder.write_new(place, ONE)
    versions = Versions(tmp_path / "home", "camp", "day", place, "en")
    assert versions.answered() is None
    assert not versions.is_behind(2)


def test_what_is_remembered_lies_outside_the_students_folder(versions: Versions, place: Path) -> None:
    assert contents(place) == ONE


@pytest.mark.parametrize("content", ["", "[]", '{"seen": "x"}', '{"seen": 1, "files": {"a": 3}, "beside": {}}'])
def test_what_was_remembered_may_be_broken(versions: Versions, tmp_path: Path, content: str) -> None:
    [kept] = (tmp_path / "home/.local/share/gpuclass/assignments").iterdir()
    kept.write_text(content)
    assert versions.answered() is None
    assert not versions.is_behind(2)


DUE = "2026-11-24 09:00:00.000000 UTC"


@pytest.mark.parametrize(
    ("now", "korean", "english"),
    [
        ("2026-11-24 08:00:00.000000 UTC", "18:00까지", "due 18:00"),
        ("2026-11-22 08:00:00.000000 UTC", "11월 24일(화) 18:00까지", "due Tue 24 Nov 18:00"),
        ("2026-11-23 15:30:00.000000 UTC", "18:00까지", "due 18:00"),  # half past midnight in Seoul
        (
            "2026-11-24 09:00:01.000000 UTC",
            "18:00까지였어요. 지금 내면 늦은 제출이 돼요",
            "was due 18:00; what you submit now is late",
        ),
    ],
)
def test_a_deadline_is_shown_in_the_classs_zone(now: str, korean: str, english: str) -> None:
    assert due_line("ko", "Asia/Seoul", DUE, now) == korean
    assert due_line("en", "Asia/Seoul", DUE, now) == english


@pytest.mark.parametrize(
    ("more", "ends"),
    [
        ({"late": True, "due": DUE, "version": 2}, "receipt 17 · late · version 2"),
        ({"late": False, "due": DUE, "version": 1}, "receipt 17 · in time · version 1"),
        ({"late": False, "due": None, "version": 1}, "receipt 17 · version 1"),
    ],
)
def test_a_receipt_says_whether_it_is_late_and_what_it_answers(more: dict[str, object], ends: str) -> None:
    receipt = {"submission": 17, "timestamp": DUE, "size": 2048, **more}
    assert receipt_line("en", "Asia/Seoul", "day", receipt) == f"day · 2026-11-24 18:00:00 · 2.0 KB · {ends}"
