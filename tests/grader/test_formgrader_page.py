"""Formgrader in a real browser, with the image's configuration, against the real exchange."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from nbgrader.api import Gradebook
from playwright.sync_api import Page, expect, sync_playwright

from gpuclass.exchange.store.deadlines import Deadline, Deadlines
from gpuclass.exchange.store.store import Store
from tests.classroom.test_browser import CHROMIUM, QUIET
from tests.exchange.conftest import Camp, running, user
from tests.grader.courses import source_version, write
from tests.grader.jupyter import TOKEN, jupyter

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # gradebooks that nbgrader leaves to be collected
]

PATIENCE_MS = 30_000
SIX = datetime(2026, 11, 24, 9, tzinfo=UTC)  # 18:00 in Seoul


class Desk(NamedTuple):
    """Formgrader's page of assignments, and what lies behind it."""

    page: Page
    camp: Camp
    course: Path

    def due_in_gradebook(self, assignment: str) -> datetime | None:
        with Gradebook(f"sqlite:///{self.course}/gradebook.db", "camp") as gradebook:
            due: datetime | None = gradebook.find_assignment(assignment).duedate
            return due and due.replace(tzinfo=UTC)

    def deadline(self, assignment: str) -> Deadline:
        with Store(self.camp.settings.exchange_folder) as store:
            return Deadlines(store).of("camp", assignment)

    def row(self, assignment: str) -> str:
        return f"#main-table tr:has(td.name[data-order='{assignment}'])"

    def edit(self, assignment: str) -> None:
        self.page.click(f"{self.row(assignment)} td.edit a")
        expect(self.page.locator("#edit-assignment-modal button.save")).to_be_visible()

    def save(self, due: str) -> None:
        self.page.fill("input.modal-duedate", due)
        self.page.click("#edit-assignment-modal button.save")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One for all tests here; the last of them ends the exchange."""
    tmp_path = tmp_path_factory.mktemp("desk")
    home = tmp_path / "home"
    for assignment in ("released", "draft"):
        write(home / "course" / "source" / assignment, source_version())
    (tmp_path / "camp").mkdir()
    with running(tmp_path / "camp") as camp:
        camp.hub.users["token-of-teacher"] = user("teacher")
        with Store(camp.settings.exchange_folder) as store:
            store.release("camp", "released", {"ps1.ipynb": b"{}"}, by="teacher")
        environment = {
            "GPUCLASS_EXCHANGE_URL": camp.settings.exchange_url,
            "GPUCLASS_COURSE": "camp",
            "GPUCLASS_LANGUAGE": "en",
            "GPUCLASS_TIMEZONE": "Asia/Seoul",
            "JUPYTERHUB_API_TOKEN": "token-of-teacher",
        }
        with jupyter(home, "instructor", environment) as url, sync_playwright() as playwright:
            sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *sandbox])
            page = browser.new_page()
            page.set_default_timeout(PATIENCE_MS)
            expect.set_options(timeout=PATIENCE_MS)
            page.goto(f"{url}/formgrader/manage_assignments?token={TOKEN}")
            yield Desk(page, camp, home / "course")
            browser.close()


def test_a_due_date_that_is_saved_is_the_exchanges_deadline_in_the_classs_zone(desk: Desk) -> None:
    page = desk.page
    desk.edit("released")
    expect(page.locator("input.modal-timezone")).to_have_value("+0900")
    desk.save("2026-11-24T18:00")
    expect(page.locator(f"{desk.row('released')} td.duedate")).to_have_text("2026-11-24 18:00:00 KST")
    expect(page.locator("#edit-assignment-modal")).to_have_count(0)
    assert desk.deadline("released") == Deadline(SIX)
    assert desk.due_in_gradebook("released") == SIX

    with Store(desk.camp.settings.exchange_folder) as store:
        Deadlines(store).put("camp", "released", SIX + timedelta(hours=1), by="operator")
    page.reload()
    expect(page.locator(f"{desk.row('released')} td.duedate")).to_have_text("2026-11-24 19:00:00 KST")

    desk.edit("released")
    page.fill("input.modal-timezone", "")
    desk.save("2026-11-24T20:00")
    expect(page.locator(f"{desk.row('released')} td.duedate")).to_have_text("2026-11-24 20:00:00 KST")
    assert desk.deadline("released") == Deadline(SIX + timedelta(hours=2))

    desk.edit("draft")
    desk.save("2026-11-24T18:00")
    expect(page.locator(f"{desk.row('draft')} td.duedate")).to_have_text("2026-11-24 18:00:00 KST")
    assert desk.due_in_gradebook("draft") == SIX
    assert desk.deadline("draft") == Deadline()

    desk.edit("released")
    desk.save("")
    expect(page.locator(f"{desk.row('released')} td.duedate")).to_have_text("None")
    assert desk.deadline("released") == Deadline()


def test_a_due_date_that_the_exchange_does_not_take_is_not_saved_and_the_dialog_says_why(desk: Desk) -> None:
    page = desk.page
    desk.edit("released")
    desk.save("2026-11-24T18:00")
    expect(page.locator(f"{desk.row('released')} td.duedate")).to_have_text("2026-11-24 18:00:00 KST")

    desk.edit("released")
    page.fill("input.modal-timezone", "Seoul")
    desk.save("2026-11-24T19:00")
    expect(page.locator("#edit-assignment-modal .not-saved")).to_contain_text("Leave the offset empty")

    desk.camp.stop()
    page.fill("input.modal-timezone", "+0900")
    desk.save("2026-11-24T19:00")
    expect(page.locator("#edit-assignment-modal .not-saved")).to_contain_text("The due date is not saved")
    expect(page.locator("#edit-assignment-modal button.save")).to_have_text("Save")
    assert desk.deadline("released") == Deadline(SIX)
    assert desk.due_in_gradebook("released") == SIX

    page.click("#edit-assignment-modal button.btn-danger")
    expect(page.locator("#edit-assignment-modal")).to_have_count(0)
    expect(page.locator(f"{desk.row('released')} td.duedate")).to_have_text("2026-11-24 18:00:00 KST")
