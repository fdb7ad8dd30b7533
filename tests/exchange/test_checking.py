"""Before a release the grading service tries the assignment: what comes of it, and what happens without the service."""

from __future__ import annotations

from typing import Any

import pytest

from gpuclass.exchange.client import checking
from gpuclass.exchange.client.checking import GRACE_S, PATIENCE_S, Verdict

ALIVE = {"alive": True, "seen": "2026-11-23T09:00:00Z"}
JUST_GONE = {"alive": False, "seen": "2026-11-23T09:00:00Z"}
NEVER = {"alive": False, "seen": None}


class Service:
    """A double of the exchange, with a clock of its own."""

    def __init__(self, *states: dict[str, Any], worker: dict[str, Any] = ALIVE) -> None:
        self.states = list(states)
        self.worker = worker
        self.now = 0.0

    def post(self, *path: str, **fields: str) -> dict[str, Any]:
        assert path == ("gpuclass", "v1", "check", "camp", "ps1")
        return {"check": 7}

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        if path == ("gpuclass", "v1", "grading", "camp"):
            return {"worker": self.worker}
        assert path == ("gpuclass", "v1", "check", "camp", "ps1", "7")
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def done(*, refused: bool, lines: list[str]) -> dict[str, Any]:
    return {"state": "done", "report": {"refused": refused, "lines": lines}}


def ask(service: Service) -> tuple[Verdict, list[str]]:
    told: list[str] = []
    verdict = checking.check(service, "camp", "ps1", "en", told.append, clock=lambda: service.now, sleep=service.sleep)
    return verdict, told


def test_what_is_in_order_may_be_released() -> None:
    verdict, told = ask(Service({"state": "waiting"}, {"state": "running"}, done(refused=False, lines=["in order"])))
    assert verdict == Verdict("in order", ["in order"])
    assert told == [
        "ps1: trying it before the release: does it score the same in a notebook and when it is graded? (0 s)"
    ]


def test_what_must_be_mended_is_refused_with_the_report() -> None:
    verdict, _ = ask(Service(done(refused=True, lines=["ps1 · test, line 3", "assert f() == 1"])))
    assert verdict == Verdict("refused", ["ps1 · test, line 3", "assert f() == 1"])


@pytest.mark.parametrize("report", [{"error": "not a notebook"}, {"refused": "no", "lines": []}, None])
def test_what_could_not_be_tried_is_refused(report: dict[str, Any] | None) -> None:
    verdict, _ = ask(Service({"state": "failed", "report": report}))
    assert verdict.state == "refused"
    assert (report or {}).get("error", "could not be tried") in verdict.lines[0]


def test_a_class_does_not_wait_for_a_service_that_is_down() -> None:
    service = Service({"state": "waiting"}, worker=NEVER)
    verdict, _ = ask(service)
    assert verdict.state == "untried"
    assert "gpuclass check ps1" in verdict.lines[0]
    assert service.now == 0


def test_a_service_that_is_started_again_is_waited_for() -> None:
    service = Service({"state": "waiting"}, worker=JUST_GONE)
    verdict, _ = ask(service)
    assert verdict.state == "untried"
    assert GRACE_S <= service.now < GRACE_S + 3

    service = Service(*[{"state": "running"}] * 10, done(refused=False, lines=[]), worker=JUST_GONE)
    assert ask(service)[0].state == "in order"


def test_nobody_waits_for_ever_and_is_told_meanwhile() -> None:
    service = Service({"state": "running"})
    verdict, told = ask(service)
    assert verdict.state == "refused"
    assert "Release it again in a moment" in verdict.lines[0]
    assert service.now < PATIENCE_S + 3
    assert len(told) > 20


def test_what_was_tried_a_moment_ago_is_not_tried_again() -> None:
    assert not checking.is_tried()
    with checking.tried():
        assert checking.is_tried()
    assert not checking.is_tried()
