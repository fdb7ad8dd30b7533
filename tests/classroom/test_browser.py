"""The day in a real browser: what a student and an instructor see and click. Takes the pictures in README and docs."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, ViewportSize, async_playwright, expect

from gpuclass import demo
from tests.classroom.conftest import OpenClass

PICTURES = Path(os.environ.get("GPUCLASS_PICTURES", ""))  # `make pictures` sets it; else none are kept
CHROMIUM = "/usr/bin/chromium"
LAPTOP: ViewportSize = {"width": 1280, "height": 800}
TABLET: ViewportSize = {"width": 820, "height": 1180}
SLOW_MS = 60_000  # two cores run browser, hub and servers at once

pytestmark = pytest.mark.browser


@asynccontextmanager
async def browser_page(size: ViewportSize = LAPTOP) -> AsyncIterator[Page]:
    """A page of a fresh browser that knows nobody."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        context = await browser.new_context(viewport=size, locale="ko-KR")
        context.set_default_timeout(SLOW_MS)
        expect.set_options(timeout=SLOW_MS)
        yield await context.new_page()
        await browser.close()


async def picture(page: Page, name: str) -> None:
    if PICTURES.name:
        await page.screenshot(path=PICTURES / f"{name}.png")


async def log_in(page: Page, classroom: OpenClass, login: str) -> None:
    await page.goto(f"{classroom.settings.site.address}/hub/login")
    await page.fill("#username_input", login)
    await page.fill("#password_input", classroom.passwords[login])
    await picture(page, "login")
    await page.click("#login_submit")


async def test_a_student_works_submits_and_reads_the_score(classroom: OpenClass) -> None:
    async with browser_page() as page:
        await log_in(page, classroom, "s003")
        await page.wait_for_url(re.compile(r"s003\.localhost:\d+/user/s003/lab"))
        await expect(page.get_by_role("menuitem", name="파일", exact=True)).to_be_visible()
        notebook = "notebooks/00-warm-up"
        await page.goto(f"{page.url.split('/lab')[0]}/lab/tree/{notebook}")
        await page.wait_for_timeout(3000)
        await picture(page, "lab")
    assert demo
