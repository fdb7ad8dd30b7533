"""The grading desk on Formgrader's pages, in a real browser; the exchange is a double."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from nbgrader.api import Gradebook
from playwright.sync_api import Page, expect, sync_playwright

from tests.classroom.test_browser import CHROMIUM, QUIET
from tests.grader.courses import released, source_version, write
from tests.grader.jupyter import TOKEN, jupyter

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # gradebooks that nbgrader leaves to be collected
]

PATIENCE_MS = 30_000
SECRET = "token-of-teacher"  # noqa: S105  # of a double
NONE: dict[str, Any] = {"waiting": 0, "running": 0, "failed": 0, "quarantined": 0, "delayed": 0}
PLACE = "/services/exchange/gpuclass/v1"
SCRIPT = "<img src=x onerror=\"document.title = 'taken over'\">"


class Exchange(ThreadingHTTPServer):
    """A double of the exchange's endpoints of grading: answers what it was given, and keeps what it was asked.

    Attributes:
        progress: the answer to ``GET grading``.
        batch: the answer to ``GET regrade/…/5``.
        posted: what was asked for by POST.
    """

    def __init__(self) -> None:
        double = self
        self.progress: dict[str, Any] = {}
        self.batch: dict[str, Any] = {}
        self.posted: list[str] = []
        self.down = False

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix(PLACE).partition("?")[0]
                known = {
                    "/grading/camp": double.progress,
                    "/regrade/camp/ps1/5": double.batch,
                    "/deadlines/camp": {"deadlines": []},
                }
                self._answer(known.get(path))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.removeprefix(PLACE)
                double.posted.append(path)
                double.react(path)
                self._answer({"batch": 5, "job": 9})

            def _answer(self, content: dict[str, Any] | None) -> None:
                allowed = self.headers.get("Authorization") == f"token {SECRET}"
                self.send_response(403 if not allowed else 503 if double.down else 200 if content is not None else 404)
                self.end_headers()
                said = content if allowed and not double.down and content is not None else {"message": "no"}
                self.wfile.write(json.dumps({"success": content is not None, **said}).encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/services/exchange"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def react(self, path: str) -> None:
        if path.endswith("/apply"):
            self.batch = {**self.batch, "state": "applied"}
        elif path.endswith("/cancel"):
            self.batch = {**self.batch, "state": "cancelled"}

    def now(self, *, alive: bool = True, **counts: int) -> None:
        """Have it say this of ps1."""
        self.progress = {
            "assignments": [{"name": "ps1", "submitted": 80, "graded": 0, **NONE, **counts}],
            "worker": {"alive": alive, "seen": None},
            "failing": [],
            "quarantined": [],
        }


class Desk(NamedTuple):
    page: Page
    exchange: Exchange
    url: str
    course: Path

    def open(self, page: str = "manage_submissions/ps1") -> None:
        self.page.goto(f"{self.url}/formgrader/{page}")
        expect(self.page.locator(".grading-now")).not_to_be_empty()  # what arrives moves what is below it


def desks(folder: Path, language: str) -> Iterator[Desk]:
    home, exchange = folder / "home", Exchange()
    course = home / "course"
    write(course / "source" / "ps1", source_version())
    write(course / "submitted" / "kim" / "ps1", released())
    with Gradebook(f"sqlite:///{course}/gradebook.db", "camp") as gradebook:
        gradebook.add_student("kim")
        gradebook.add_assignment("ps1")
    environment = {
        "GPUCLASS_EXCHANGE_URL": exchange.url,
        "GPUCLASS_COURSE": "camp",
        "GPUCLASS_LANGUAGE": language,
        "GPUCLASS_TIMEZONE": "Asia/Seoul",
        "JUPYTERHUB_API_TOKEN": SECRET,
    }
    with jupyter(home, "instructor", environment) as url, sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *sandbox])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.goto(f"{url}/formgrader/manage_assignments?token={TOKEN}")  # its cookie is for all of Formgrader
        yield Desk(page, exchange, url, course)
        browser.close()
    exchange.shutdown()
    exchange.server_close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """In Korean, one for all tests here."""
    yield from desks(tmp_path_factory.mktemp("desk"), "ko")


def test_the_assignments_page_says_how_far_grading_is_and_goes_on_by_itself(desk: Desk) -> None:
    desk.exchange.now(graded=20, waiting=57, running=2, failed=1)
    desk.open()
    counts = desk.page.locator(".grading-counts")
    expect(counts).to_have_text("80명 중 20명 채점함 · 기다림 57 · 채점 중 2 · 실패 1")
    desk.exchange.now(graded=78, quarantined=1, failed=1)
    expect(counts).to_have_text("80명 중 78명 채점함 · 실패 1 · 직접 확인할 것 1")
    desk.open("manage_assignments")
    expect(desk.page.locator(".grading-line")).to_contain_text("ps1 80명 중 78명 채점함")
    expect(desk.page.locator(".grading-regrade")).to_have_count(0)


def test_what_needs_a_person_is_listed_with_its_reason_and_a_way_to_grade_it(desk: Desk) -> None:
    desk.exchange.now(graded=77, quarantined=2, failed=1)
    desk.exchange.progress["quarantined"] = [
        {"student": "kim", "assignment": "ps1", "reason": f"노트북이 깨졌어요 {SCRIPT}"},
        {"student": "lee", "assignment": "ps2", "reason": "이 과제가 아니에요"},
    ]
    desk.exchange.progress["failing"] = [{"student": "박 a/b", "assignment": "ps1", "job": 3, "reason": "no source"}]
    desk.open()
    warning, danger = desk.page.locator(".grading-warning"), desk.page.locator(".grading-danger")
    expect(warning).to_contain_text("자동으로 채점할 수 없는 제출물이에요")
    expect(warning.locator("li")).to_have_text([f"kim — 노트북이 깨졌어요 {SCRIPT}"])
    expect(warning.locator("a")).to_have_attribute("href", "/formgrader/manage_students/kim/ps1")
    expect(danger.locator("li")).to_have_text(["박 a/b — no source"])
    expect(danger.locator("a")).to_have_attribute("href", "/formgrader/manage_students/%EB%B0%95%20a%2Fb/ps1")
    assert desk.page.title() != "taken over"


def test_a_worker_that_is_gone_is_said_and_an_exchange_that_is_gone_too(desk: Desk) -> None:
    desk.exchange.now(alive=False, waiting=80)
    desk.open()
    expect(desk.page.locator(".grading-worker")).to_contain_text("채점 서비스가 답하지 않아요")
    desk.exchange.down = True
    desk.page.reload()
    expect(desk.page.locator("#gpuclass-grading .alert-warning")).to_be_visible()
    desk.exchange.down = False


CHANGES = [
    {
        "student": "kim",
        "before": 5.0,
        "after": 8.0,
        "max_score": 10.0,
        "cells": [{"name": "test-add", "before": 0.0, "after": 3.0}],
    },
    {"student": "lee", "before": 9.0, "after": 7.5, "max_score": 10.0, "cells": []},
]
TRIAL = {"state": "previewing", "total": 3, "done": 1, "failed": 0, "changes": [], "unchanged": 0}


def test_a_regrade_is_seen_before_it_is_applied(desk: Desk) -> None:
    desk.exchange.now(graded=80)
    desk.exchange.batch = TRIAL
    desk.exchange.posted.clear()
    desk.open()
    desk.page.click(".grading-regrade")
    batch = desk.page.locator(".grading-batch")
    expect(batch).to_contain_text("3명 가운데 1명을 다시 채점해 보았어요. 아직 아무 점수도 바뀌지 않았어요.")
    expect(desk.page.locator(".grading-regrade")).to_be_disabled()
    desk.page.reload()  # the trial goes on, and is found again
    expect(batch).to_contain_text("3명 가운데 1명")
    desk.exchange.batch = {**TRIAL, "state": "ready", "done": 3, "changes": CHANGES, "unchanged": 1}
    expect(batch).to_contain_text("2명의 점수가 바뀌고 1명은 그대로예요. 아직 아무것도 바꾸지 않았어요.")
    cells = batch.locator("tbody td")
    expect(cells).to_have_text(["kim", "5 → 8 / 10", "test-add: 0 → 3", "lee", "9 → 7.5 / 10", ""])
    assert desk.exchange.posted == ["/regrade/camp/ps1"]
    batch.get_by_role("button", name="이대로 바꾸기").click()
    expect(batch).to_contain_text("점수를 바꿨어요.")
    assert desk.exchange.posted == ["/regrade/camp/ps1", "/regrade/camp/ps1/5/apply"]
    expect(batch.locator("button")).to_have_count(0)


def test_a_regrade_can_be_left_and_one_that_changes_nothing_offers_nothing(desk: Desk) -> None:
    desk.exchange.batch = {**TRIAL, "state": "ready", "done": 3, "changes": [], "unchanged": 3}
    desk.open()
    desk.page.click(".grading-regrade")
    batch = desk.page.locator(".grading-batch")
    expect(batch).to_contain_text("바뀌는 점수가 없어요.")
    expect(batch.locator("button")).to_have_text(["그만두기"])
    batch.locator("button").click()
    expect(batch).to_contain_text("그만뒀어요. 바뀐 점수는 없어요.")
    assert desk.exchange.posted[-1] == "/regrade/camp/ps1/5/cancel"


def test_autograde_puts_in_line_and_the_page_goes_on(desk: Desk) -> None:
    desk.exchange.now(graded=0)
    desk.open()
    expect(desk.page.locator("#main-table td.student-id")).to_have_text("kim")
    desk.exchange.now(waiting=1)
    desk.page.click("#main-table td.autograde a")
    expect(desk.page.locator(".grading-counts")).to_have_text("80명 중 0명 채점함 · 기다림 1")
    expect(desk.page.locator(".modal")).to_have_count(0)
    assert desk.exchange.posted[-1] == "/grading/camp/ps1/kim"


def test_the_page_never_has_the_token_and_another_site_cannot_press_its_buttons(desk: Desk) -> None:
    desk.exchange.now(graded=1)
    desk.open()
    expect(desk.page.locator(".grading-counts")).to_be_visible()
    assert SECRET not in desk.page.content()
    cookies = {each["name"]: each["value"] for each in desk.page.context.cookies()}
    desk.exchange.posted.clear()
    with httpx.Client(base_url=desk.url, cookies=cookies) as browser:  # as a form on another site would send it
        for path in ("regrade/ps1", "regrade/ps1/5/apply", "submission/ps1/kim/autograde"):
            assert browser.post(f"/formgrader/api/{path}").status_code == 403, path
        assert browser.get("/formgrader/api/grading").json()["assignments"][0]["graded"] == 1
    with httpx.Client(base_url=desk.url) as stranger:
        assert stranger.get("/formgrader/api/grading").status_code in (302, 403)
    assert desk.exchange.posted == []
