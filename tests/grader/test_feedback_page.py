"""A feedback page in a real browser, opened as students open it: nothing in it acts, even had a script come through."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import httpx
import nbformat
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from gpuclass.grader.feedback import page as feedback_page
from tests.classroom.test_browser import CHROMIUM, QUIET
from tests.grader.courses import notebook
from tests.grader.jupyter import TOKEN, jupyter

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE_MS = 30_000
SETTLED_MS = 1500  # a script that may run has run by then, as the page without its policy shows
EVIL = """
<script>new Image().src = '{witness}/script';</script>
<img src="{witness}/picture"><img src="data:," onerror="new Image().src = '{witness}/handler'">
<iframe src="{witness}/frame"></iframe><link rel="stylesheet" href="{witness}/style">
<form action="{witness}/form"></form><script>document.forms[0].submit();</script>
"""
WAYS = {"script", "picture", "handler", "frame", "style"}


class Witness(ThreadingHTTPServer):
    """Somebody else's server: what it is asked for has left the page."""

    def __init__(self) -> None:
        asked: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.add(self.path.strip("/?"))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = asked
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class Home(NamedTuple):
    """A student's server, and the witness whom a page there would ask."""

    address: str
    witness: Witness


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Holds a page into which a script has found its way, and the same without its policy."""
    folder, witness = tmp_path_factory.mktemp("student") / "home", Witness()
    grades = {"notebook": "ps1", "score": 1, "max_score": 2}
    made = feedback_page(nbformat.from_dict(notebook()), grades, "en")
    guarded = made.replace("</body>", EVIL.replace("{witness}", witness.url) + "</body>")
    bare = "\n".join(line for line in guarded.splitlines() if "Content-Security-Policy" not in line)
    (folder / "ps1" / "feedback").mkdir(parents=True)
    (folder / "ps1" / "feedback" / "guarded.html").write_text(guarded, encoding="utf-8")
    (folder / "ps1" / "feedback" / "bare.html").write_text(bare, encoding="utf-8")
    with jupyter(folder, "student", {"GPUCLASS_LANGUAGE": "en"}) as address:
        yield Home(address, witness)
    witness.shutdown()
    witness.server_close()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *sandbox])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield page
        browser.close()


def acts(home: Home, page: Page, path: str, *, trust: bool = False) -> set[str]:
    """In which ways the page at ``path`` reaches the witness; ``trust``: after Lab's button of that name."""
    home.witness.asked.clear()
    page.goto(f"{home.address}/{path}?token={TOKEN}&reset")  # Lab: without the tabs of before
    if path.startswith("lab"):
        expect(page.locator(".jp-HTMLViewer iframe")).to_be_visible()
    if trust:
        page.get_by_role("button", name="Trust HTML").click()
    page.wait_for_timeout(SETTLED_MS)
    return set(home.witness.asked)


def test_jupyters_own_answer_puts_the_page_into_a_sandbox(home: Home) -> None:
    answer = httpx.get(f"{home.address}/files/ps1/feedback/guarded.html?token={TOKEN}")
    policy = answer.headers["Content-Security-Policy"]
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in answer.text


def test_opened_as_a_file_it_does_nothing_while_the_page_without_its_policy_acts(home: Home, page: Page) -> None:
    assert acts(home, page, "files/ps1/feedback/guarded.html") == set()
    assert acts(home, page, "files/ps1/feedback/bare.html") >= WAYS


def test_opened_in_lab_it_does_nothing_even_when_it_is_trusted(home: Home, page: Page) -> None:
    assert acts(home, page, "lab/tree/ps1/feedback/guarded.html") == set()
    assert acts(home, page, "lab/tree/ps1/feedback/guarded.html", trust=True) == set()
    assert acts(home, page, "lab/tree/ps1/feedback/bare.html", trust=True) >= {"script", "picture"}
