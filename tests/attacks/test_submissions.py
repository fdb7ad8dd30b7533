"""Hostile submissions through the whole of `gpuclass grade`: each gets what it is worth, and the next one too.

All are graded in one run by two workers. Those whose metadata lies, and thieves, go through stock nbgrader as well.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest

from gpuclass import images
from tests.attacks import stock
from tests.attacks.submissions import AVAILABILITY, EVERYTHING, FOUND, FULL, HONEST, METADATA, PAGE, THEFT
from tests.grader.courses import source_version, write

pytestmark = pytest.mark.images

CLASS = """[class]
name = "camp"
title = "Camp"
language = "en"
[grading]
workers = 2
cell_timeout = "3s"
timeout = "40s"
memory = "512M"
tmp = "64M"
processes = 64
"""


@pytest.fixture(scope="module")
def image() -> str:
    engine = images.connect()
    try:
        return images.build(["grader"], client=engine)["grader"]
    finally:
        engine.close()


class Graded:
    """What came of one run: rows by what was submitted, and the pages."""

    def __init__(self, rows: dict[str, dict[str, Any]], pages: dict[str, str]) -> None:
        self.rows = rows
        self.pages = pages


@pytest.fixture(scope="module")
def graded(image: str, tmp_path_factory: pytest.TempPathFactory) -> Graded:
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "class.toml").write_text(CLASS)
    source = write(folder / "ps1", source_version())
    given: list[Path] = []
    for name, hostile in EVERYTHING.items():
        given.append(folder / "in" / name)
        given[-1].mkdir(parents=True)
        hostile.make(given[-1])
    ran = subprocess.run(
        [sys.executable, "-m", "gpuclass", "grade", "--json", "--feedback", "out", str(source), *map(str, given)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "GPUCLASS_CONFIG": str(folder / "class.toml")},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    rows = {row["student"]: row for row in map(json.loads, ran.stdout.splitlines())}
    pages = {name: (folder / "out" / name / "ps1.html").read_text(encoding="utf-8") for name in rows}
    assert set(rows) == set(EVERYTHING)
    return Graded(rows, pages)


def check(name: str, graded: Graded) -> None:
    """Its score is what an honest reading gives, and the page says what a person needs to know."""
    hostile, row = EVERYTHING[name], graded.rows[name]
    assert row["status"] == ("quarantined" if hostile.quarantined else "graded"), row
    assert row["score"] == hostile.score, row
    assert row["max_score"] == 14.0
    assert "secret" not in graded.pages[name], "a hidden test"
    if hostile.quarantined:
        assert row["reason"]
        assert row["reason"] in graded.pages[name]


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_lies_changes_no_score(name: str, graded: Graded) -> None:
    check(name, graded)


@pytest.mark.parametrize("name", THEFT)
def test_a_thief_gets_nothing_and_keeps_what_is_earned(name: str, graded: Graded) -> None:
    check(name, graded)
    assert FOUND not in graded.pages[name]


@pytest.mark.parametrize("name", AVAILABILITY)
def test_what_is_made_to_stop_grading_gets_its_own_score_and_stops_nothing(name: str, graded: Graded) -> None:
    check(name, graded)


@pytest.mark.parametrize("name", HONEST)
def test_honest_work_among_all_that_gets_its_score(name: str, graded: Graded) -> None:
    check(name, graded)


class Active(HTMLParser):
    """Collects what could act in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "form", "base", "svg"):
            self.found.append(tag)
        for name, value in attrs:
            if name.startswith("on") or re.match(r"\s*(javascript|data:text|vbscript)", value or "", re.IGNORECASE):
                self.found.append(f"{tag} {name}={value}")


@pytest.mark.parametrize("name", EVERYTHING)
def test_nothing_in_a_feedback_page_acts(name: str, graded: Graded) -> None:
    page = Active()
    page.feed(graded.pages[name])
    assert page.found == []
    assert "default-src 'none'" in graded.pages[name]


def test_a_page_that_acts_would_be_found() -> None:
    page = Active()
    page.feed("<p onclick=x()><a href='javascript:x()'></a><script></script></p>")
    assert len(page.found) == 3


@pytest.mark.parametrize("name", PAGE)
def test_a_script_costs_and_gives_nothing(name: str, graded: Graded) -> None:
    check(name, graded)


@pytest.fixture(scope="module")
def stocks(image: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[stock.Outcome, dict[str, str]]:
    """Stock nbgrader's outcome, and who a submission is there; students ``a`` and ``b`` are right, and victims."""
    folder = tmp_path_factory.mktemp("stock")
    asked = {name: hostile for name, hostile in EVERYTHING.items() if hostile.stock}
    students = {name: f"s{number:02}" for number, name in enumerate(asked)}
    submissions = {}
    for name, student in {**students, "a": "a", "b": "b"}.items():
        (folder / student).mkdir()
        asked.get(name, HONEST["right"]).make(folder / student)
        submissions[student] = {path.name: path.read_bytes() for path in (folder / student).iterdir()}
    return stock.autograded(image, nbformat.writes(source_version()).encode(), submissions), students


@pytest.mark.parametrize("name", [name for name, hostile in EVERYTHING.items() if hostile.stock in ("less", "nothing")])
def test_stock_nbgrader_gives_it_less_than_it_is_worth(name: str, stocks: tuple[stock.Outcome, dict[str, str]]) -> None:
    outcome, students = stocks
    hostile, score = EVERYTHING[name], outcome.scores.get(students[name], 0.0)
    assert score == 0.0 if hostile.stock == "nothing" else score < hostile.score


def test_stock_nbgrader_is_robbed_of_scores_tests_and_pages(stocks: tuple[stock.Outcome, dict[str, str]]) -> None:
    outcome, students = stocks
    assert outcome.scores["b"] == FULL, "an honest student whom nobody robbed"
    assert outcome.scores["a"] > 14, "somebody else's score was changed"
    read = outcome.made[f"autograded/{students['reading the source']}/ps1/ps1.ipynb"]
    assert read.count("a hidden secret") > 1, "the hidden test was read"
    assert "planted()" in outcome.made["feedback/b/ps1/ps1.html"], "a page was planted among another's"
