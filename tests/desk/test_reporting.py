"""Reports as they come in at the desk."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gpuclass.desk.context import Desk
from gpuclass.desk.reporting import KNOWN_FOR_S, Known, worth_a_line
from gpuclass.desk.reports import LATE
from gpuclass.exchange.store.courses import Courses
from tests.desk.conftest import Browsers

REPORT: dict[str, Any] = {
    "session": "00-warm-up",
    "kind": "lecture",
    "cells": 3,
    "errors": [{"class": "NameError", "count": 2}],
    "repeated": 2,
    "busy": False,
    "at": "2026-12-01T00:00:00+00:00",
}
Container = Callable[[str], httpx.AsyncClient]


async def test_a_server_reports_on_its_own_student_whatever_it_says(desk: Desk, container: Container) -> None:
    for sent in (REPORT, REPORT | {"login": "s002", "user": "s002", "cells": 4}):
        assert (await container("s001").post("report", json=sent)).status_code == 204
    (kept,) = desk.reports.all().items()
    assert (kept[0], kept[1].session, kept[1].cells) == ("s001", "00-warm-up", 4)


@pytest.mark.parametrize("login", ["", "nobody", "noscope"])
async def test_who_is_not_in_the_class_reports_nothing(login: str, desk: Desk, container: Container) -> None:
    assert (await container(login).post("report", json=REPORT)).status_code == 401
    assert desk.reports.all() == {}


async def test_a_browsers_session_cannot_report(desk: Desk, browser: Browsers) -> None:
    assert (await browser("s001").post("/services/desk/own/report", json=REPORT)).status_code == 401
    assert desk.reports.all() == {}


@pytest.mark.parametrize("login", ["teacher", "mentor1", "root1"])
async def test_nothing_is_kept_of_those_who_teach(login: str, desk: Desk, container: Container) -> None:
    assert (await container(login).post("report", json=REPORT)).status_code == 204
    assert desk.reports.all() == {}


@pytest.mark.parametrize(
    ("body", "status"), [(b"<b>", 422), (json.dumps(REPORT).encode().ljust(5000), 422), (b" " * 10**6, 413)]
)
async def test_what_is_no_report_is_refused(body: bytes, status: int, desk: Desk, container: Container) -> None:
    assert (await container("s001").post("report", content=body)).status_code == status
    assert desk.reports.all() == {}


async def test_reports_that_were_turned_off_are_not_kept(app: FastAPI, desk: Desk, container: Container) -> None:
    off = desk.settings.model_copy(update={"desk": desk.settings.desk.model_copy(update={"reports": False})})
    app.state.desk = replace(desk, settings=off)
    assert (await container("s001").post("report", json=REPORT)).status_code == 403
    assert desk.reports.all() == {}


def test_an_assignment_that_a_teacher_released_is_known_soon(desk: Desk) -> None:
    now = 0.0
    Courses(desk.exchange, desk.settings.course, desk.accounts.roster)
    known = Known(desk.settings, desk.exchange, lambda: now)
    assert "00-warm-up" in known
    assert "99-own" not in known
    desk.exchange.release(desk.settings.course, "99-own", {"a.ipynb": b"{}"}, by="teacher")
    assert "99-own" not in known, "the exchange is not asked for every report"
    now = KNOWN_FOR_S
    assert "99-own" in known
    assert "일기" not in known


@pytest.mark.parametrize(("language", "line"), [("ko", "NameError 2번"), ("en", "NameError × 2")])
async def test_a_student_reads_what_teachers_see_and_nobody_elses(
    language: str, line: str, container: Container, browser: Browsers
) -> None:
    mine, theirs = browser("s001"), browser("s002")
    for each in (mine, theirs):
        await each.get(f"/services/desk/language/{language}")
    assert line not in (await mine.page("me")).text
    await container("s001").post("report", json=REPORT)
    assert line in (await mine.page("me")).text
    assert line in (await mine.page("me/now")).text
    assert line not in (await theirs.page("me")).text


async def test_a_server_that_went_silent_is_said_to_be(desk: Desk, container: Container, browser: Browsers) -> None:
    await container("s001").post("report", json=REPORT | {"busy": True})
    assert "실행되고 있어요" in (await browser("s001").page("me")).text
    desk.reports._reports["s001"] = replace(desk.reports.all()["s001"], at=datetime.now(UTC) - 2 * LATE)
    page = (await browser("s001").page("me")).text
    assert "실행되고 있어요" not in page
    assert "소식이 없어요" in page


async def test_where_nothing_is_reported_the_page_says_nothing_of_it(
    app: FastAPI, desk: Desk, browser: Browsers
) -> None:
    assert "선생님께 보이는 것" in (await browser("s001").page("me")).text
    assert "선생님께 보이는 것" not in (await browser("mentor1").page("me")).text
    off = desk.settings.model_copy(update={"desk": desk.settings.desk.model_copy(update={"reports": False})})
    app.state.desk = replace(desk, settings=off)
    assert "선생님께 보이는 것" not in (await browser("s001").page("me")).text


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("POST", "/services/desk/own/report", 204, False),
        ("POST", "/services/desk/own/report", 422, True),
        ("GET", "/services/desk/own/report", 405, True),
        ("POST", "/services/desk/own/hand", 204, True),
    ],
)
def test_reports_that_were_taken_fill_no_log(method: str, path: str, status: int, expected: bool) -> None:
    record = logging.makeLogRecord({"args": ("10.89.0.5:4711", method, path, "1.1", status)})
    assert worth_a_line(record) is expected
