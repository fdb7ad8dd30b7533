"""One grading worker a class, and whether one is at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpuclass.exchange.store.store import Store
from gpuclass.exchange.store.workers import SILENT, Workers
from gpuclass.grader.alone import AnotherWorker, alone

HOLD = """
import sys
from pathlib import Path
from gpuclass.grader.alone import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_worker_says_who_is_at_work_and_a_killed_one_leaves_nothing_to_remove(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdin is not None
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(AnotherWorker, match=rf"process {first.pid} on .*since .* UTC.*grading status"),
            alone(tmp_path),
        ):
            pass
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        first.stdin.close()
        first.stdout.close()
    with alone(tmp_path):
        pass


def test_a_worker_lives_while_it_gives_signs_of_life(tmp_path: Path) -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    with Store(tmp_path, lambda: now) as store:
        workers = Workers(store)
        assert (workers.life().alive, workers.life().seen) == (False, None)
        run = workers.begin()
        assert workers.life().alive
        now += SILENT - timedelta(seconds=1)
        workers.beat(run)
        now += SILENT - timedelta(seconds=1)
        assert workers.life().alive
        last = now
        now += timedelta(seconds=1)
        assert not workers.life().alive, "it was killed, or its machine was"
        workers.begin()
        assert workers.life().alive
        assert workers.life().seen == now > last


def test_a_worker_that_was_stopped_is_not_at_work(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        workers = Workers(store)
        workers.end(workers.begin())
        assert not workers.life().alive
