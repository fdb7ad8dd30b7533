"""What the queue holds as plain values for JSON: the service's answers and `gpuclass grading --json` are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gpuclass.exchange.store.batches import Batch
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


def batch(found: Batch) -> dict[str, Any]:
    """How far a grading again is, and whose scores change by it."""
    return {
        "state": found.state,
        "student": found.student,
        "source": found.source,
        "total": found.total,
        "done": found.done,
        "failed": found.failed,
        "changes": [asdict(change) | {"cells": [asdict(cell) for cell in change.cells]} for change in found.changes],
        "unchanged": found.unchanged,
        "failing": [{"student": student, "reason": reason} for student, reason in found.failing],
    }
