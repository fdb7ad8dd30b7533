"""A student in front of the queue's pages: a browser's page that says what stands on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Route, ViewportSize

from tests.classroom.test_browser import LAPTOP, PICTURES

PATIENCE_MS = 20_000


class Student:
    """One person's page.

    Args:
        browser: any; the person gets a context of their own.
        url: the hub's, with its prefix.
        login: who they are.
        size: of the screen.
        dark: whether their system is set to dark.
    """

    def __init__(self, browser: Browser, url: str, login: str, size: ViewportSize = LAPTOP, dark: bool = False):
        self.login, self.url = login, url
        context = browser.new_context(viewport=size, locale="ko-KR", color_scheme="dark" if dark else "light")
        context.set_default_timeout(PATIENCE_MS)
        self.hosts: set[str] = set()
        self.faults: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        context.route("**/user/*/**", _inside)

    def sees(self, state: str) -> None:
        """Wait until the page shows a state; no script may have broken."""
        self.page.wait_for_selector(f"#queue[data-state={state}]")
        assert self.faults == []

    def is_in(self) -> None:
        """Wait until the hub has sent the browser on to the server."""
        self.page.wait_for_url(re.compile(rf"/user/{self.login}/"))

    def reads(self, part: str) -> str:
        """One of the page's texts: title, place, left, hint."""
        return self.page.locator(f"#queue-{part}").inner_text()

    def buttons(self) -> list[str]:
        """What can be pressed."""
        return [text.strip() for text in self.page.locator("#queue button:visible").all_inner_texts()]

    def stops_server(self) -> None:
        """As the button on the first page does."""
        self.page.goto(f"{self.url}/home")
        self.page.click("#stop")
        self.page.wait_for_selector("#stop", state="hidden")

    def api(self, method: str, path: str, body: object = None) -> Any:
        """One call to the hub's API as its pages make them."""
        self.page.goto(f"{self.url}/home")
        return self.page.evaluate(
            """async ([method, path, body]) => {
              const { base_url, xsrf_token } = window.jhdata;
              const answer = await fetch(`${base_url}api/${path}?_xsrf=${encodeURIComponent(xsrf_token)}`, {
                method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
              });
              return answer.json();
            }""",
            [method, path, body],
        )

    def picture(self, name: str) -> None:
        """`make pictures`: what the docs show."""
        if PICTURES:
            self.page.wait_for_timeout(1000)  # animations
            self.page.set_viewport_size({"width": 1000, "height": 560})
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png")


def log_in(
    browser: Browser,
    url: str,
    login: str,
    password: str,
    size: ViewportSize = LAPTOP,
    *,
    dark: bool = False,
    sees: str = "choosing",
) -> Student:
    """A student who has logged in and stands before the choice, or sees another state of the page at once."""
    student = Student(browser, url, login, size, dark)
    student.page.goto(f"{url}/login?next=/hub/spawn")
    student.page.fill("#username_input", login)
    student.page.fill("#password_input", password)
    student.page.click("#login_submit")
    student.sees(sees)
    return student


def _inside(route: Route) -> None:
    """What stands where the person's server would be."""
    route.fulfill(body="<h1>Lab</h1>", content_type="text/html")
