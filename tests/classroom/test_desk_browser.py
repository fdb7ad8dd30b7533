"""The class desk in a real browser: a student's page, and the panel beside their notebook in Lab."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.classroom.conftest import OpenClass
from tests.classroom.test_browser import ASSIGNMENT, TABLET, browser_page, log_in, picture, released

pytestmark = pytest.mark.browser


def no_errors(page: Page) -> list[str]:
    """What the page's own scripts and policies complained of; filled while it is looked at."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    return found


async def test_a_student_finds_everything_of_theirs_on_one_page(classroom: OpenClass) -> None:
    await released(classroom)
    async with browser_page() as page:
        await log_in(page, classroom, "s002")
        errors = no_errors(page)
        await page.goto(f"{classroom.settings.desk_site}/services/desk/")
        await page.wait_for_url(re.compile(r"/services/desk/me$"))
        await expect(page.get_by_role("heading", name="최두리")).to_be_visible()
        await expect(page.get_by_text("켜져 있어요")).to_be_visible()
        await expect(page.get_by_text(ASSIGNMENT).first).to_be_visible()
        await picture(page, "desk-me")
        await page.get_by_role("link", name="English").click()
        await expect(page.get_by_role("heading", name="My assignments")).to_be_visible()
        await page.set_viewport_size(TABLET)
        await page.get_by_role("button", name="Light or dark").click()
        await picture(page, "desk-me-tablet-en")
        assert errors == []


async def test_the_same_stands_in_a_panel_of_lab(classroom: OpenClass) -> None:
    await released(classroom)
    async with browser_page() as page:
        await log_in(page, classroom, "s002")
        await page.get_by_role("tab", name="내 수업").click()
        panel = page.frame_locator("#gpuclass-panel iframe")
        await expect(panel.get_by_role("heading", name="내 과제")).to_be_visible()
        await expect(panel.get_by_text(ASSIGNMENT).first).to_be_visible()
        await picture(page, "desk-panel")
