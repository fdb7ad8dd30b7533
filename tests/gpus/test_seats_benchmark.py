"""benchmarks/seats.py runs, in its short form, and finds what it looks for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gpuclass import ROOT


@pytest.mark.slow
def test_a_thousand_events_leave_no_seat_double_or_leaked() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/seats.py", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["double_leases"], found["oversold_devices"], found["leaked_seats"]) == (0, 0, 0)
    assert found["fairness"]["gpuclass"] < found["fairness"]["random"]
    assert set(found["grant_ms"]) == {"p50", "p99"}
    # The course of events had in it what the benchmark is for.
    for event in ("the hub is killed", "the engine goes", "a container dies", "action: adopt", "action: requeue"):
        assert found["happened"].get(event, 0) > 0, event
