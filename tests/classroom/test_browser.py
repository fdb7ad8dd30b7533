"""The day in a real browser: what a student and an instructor see and click.

`make pictures` runs this file with GPUCLASS_PICTURES set: then the pictures in README and docs are taken on the way.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, ViewportSize, async_playwright, expect

from gpuclass.rehearsal import Visitor
from tests.classroom.conftest import OpenClass

PICTURES = os.environ.get("GPUCLASS_PICTURES")
CHROMIUM = "/usr/bin/chromium"
QUIET = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
LAPTOP: ViewportSize = {"width": 1280, "height": 800}
TABLET: ViewportSize = {"width": 820, "height": 1180}
SLOW_MS = 60_000  # two cores run browser, hub and servers at once
GRADED_MS = 180_000
ASSIGNMENT = "00-warm-up"

pytestmark = pytest.mark.browser


@asynccontextmanager
async def browser_page(size: ViewportSize = LAPTOP) -> AsyncIterator[Page]:
    """A page of a fresh browser that knows nobody."""
    async with async_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *sandbox])
        context = await browser.new_context(viewport=size, locale="ko-KR")
        context.set_default_timeout(SLOW_MS)
        expect.set_options(timeout=SLOW_MS)
        yield await context.new_page()
        await browser.close()


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.wait_for_timeout(1500)  # animations
        await page.screenshot(path=Path(PICTURES) / f"{name}.png")


async def log_in(page: Page, classroom: OpenClass, login: str) -> str:
    """Log in with the card and wait for Lab; the address of the user's server."""
    await page.goto(f"{classroom.settings.site.address}/hub/login")
    await page.fill("#username_input", login)
    await page.fill("#password_input", classroom.passwords[login])
    await picture(page, "login")
    await page.click("#login_submit")
    await page.wait_for_url(re.compile(rf"^http://{login}\.localhost:\d+/user/{login}/lab"))
    await expect(page.locator("#jp-MainMenu")).to_be_visible()
    return page.url.split("/lab")[0]


async def released(classroom: OpenClass) -> None:
    """The instructor has released the assignment."""
    async with classroom.visitor("teacher") as teacher:
        await teacher.log_in()
        await teacher.start_server()
        listed = {found["name"]: found["status"] for found in await teacher.formgrader("GET", "assignments")}
        if listed[ASSIGNMENT] != "released":
            await teacher.formgrader("POST", f"assignment/{ASSIGNMENT}/assign")
            await teacher.formgrader("POST", f"assignment/{ASSIGNMENT}/release")


async def merged(student: Visitor, path: str) -> None:
    """The curriculum has reached the student's home."""
    for _ in range(200):
        if (await student.request("GET", f"{student.server}/api/contents/{path}")).status_code == 200:
            return
    raise AssertionError(f"{path} did not arrive")


async def menu(page: Page, menu_name: str, item: str) -> None:
    await page.get_by_role("menuitem", name=menu_name, exact=True).click()
    await page.locator(".lm-Menu-itemLabel", has_text=re.compile(rf"^{item}$")).click()


async def test_a_wrong_password_is_explained_in_korean(classroom: OpenClass) -> None:
    async with browser_page() as page:
        await page.goto(f"{classroom.settings.site.address}/hub/login")
        await page.fill("#username_input", "s002")
        await page.fill("#password_input", "wrong")
        await page.click("#login_submit")
        await expect(page.get_by_text("아이디 또는 비밀번호가 맞지 않아요")).to_be_visible()


async def test_a_student_runs_a_cell_submits_and_reads_the_score(classroom: OpenClass) -> None:
    await released(classroom)
    async with browser_page() as page:
        server = await log_in(page, classroom, "s003")
        await expect(page.get_by_role("menuitem", name="파일", exact=True)).to_be_visible()

        async with classroom.visitor("s003") as same_student:
            await same_student.log_in()
            await same_student.enter()
            await merged(same_student, "notebooks/00-warm-up/00-warm-up.ipynb")
        await page.goto(f"{server}/lab/tree/notebooks/00-warm-up/00-warm-up.ipynb")
        await expect(page.get_by_role("heading", name="00 환경 점검")).to_be_visible()
        await picture(page, "lab")
        await menu(page, "실행", "모든 셀 실행")
        await expect(page.get_by_text("님, 딥러닝 캠프에 온 걸 환영해요!", exact=False).last).to_be_visible()

        await menu(page, "Nbgrader", "Assignment List")
        await page.locator("#released_assignments_list .list_item", has_text=ASSIGNMENT).get_by_role("button").click()
        row = page.locator("#fetched_assignments_list .list_item", has_text=ASSIGNMENT).first
        await row.get_by_role("button", name="Submit").click()
        submitted = page.locator("#submitted_assignments_list .list_item", has_text=ASSIGNMENT).first
        await expect(submitted).to_be_visible()
        await wait_for_feedback(page)
        await submitted.get_by_role("button", name="Fetch Feedback").click()
        await expect(page.get_by_text("(view feedback)")).to_be_visible()
        await picture(page, "assignments")


async def wait_for_feedback(page: Page) -> None:
    """Press the list's refresh button, as a student would, until the score stands in it."""
    score = page.locator("#submitted_assignments_list", has_text=re.compile(r"\d점 중 \d"))
    for _ in range(GRADED_MS // 2000):
        await page.click("#refresh_assignments_list")
        await page.wait_for_timeout(2000)
        if await score.count():
            return
    raise AssertionError(await page.locator("#submitted_assignments_list").inner_text())


async def test_the_instructor_sees_the_score_in_formgrader(classroom: OpenClass) -> None:
    async with browser_page() as page:
        server = await log_in(page, classroom, "teacher")
        await page.goto(f"{server}/formgrader")
        await expect(page.get_by_role("link", name=ASSIGNMENT, exact=True)).to_be_visible()
        await picture(page, "formgrader")
        await page.goto(f"{server}/formgrader/manage_submissions/{ASSIGNMENT}")
        row = page.locator("tr", has_text="s003")
        await expect(row).to_be_visible()
        await expect(row.get_by_text("graded", exact=False)).to_be_visible()
        await picture(page, "formgrader-submissions")


async def test_lab_fits_a_tablet(classroom: OpenClass) -> None:
    async with browser_page(TABLET) as page:
        await log_in(page, classroom, "s003")
        await expect(page.get_by_role("menuitem", name="도움말", exact=True)).to_be_in_viewport()
        await picture(page, "tablet")
