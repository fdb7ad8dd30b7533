"""Formgrader's Autograde button asks the grading service, and its due dates are the exchange's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nbgrader.server_extensions.formgrader import apihandlers, base, handlers

from gpuclass.exchange.client.connection import Refused
from gpuclass.exchange.records import Deadline
from gpuclass.grader import formgrader
from gpuclass.grader.formgrader import due_of, request_grading, save_due
from gpuclass.grader.gradingdesk import HANDLERS, SCRIPT, ManageSubmissionsHandler, words


class Service:
    """A double of the exchange's grading endpoint."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.asked: list[tuple[str, ...]] = []

    def post(self, *path: str, **fields: str) -> dict[str, Any]:
        self.asked.append(("POST", *path))
        if self.refuses:
            raise Refused(self.refuses, 404)
        return {"success": True, "job": 7}

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        self.asked.append(("GET", *path))
        return {}


def test_the_button_enqueues_the_submission_and_returns() -> None:
    service = Service()
    outcome = request_grading(service, "camp", "ps1", "kim", "en")
    assert outcome["success"]
    assert "Put in the grading queue (job 7)" in outcome["log"]
    assert service.asked == [("POST", "gpuclass", "v1", "grading", "camp", "ps1", "kim")]


def test_a_refusal_is_shown_as_it_was_said() -> None:
    outcome = request_grading(Service(refuses="kim has not submitted ps1"), "camp", "ps1", "kim", "en")
    assert outcome == {"success": False, "log": "", "error": "kim has not submitted ps1"}


def test_the_desks_words_are_there_in_both_languages_with_the_same_places() -> None:
    korean, english = words("ko"), words("en")
    places = {key: set(re.findall(r"\{\w+\}", text)) for key, text in korean.items()}
    assert places == {key: set(re.findall(r"\{\w+\}", text)) for key, text in english.items()}
    used = set(re.findall(r'say\("([\w-]+)"', SCRIPT.read_text())) | {"batch-ready", "batch-same"}
    assert used <= set(korean)


NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)  # 18:00 in Seoul


@pytest.mark.parametrize(
    ("typed", "offset", "zone", "meant"),
    [
        ("2026-11-23T18:00", "+0900", "Asia/Seoul", NINE),
        ("2026-11-23T18:00", "", "Asia/Seoul", NINE),
        ("2026-11-23T18:00", None, "Asia/Seoul", NINE),
        ("2026-11-23T18:00:30", "+09:00", "Asia/Seoul", NINE + timedelta(seconds=30)),
        ("2026-11-23T09:00", "UTC", "Asia/Seoul", NINE),
        ("2026-11-23T04:00", "-0500", "Asia/Seoul", NINE),
        ("2026-07-01T12:00", "+0100", "Europe/Berlin", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("2026-12-01T12:00", "+0100", "Europe/Berlin", datetime(2026, 12, 1, 11, tzinfo=UTC)),
        ("", "+0900", "Asia/Seoul", None),
        (None, None, "Asia/Seoul", None),
    ],
)
def test_a_due_date_is_in_the_classs_zone_of_that_day_unless_another_offset_is_given(
    typed: str | None, offset: str | None, zone: str, meant: datetime | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formgrader, "to_numeric_tz", lambda zone: "+0100" if "Berlin" in zone else "+0900")  # winter
    assert due_of({"duedate_notimezone": typed, "duedate_timezone": offset}, zone) == meant


@pytest.mark.parametrize(
    ("typed", "offset"), [("soon", "+0900"), ("2026-11-23T18:00", "KST"), ("2026-11-23T25:00", "")]
)
def test_what_is_no_due_date_is_refused(typed: str, offset: str) -> None:
    with pytest.raises(ValueError, match=r"time|hour|format"):
        due_of({"duedate_notimezone": typed, "duedate_timezone": offset}, "Asia/Seoul")


def test_an_assignment_that_is_not_released_keeps_its_due_date_for_the_release() -> None:
    class Exchange(Service):
        def put(self, *path: str, **fields: str) -> dict[str, Any]:
            raise Refused("refused", status, message)

    status, message = 404, "Assignment not found"
    assert save_due(Exchange(), "camp", "ps1", NINE) == Deadline(NINE)
    status, message = 0, ""
    with pytest.raises(Refused):
        save_due(Exchange(), "camp", "ps1", NINE)


def test_the_extension_replaces_autograde_release_and_due_dates_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {module: list(module.default_handlers) for module in (apihandlers, handlers)}
    for module, found in before.items():
        monkeypatch.setattr(module, "default_handlers", found)
    monkeypatch.setattr(base, "NbGraderAPI", base.NbGraderAPI)
    formgrader._load_jupyter_server_extension(None)  # type: ignore[arg-type]  # it asks nothing of the server
    changed = [
        (old[0], new[1])
        for module, found in before.items()
        for old, new in zip(found, module.default_handlers, strict=False)
        if old != new
    ]
    assert changed == [
        (r"/formgrader/api/assignment/([^/]+)", formgrader.AssignmentHandler),
        (r"/formgrader/api/assignment/([^/]+)/release", formgrader.ReleaseHandler),
        (r"/formgrader/api/submission/([^/]+)/([^/]+)/autograde", formgrader.AutogradeHandler),
        (r"/formgrader/manage_assignments/?", formgrader.ManageAssignmentsHandler),
        (r"/formgrader/manage_submissions/([^/]+)/?", ManageSubmissionsHandler),
    ]
    assert apihandlers.default_handlers[len(before[apihandlers]) :] == HANDLERS
    assert len(handlers.default_handlers) == len(before[handlers])
    assert base.NbGraderAPI is formgrader.ServiceAPI
