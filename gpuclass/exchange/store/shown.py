"""What the queue holds as plain values for JSON: the service's answers and `gpuclass grading --json` are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gpuclass.exchange.store.progress import Latest, counts
from gpuclass.exchange.store.workers import Life
from gpuclass.exchange.wire import show_time


def progress(found: Sequence[Latest], life: Life) -> dict[str, Any]:
    """How far a course's grading is."""
    return {
        "assignments": [asdict(count) for count in counts(found)],
        "worker": {"alive": life.alive, "seen": show_time(life.seen) if life.seen else None},
        "failing": [
            {"student": each.student, "assignment": each.assignment, "job": each.job, "reason": each.reason}
            for each in found
            if each.stage == "failed"
        ],
        "quarantined": [
            {"student": each.student, "assignment": each.assignment, "reason": each.reason}
            for each in found
            if each.stage == "quarantined"
        ],
    }
