"""Submit in a real browser while the exchange is away: the truth, a notice that stays, and the receipt by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from gpuclass.exchange.wire import show_time
from tests.classroom.test_browser import PICTURES, menu
from tests.exchange.conftest import Camp, running, tree
from tests.images.conftest import StartServer
from tests.images.test_lab_page import lab

pytestmark = [pytest.mark.images, pytest.mark.browser]

NAME = "00-warm-up"
FIRST = {"warm-up.ipynb": b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'}
SECOND = {"warm-up.ipynb": b'{"cells": [], "metadata": {"corrected": 1}, "nbformat": 4, "nbformat_minor": 5}'}


@pytest.fixture
def camp(tmp_path: Path) -> Iterator[Camp]:
    """An exchange of its own that can be killed, with an assignment that is due tomorrow."""
    folder = tmp_path / "camp"
    folder.mkdir()
    with running(folder, as_process=True) as camp:
        camp.by("student1")  # the hub knows the token
        camp.by("teacher").post(f"api/assignment/camp/{NAME}", data={"files": tree(FIRST)})
        due = show_time(datetime.now(UTC) + timedelta(days=1))
        camp.by("teacher").put(f"gpuclass/v1/deadline/camp/{NAME}", data={"due": due})
        yield camp


def environment(camp: Camp) -> dict[str, str]:
    return {
        "GPUCLASS_EXCHANGE_URL": camp.settings.exchange_url,
        "GPUCLASS_COURSE": "camp",
        "GPUCLASS_LANGUAGE": "ko",
        "GPUCLASS_TIMEZONE": "Asia/Seoul",
        "GPUCLASS_ROLE": "student",
        "JUPYTERHUB_API_TOKEN": "token-of-student1",
        "JUPYTERHUB_USER": "student1",
    }


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.wait_for_timeout(1500)  # animations
        await page.screenshot(path=Path(PICTURES) / f"{name}.png")


async def test_a_press_while_the_exchange_is_away_arrives_by_itself_and_lab_shows_the_receipt(
    start: StartServer, camp: Camp, home: Path
) -> None:
    with start(**environment(camp)) as server:
        async with lab(server.url) as page:
            await menu(page, "Nbgrader", "Assignment List")
            released = page.locator("#released_assignments_list .list_item", has_text=NAME)
            await expect(released).to_contain_text(re.compile(r"\d+일\(.\) \d\d:\d\d까지"))
            await released.get_by_role("button").click()
            row = page.locator("#fetched_assignments_list .list_item", has_text=NAME).first
            await expect(row).to_be_visible()
            await picture(page, "deadline")
            (home / NAME / "warm-up.ipynb").write_bytes(FIRST["warm-up.ipynb"].replace(b"[]", b"[ ]"))

            camp.kill()
            await row.get_by_role("button", name="Submit").click()
            dialog = page.locator(".jp-Dialog-content")
            await expect(dialog).to_contain_text("아직 제출되지 않았어요. 지금은 제출 서버가 답하지 않아요.")
            sentence = dialog.locator("pre")
            assert await sentence.evaluate("pre => pre.scrollWidth <= pre.clientWidth")  # not cut off at the edge
            await picture(page, "not-yet-sent")
            await dialog.get_by_role("button").last.click()
            waiting = page.locator(".Toastify__toast", has_text="아직 못 보낸 제출이 1개 있어요")
            await expect(waiting).to_be_in_viewport()
            await page.click("#refresh_assignments_list")
            error = page.locator("#fetched_assignments_list_error")
            await expect(error).to_contain_text("과제 목록을 가져오지 못했어요.")
            await expect(error).to_contain_text("저절로 다시 보내요")
            await picture(page, "waiting")

            camp.start()
            sent = page.locator(".Toastify__toast", has_text="아까 누른 제출을 이제 보냈어요")
            await expect(sent).to_be_in_viewport()
            await expect(waiting).to_have_count(0)
            await picture(page, "sent-later")
            url = f"gpuclass/v1/submissions/camp/{NAME}"
            [submission] = camp.by("teacher").get(url).json()["submissions"]
            assert submission["queued"] is not None
            await expect(sent).to_contain_text(f"접수 번호 {submission['submission']}")

            camp.by("teacher").put(f"gpuclass/v1/assignment/camp/{NAME}", data={"files": tree(SECOND)})
            await page.click("#refresh_assignments_list")
            new = page.locator(".Toastify__toast", has_text="2판이 나왔어요")
            await expect(new).to_contain_text("warm-up (2판).ipynb")
            await expect(page.locator("#submitted_assignments_list")).to_contain_text("1판")
            await picture(page, "new-version")
        assert b"[ ]" in (home / NAME / "warm-up.ipynb").read_bytes()
        page_of_feedback = home / NAME / "feedback" / "x.html"
        page_of_feedback.parent.mkdir()
        page_of_feedback.write_text("<script>fetch('/api/contents')</script>")
        policy = server.request("GET", f"files/{NAME}/feedback/x.html").headers["Content-Security-Policy"]
        assert "sandbox" in policy  # an origin of its own: nothing of the server can be read or changed from there
        assert "allow-same-origin" not in policy
