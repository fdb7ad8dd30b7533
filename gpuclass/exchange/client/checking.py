"""Before a release: the grading service tries the assignment, and what must be mended stops the release.

A class does not wait for a service that is down: without a grading worker the release goes on, with a warning. Nothing
is lost by that. A release can be corrected, and no score is given before the worker is there again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from gpuclass.exchange.messages import Language, say

POLL_S = 0.3
WORD_S = 15.0  # between two words on how long it takes
LOOK_S = 2.0  # between two looks for the worker
GRACE_S = 10.0  # a worker that has just been there comes back within that: its supervisor starts it again
PATIENCE_S = 600.0  # then whoever releases looks again later
PATH = ("gpuclass", "v1")

_TRIED: ContextVar[bool] = ContextVar("tried", default=False)


class Service(Protocol):
    """The requests that are made; a `Connection`, or a double in tests."""

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        """Answer to GET."""

    def post(self, *path: str, **fields: str) -> dict[str, Any]:
        """Answer to POST."""


@dataclass(frozen=True)
class Verdict:
    """What came of it.

    Attributes:
        state: in order; refused: not to be released so; untried: nobody is there to try it.
        lines: the report, in words for instructors.
    """

    state: Literal["in order", "refused", "untried"]
    lines: Sequence[str]


def check(
    service: Service,
    course: str,
    assignment: str,
    language: Language,
    tell: Callable[[str], object],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Verdict:
    """Have an assignment tried, and wait for what comes of it.

    Args:
        service: the exchange.
        course: its name there.
        assignment: which.
        language: of the class.
        tell: is told from time to time that it is still going on.

    Raises:
        Refused: the exchange said no, or could not be asked.
    """
    number = service.post(*PATH, "check", course, assignment)["check"]
    began = clock()
    word = look = began
    while True:
        found = service.get(*PATH, "check", course, assignment, str(number))
        match found:
            case {"state": "done", "report": {"refused": bool() as refused, "lines": list() as lines}}:
                return Verdict("refused" if refused else "in order", [str(line) for line in lines])
            case {"state": "done" | "failed", "report": report}:
                reason = report.get("error", "") if isinstance(report, dict) else ""
                return Verdict("refused", [say(language, "teach.not_tried", assignment=assignment, reason=reason)])
        now = clock()
        waited = now - began
        if now >= look and nobody_works(service, course, waited):
            return Verdict("untried", [say(language, "teach.untried", assignment=assignment)])
        if waited > PATIENCE_S:
            return Verdict("refused", [say(language, "teach.still_trying", assignment=assignment)])
        look = now + LOOK_S if now >= look else look
        if now >= word:
            tell(say(language, "teach.trying", assignment=assignment, seconds=round(waited)))
            word = now + WORD_S
        sleep(POLL_S)


def nobody_works(service: Service, course: str, waited: float) -> bool:
    """Whether no grading worker is there, nor likely to be back in a moment.

    Raises:
        Refused: the exchange could not be asked.
    """
    worker = service.get(*PATH, "grading", course)["worker"]
    return not worker["alive"] and (worker["seen"] is None or waited >= GRACE_S)


@contextmanager
def tried() -> Iterator[None]:
    """For a release of what was tried a moment ago: it is not tried again."""
    token = _TRIED.set(True)
    try:
        yield
    finally:
        _TRIED.reset(token)


def is_tried() -> bool:
    """Whether this is such a release."""
    return _TRIED.get()
