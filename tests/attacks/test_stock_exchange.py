"""The same attacks on nbgrader's own shared folder, where they succeed: everybody in a container is the same Unix user.

They show that the attacks are ones, and why there is a service.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.exchange.stocknbgrader import Stock

pytestmark = pytest.mark.slow

HONEST = {"one.ipynb": b'{"cells": ["mine"]}'}


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stock:
    """A course on a shared folder, with one assignment."""
    (tmp_path / "exchange").mkdir(mode=0o777)
    made = Stock(tmp_path / "exchange", "camp", tmp_path / "home", monkeypatch)
    made.release("one", {"one.ipynb": b'{"cells": []}'})
    return made


def inbound(stock: Stock) -> Path:
    return stock.root / "camp" / "inbound"


def test_anybody_submits_for_anybody_with_any_time(stock: Stock) -> None:
    forged = inbound(stock) / "student2+one+1999-01-01 00:00:00.000000 UTC+x"
    forged.mkdir()
    (forged / "one.ipynb").write_bytes(b"planted by student1")
    (forged / "timestamp.txt").write_text("1999-01-01 00:00:00.000000 UTC")
    collected = stock.collect("one") / "student2" / "one"
    assert (collected / "one.ipynb").read_bytes() == b"planted by student1"
    assert (collected / "timestamp.txt").read_text() == "1999-01-01 00:00:00.000000 UTC"


def test_anybody_reads_changes_and_removes_anybodys_submission(stock: Stock) -> None:
    for student in ("student2", "student3"):
        stock.submit("one", student, HONEST)
    second, third = sorted(inbound(stock).iterdir())
    assert (second / "one.ipynb").read_bytes() == HONEST["one.ipynb"]
    (second / "one.ipynb").chmod(0o644)
    (second / "one.ipynb").write_bytes(b"changed by student1")
    shutil.rmtree(third)
    collected = stock.collect("one")
    assert (collected / "student2" / "one" / "one.ipynb").read_bytes() == b"changed by student1"
    assert not (collected / "student3").exists(), "lost"
