"""Formgrader's Autograde button asks the grading service, and its due dates are the exchange's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nbgrader.server_extensions.formgrader import apihandlers, base, handlers

from gpuclass.exchange.client.connection import Refused
from gpuclass.exchange.records import Deadline
from gpuclass.grader import formgrader
from gpuclass.grader.formgrader import PATIENCE_SECONDS, due_of, request_grading, save_due


class Service:
    """A double of the exchange's grading endpoint, with a clock of its own."""

    def __init__(self, *states: dict[str, Any], refuses: str = "") -> None:
        self.states = list(states)
        self.refuses = refuses
        self.asked: list[tuple[str, ...]] = []
        self.now = 0.0

    def post(self, *path: str, **fields: str) -> dict[str, Any]:
        self.asked.append(("POST", *path))
        if self.refuses:
            raise Refused(self.refuses, 404)
        return {"success": True, "job": 7}

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        self.asked.append(("GET", *path))
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def press(service: Service) -> dict[str, Any]:
    return request_grading(service, "camp", "ps1", "kim", "en", clock=lambda: service.now, sleep=service.sleep)


def test_the_button_enqueues_the_submission_and_waits_for_its_score() -> None:
    service = Service({"state": "waiting"}, {"state": "running"}, {"state": "done"})
    assert press(service) == {"success": True, "log": "Graded (job 7)."}
    assert service.asked[0] == ("POST", "gpuclass", "v1", "grading", "camp", "ps1", "kim")
    assert service.asked[1:] == [("GET", "gpuclass", "v1", "grading", "jobs", "7")] * 3


def test_a_failed_job_shows_its_reason() -> None:
    outcome = press(Service({"state": "failed", "error": "there is no source version of 'ps1'"}))
    assert outcome == {"success": False, "log": "", "error": "there is no source version of 'ps1'"}


def test_a_refusal_is_shown_as_it_was_said() -> None:
    outcome = press(Service(refuses="kim has not submitted ps1"))
    assert outcome == {"success": False, "log": "", "error": "kim has not submitted ps1"}


def test_a_long_queue_does_not_hold_the_page() -> None:
    service = Service({"state": "waiting"})
    outcome = press(service)
    assert outcome["success"]
    assert "queue" in outcome["log"]
    assert service.now == pytest.approx(PATIENCE_SECONDS)


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


def test_the_extension_replaces_autograde_and_due_dates_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {module: list(module.default_handlers) for module in (apihandlers, handlers)}
    for module, found in before.items():
        monkeypatch.setattr(module, "default_handlers", found)
    monkeypatch.setattr(base, "NbGraderAPI", base.NbGraderAPI)
    formgrader._load_jupyter_server_extension(None)  # type: ignore[arg-type]  # it asks nothing of the server
    changed = [
        (old[0], new[1])
        for module, found in before.items()
        for old, new in zip(found, module.default_handlers, strict=True)
        if old != new
    ]
    assert changed == [
        (r"/formgrader/api/assignment/([^/]+)", formgrader.AssignmentHandler),
        (r"/formgrader/api/submission/([^/]+)/([^/]+)/autograde", formgrader.AutogradeHandler),
        (r"/formgrader/manage_assignments/?", formgrader.ManageAssignmentsHandler),
    ]
    assert base.NbGraderAPI is formgrader.ServiceAPI
