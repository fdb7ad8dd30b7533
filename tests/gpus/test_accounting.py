"""Who had how much: the ledger's sums, and ``gpuclass usage``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuclass.accounts import Accounts
from gpuclass.cli import app
from gpuclass.errors import UsageError
from gpuclass.gpus.accounting import clock, moment
from gpuclass.gpus.ledger import Ledger, UsageRow
from gpuclass.gpus.model import LOCAL, Seat
from gpuclass.roster import Person, Role, Roster
from tests.conftest import MakeSettings

T = 1_759_996_800.0  # 2025-10-09 17:00 in Seoul
A0, A1 = Seat(LOCAL, "GPU-a", 0, 2**30), Seat(LOCAL, "GPU-a", 1, 2**30)


class Hours:
    """A ledger in which time passes when it is told to."""

    def __init__(self, path: Path) -> None:
        self.time = T
        self.ledger = Ledger(path, lambda: self.time)

    def session(self, user: str, *seats: Seat, wait: float, stay: float | None) -> None:
        lease = self.ledger.enqueue(user, gpu=bool(seats), size=max(1, len(seats)))
        self.time += wait
        self.ledger.reserve(lease.id, seats)
        self.ledger.activate(lease.id, f"container-{lease.id}")
        if stay is not None:
            self.time += stay
            self.ledger.end(lease.id, "stopped")


@pytest.fixture
def hours(tmp_path: Path) -> Hours:
    return Hours(tmp_path / "gpus" / "ledger.sqlite")


def test_time_on_gpu_seats_is_summed_by_person(hours: Hours) -> None:
    hours.session("kim", A0, A1, wait=10, stay=600)
    hours.session("kim", A0, wait=30, stay=300)
    hours.session("lee", A0, wait=0, stay=100)
    hours.session("park", wait=0, stay=5000)  # on the CPU
    assert hours.ledger.usage() == [
        UsageRow("kim", leases=2, seconds=900, seat_seconds=1500, waits=2, wait_mean=20, wait_max=30),
        UsageRow("lee", leases=1, seconds=100, seat_seconds=100, waits=1, wait_mean=0, wait_max=0),
    ]


def test_a_start_that_was_cancelled_before_there_was_a_container_does_not_count(hours: Hours) -> None:
    for _ in range(3):
        lease = hours.ledger.enqueue("kim", gpu=True)
        hours.ledger.reserve(lease.id, [A0])
        hours.time += 5
        hours.ledger.end(lease.id, "the start failed or was cancelled")
    hours.ledger.enqueue("kim", gpu=True)
    assert hours.ledger.usage() == []
    assert [request.gpu_seconds for request in hours.ledger.queue()] == [0.0]


def test_only_the_part_within_the_time_counts(hours: Hours) -> None:
    hours.session("kim", A0, wait=0, stay=600)
    hours.session("lee", A0, wait=0, stay=None)
    hours.time += 60
    (lee, kim) = sorted(hours.ledger.usage(since=T + 500), key=lambda row: row.user, reverse=True)
    assert (kim.seconds, kim.waits) == (100, 0)
    assert (lee.seconds, lee.waits) == (60, 1)
    assert hours.ledger.usage(since=T + 500, until=T + 550)[0].seconds == 50


def test_gpu_time_lately_counts_less_the_longer_it_is_ago(hours: Hours) -> None:
    hours.session("kim", A0, wait=0, stay=3600)
    hours.ledger.enqueue("kim", gpu=True)
    (now,) = hours.ledger.queue()
    hours.time += 24 * 3600
    (tomorrow,) = hours.ledger.queue()
    hours.time += 8 * 24 * 3600
    (next_week,) = hours.ledger.queue()
    assert now.gpu_seconds == pytest.approx(3600, rel=0.02)
    assert tomorrow.gpu_seconds == pytest.approx(now.gpu_seconds / 2)
    assert next_week.gpu_seconds == 0


def test_a_clock_that_was_set_back_makes_no_time_and_takes_none(hours: Hours) -> None:
    hours.session("kim", A0, wait=0, stay=-3600)
    assert [row.seconds for row in hours.ledger.usage()] == [0.0]
    hours.session("kim", A0, wait=0, stay=600)
    assert [row.seconds for row in hours.ledger.usage()] == [600.0]
    hours.time -= 7200
    assert [row.seconds for row in hours.ledger.usage()] == [600.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-10-09", T - 17 * 3600),
        ("2025-10-09 16:30", T - 1800),
        ("today", T - 17 * 3600),
        ("90m", T - 5400),
        ("2d", T - 2 * 86400),
    ],
)
def test_since_when(text: str, expected: float) -> None:
    assert moment(text, "Asia/Seoul", T) == expected


def test_since_something_else_is_explained() -> None:
    with pytest.raises(UsageError, match=r"'gestern' is not a time; write .*2026-12-01"):
        moment("gestern", "Asia/Seoul", T)


def test_lengths_of_time_can_be_read() -> None:
    assert [clock(seconds) for seconds in (0, 40, 299, 300, 3900, 360000)] == [
        "0:00",
        "0:00:40",
        "0:04:59",
        "0:05",
        "1:05",
        "100:00",
    ]


def test_the_command_names_everybody_in_the_class(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings()
    monkeypatch.setenv("GPUCLASS_CONFIG", str(settings.path))
    people = (Person("kim", "김하나", Role.STUDENT, "red"), Person("lee", "이두리", Role.STUDENT))
    Accounts(settings.accounts_path).apply(Roster(people), {})
    run = CliRunner().invoke
    assert "Nobody has had a GPU seat yet." in run(app, ["usage"]).output
    assert not settings.ledger_path.exists()

    hours = Hours(settings.ledger_path)
    hours.session("kim", A0, wait=10, stay=3900)
    hours.ledger.close()
    table = run(app, ["usage"]).output
    assert "김하나" in table
    assert "1:05" in table
    rows = json.loads(run(app, ["usage", "--json"]).output)
    assert [(row["login"], row["gpu_seconds"]) for row in rows] == [("kim", 3900), ("lee", 0)]
    lines = list(csv.DictReader(io.StringIO(run(app, ["usage", "--csv"]).output)))
    assert [(line["name"], line["team"], line["wait_mean"]) for line in lines] == [
        ("김하나", "red", "10.0"),
        ("이두리", "", "0.0"),
    ]
    assert run(app, ["usage", "--json", "--csv"]).exit_code == 2
    assert run(app, ["usage", "--since", "soon"]).exit_code == 2
