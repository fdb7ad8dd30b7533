"""The class desk in a real browser: a student's page, and the panel beside their notebook in Lab."""

from __future__ import annotations

import re
import time

import pytest
from playwright.async_api import Page, expect

from tests.classroom.conftest import OpenClass
from tests.classroom.test_browser import ASSIGNMENT, TABLET, browser_page, log_in, picture, released

pytestmark = pytest.mark.browser

SEEN_WITHIN_S = 2 + 1  # the page asks every two seconds; one more for two browsers on two cores


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
        await page.goto(f"{classroom.settings.site.address}/hub/home")
        await page.get_by_role("link", name="내 수업").click()
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


async def test_a_hand_raised_in_lab_is_seen_within_two_seconds_and_the_answer_stands_in_lab(
    classroom: OpenClass,
) -> None:
    async with browser_page() as student, browser_page() as mentor:
        await log_in(student, classroom, "s002")
        await log_in(mentor, classroom, "mentor1")
        await mentor.goto(f"{classroom.settings.desk_site}/services/desk/hands")
        await expect(mentor.get_by_text("기다리는 학생이 없어요")).to_be_visible()
        await student.get_by_role("tab", name="내 수업").click()
        await student.get_by_role("button", name="손 들기").click()
        raised = time.monotonic()
        await expect(mentor.get_by_role("link", name="최두리")).to_be_visible()
        seen = time.monotonic() - raised
        await picture(mentor, "desk-hands")
        await mentor.get_by_role("button", name="제가 갈게요").click()
        await expect(student.get_by_text("박멘토 님이 가고 있어요").first).to_be_visible()
        await picture(student, "desk-panel-hand")
        await mentor.goto(f"{classroom.settings.desk_site}/services/desk/messages")
        await mentor.get_by_label("내용").fill("5분 뒤에 <b>쉬는 시간</b>이에요")
        await mentor.get_by_role("button", name="보내기").click()
        await expect(student.get_by_text("박멘토: 5분 뒤에 <b>쉬는 시간</b>이에요").first).to_be_visible()
        await picture(mentor, "desk-messages")
        assert seen < SEEN_WITHIN_S


async def test_a_teacher_looks_at_a_student_and_is_asked_back(classroom: OpenClass) -> None:
    async with browser_page() as page:
        await log_in(page, classroom, "teacher")
        errors = no_errors(page)
        await page.goto(f"{classroom.settings.desk_site}/services/desk/student/s002")
        await expect(page.get_by_role("heading", name="최두리")).to_be_visible()
        await picture(page, "desk-student")
        await page.get_by_role("link", name="서버 끄기").click()
        await expect(page.get_by_text("최두리 학생의 서버를 끌까요?")).to_be_visible()
        await picture(page, "desk-act")
        await page.get_by_role("link", name="아니요, 돌아가기").click()
        await expect(page.get_by_role("heading", name="최두리")).to_be_visible()
        assert errors == []


async def test_the_board_follows_by_itself(classroom: OpenClass) -> None:
    async with browser_page() as page, classroom.visitor("s003") as student:
        await student.log_in()
        await log_in(page, classroom, "teacher")
        errors = no_errors(page)
        await page.goto(f"{classroom.settings.desk_site}/services/desk/")
        await page.wait_for_url(re.compile(r"/services/desk/board$"))
        tile = page.locator("#tile-s003")
        await expect(tile).to_contain_text("정세찬")
        await student.start_server()
        await expect(tile).to_contain_text("켜져 있어요")
        raised = await student.request("POST", f"{student.server}/gpuclass/panel/hand")
        assert raised.status_code == 204
        before = time.monotonic()
        await expect(tile.locator(".fa-hand")).to_be_visible()
        assert time.monotonic() - before < SEEN_WITHIN_S
        await expect(page.locator("#board .tile").first).to_have_id("tile-s003")
        await picture(page, "desk-board")
        await page.get_by_label("도움이 필요한 학생만").check()
        await expect(page.locator("#tile-s001")).to_be_hidden()
        await page.get_by_role("link", name="English").click()
        await expect(page.get_by_role("heading", name="Board")).to_be_visible()
        await page.set_viewport_size(TABLET)
        await page.get_by_role("button", name="Light or dark").click()
        await picture(page, "desk-board-tablet-en")
        await page.locator("#tile-s003").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="정세찬")).to_be_visible()
        assert errors == []
