"""benchmarks/exchange.py runs, in a short form, and reads back what was submitted. Its times are nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import exchange
from gpuclass import ROOT


@pytest.mark.slow
def test_five_students_at_once_get_receipts_and_nothing_is_lost() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "benchmarks/exchange.py",
            "--burst",
            "5",
            "--spread",
            "0",
            "--runs",
            "1",
            "--only",
            "gpuclass",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["burst"]["gpuclass"]
    assert (found["n"], found["receipts"], found["failed"], found["lost"]) == (5, 5, 0, 0)


def figures(waits: list[float], failed: int = 0, lost: int = 0) -> exchange.Figures:
    return exchange.Figures(sorted(waits), ["no receipt"] * failed, ["s0000"] * lost, {"server": 0.0, "clients": 0.0})


def test_students_without_a_receipt_wait_without_end() -> None:
    assert figures([1.0] * 95, failed=5).p95 == 1.0
    assert figures([1.0] * 94, failed=6).p95 == float("inf")
    line = exchange.line(exchange.Load(100, 0), [figures([1.0] * 94, failed=6)])
    assert (line["p95"], line["max"], line["failed"]) == (None, 1.0, 6)


def test_what_went_wrong_in_any_run_is_counted_beside_the_median_run() -> None:
    runs = [figures([1.0, 2.0]), figures([9.0], failed=1, lost=1), figures([3.0, 4.0])]
    line = exchange.line(exchange.Load(2, 0), runs)
    assert (line["p95"], line["failed"], line["lost"]) == (4.0, 1, 1)


def test_the_ratio_is_over_the_faster_of_the_other_two(capsys: pytest.CaptureFixture[str]) -> None:
    load = exchange.Load(2, 0)
    lines = {
        "burst": {
            "stock": exchange.line(load, [figures([1.0, 2.0])]),
            "ngshare": exchange.line(load, [figures([3.0, 8.0])]),
            "gpuclass": exchange.line(load, [figures([3.0, 4.0])]),
        }
    }
    assert exchange.report(lines) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["burst"]["ratio"], printed["burst"]["ngshare_ratio"]) == (2.0, 0.5)


@pytest.mark.parametrize("wrong", [figures([1.0], failed=1), figures([1.0, 1.0], lost=1)])
def test_a_receipt_that_is_missing_or_not_kept_fails_the_benchmark(wrong: exchange.Figures) -> None:
    assert exchange.report({"burst": {"gpuclass": exchange.line(exchange.Load(2, 0), [wrong])}}) == 1


def test_every_exchange_is_pressed_in_the_same_seconds() -> None:
    load = exchange.Load(500, 60)
    assert load.moments() == load.moments()
    assert min(load.moments()) >= 0
    assert max(load.moments()) <= 60
    assert exchange.Load(3, 0).moments() == [0, 0, 0]
