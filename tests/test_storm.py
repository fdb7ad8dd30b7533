"""The arithmetic of benchmarks/storm.py; tests/images/test_storm.py lets it run."""

import json

import pytest

from benchmarks.storm import Figures, report


def figures(waits: list[float], failures: list[str] | None = None) -> Figures:
    return Figures(waits, failures or [], {"class": 1.26}, 100.4)


def test_a_sides_line_has_first_median_95th_percentile_and_last() -> None:
    line = figures([float(number) for number in range(1, 81)]).line()
    assert {what: line[what] for what in ("first", "p50", "p95", "last", "failed")} == {
        "first": 1,
        "p50": 40.5,
        "p95": 76,
        "last": 80,
        "failed": 0,
    }
    assert line["cpu_seconds"] == {"class": 1.3}
    assert line["memory_mib"] == 100


def test_when_nobody_got_in_there_are_no_times_but_there_is_a_line() -> None:
    line = figures([], ["s001: HTTP 500", "s002: HTTP 500"]).line()
    assert (line["first"], line["last"], line["failed"]) == (None, None, 2)
    json.dumps(line, allow_nan=False)


@pytest.mark.parametrize(
    ("ours", "stock", "status", "ratio"),
    [
        (figures([10.0]), figures([30.0]), 0, 0.333),
        (figures([15.0]), figures([30.0]), 1, 0.5),
        (figures([10.0], ["s001: HTTP 500"]), figures([30.0]), 1, 0.333),
        (figures([10.0]), figures([30.0], ["s001: HTTP 500"]), 0, 0.333),
        (figures([], ["s001: HTTP 500"]), figures([30.0]), 1, None),
        (figures([10.0]), figures([], ["s001: HTTP 500"]), 1, None),
    ],
)
def test_the_last_line_is_json_and_the_status_says_whether_the_limit_holds(
    ours: Figures, stock: Figures, status: int, ratio: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(1, {"stock": stock.line(), "gpuclass": ours.line()}) == status
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["ratio"] == ratio
    assert line["limit"] == 0.4


def test_one_side_alone_has_no_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(1, {"gpuclass": figures([1.0]).line()}) == 0
    assert "ratio" not in json.loads(capsys.readouterr().out)
