"""Formgrader's Autograde button asks the grading service."""

from __future__ import annotations

from typing import Any

import pytest

from gpuclass.exchange.connection import Refused
from gpuclass.grader.formgrader import PATIENCE_SECONDS, request_grading


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


def test_the_extension_replaces_autograde_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    from nbgrader.server_extensions.formgrader import apihandlers, base

    from gpuclass.grader import formgrader

    before = list(apihandlers.default_handlers)
    monkeypatch.setattr(apihandlers, "default_handlers", before)
    monkeypatch.setattr(base, "NbGraderAPI", base.NbGraderAPI)
    formgrader._load_jupyter_server_extension(None)  # type: ignore[arg-type]  # it asks nothing of the server
    changed = [(old, new) for old, new in zip(before, apihandlers.default_handlers, strict=True) if old != new]
    assert [(old[0], new[1]) for old, new in changed] == [
        (r"/formgrader/api/submission/([^/]+)/([^/]+)/autograde", formgrader.AutogradeHandler)
    ]
    assert base.NbGraderAPI is formgrader.ServiceAPI
    own = (
        set(vars(formgrader.ServiceAPI))
        - set(vars(object))
        - {"__module__", "__firstlineno__", "__static_attributes__"}
    )
    assert {name for name in own if not name.startswith("_")} == {"autograde"}
