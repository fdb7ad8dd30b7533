"""Lab in a real browser: the seat in the status bar, notices that come and go. `make pictures` takes its picture."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from gpuclass.seat import GIB
from gpuclass.trial import USER
from gpuclass.watch import notices
from gpuclass.watch.notices import Board, Memory
from tests.classroom.test_browser import CHROMIUM, LAPTOP, PICTURES, QUIET, SLOW_MS, TABLET
from tests.images.conftest import StartServer
from tests.test_seat import environment

pytestmark = [pytest.mark.images, pytest.mark.browser]

SOCKETS_SAY_WHO = """
const Plain = WebSocket;
window.WebSocket = class extends Plain {
  constructor(address, protocols) {
    const url = new URL(address);
    url.searchParams.set("token", "%s"); // a browser's sockets carry no Authorization header
    super(url.href, protocols);
  }
};
"""


@asynccontextmanager
async def lab(url: str) -> AsyncIterator[Page]:
    """Lab as the user sees it; an uncaught error of the page fails the test."""
    async with async_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *sandbox])
        header = {"Authorization": f"token {USER}"}
        context = await browser.new_context(viewport=LAPTOP, locale="ko-KR", extra_http_headers=header)
        await context.add_init_script(SOCKETS_SAY_WHO % USER)
        expect.set_options(timeout=SLOW_MS)
        page = await context.new_page()
        errors: list[Exception] = []
        page.on("pageerror", lambda error: errors.append(error))
        await page.goto(f"{url}lab")
        await expect(page.locator("#jp-MainMenu")).to_be_visible()
        yield page
        assert errors == []
        await browser.close()


async def test_lab_shows_the_seat_and_the_watchs_notice_until_it_is_over(start: StartServer, tmp_path: Path) -> None:
    board = Board(lambda _: tmp_path / "run", "watch")
    over = notices.over(time.time(), used=21 * GIB, limit=19 * GIB, seconds=20, mark="1")
    long = notices.Notice("long", time.time(), "info", "긴 " * 100 + "끝", "long " * 100 + "end")
    board.show(USER, [over], time.time(), Memory(21 * GIB, 19 * GIB))
    with start(volumes={str(tmp_path / "run"): "/run/gpuclass:ro"}, **environment()) as server:
        async with lab(server.url) as page:
            line = page.locator("#jp-main-statusbar button", has_text="GPU 21.0 / 19.0 GiB")
            await expect(line).to_be_in_viewport()
            toast = page.locator(".Toastify__toast", has_text=over.ko[:60])
            await expect(toast).to_be_in_viewport()
            await page.set_viewport_size(TABLET)
            await expect(line).to_be_in_viewport()
            await expect(toast).to_be_in_viewport()
            await page.set_viewport_size(LAPTOP)
            if PICTURES:
                await page.wait_for_timeout(1500)  # animations
                await page.screenshot(path=Path(PICTURES) / "notice.png")

            board.show(USER, [over, long], time.time(), Memory(21 * GIB, 19 * GIB))
            await page.locator(".Toastify__toast", has_text="긴 긴").get_by_role("button", name="자세히").click()
            dialog = page.locator(".jp-Dialog-content")
            await expect(dialog).to_contain_text("끝")
            await dialog.get_by_role("button", name="확인").click()
            await line.click()
            await expect(dialog).to_contain_text("GPU 하나를 4자리로 나눈 것 중 1자리")
            await dialog.get_by_role("button", name="확인").click()

            board.show(USER, [], time.time(), Memory(2 * GIB, 19 * GIB))
            await expect(toast).to_have_count(0)
            await expect(page.locator("#jp-main-statusbar button", has_text="GPU 2.0 / 19.0 GiB")).to_be_visible()
