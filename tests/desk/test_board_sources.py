"""What boards read is what hub, watch, exchange and notebooks have written, and nothing is read twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpuclass.accounts import Accounts
from gpuclass.desk.board.snapshot import Snapshot, Student
from gpuclass.desk.board.sources import Sources, Version
from gpuclass.desk.board.submissions import Submissions
from gpuclass.desk.reports import Report
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.store import Store
from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import LOCAL, Seat, State
from gpuclass.roster import Roster
from gpuclass.settings import Settings
from gpuclass.watch.usage import FRESH_S, SeatUse, Usage, path_of, write_usage
from tests.desk.boards import Raised
from tests.desk.conftest import PEOPLE

GIB = 2**30
NOTEBOOK = {"a.ipynb": b"{}"}


@dataclass
class Class:
    """A class of files, and what tests write into it."""

    settings: Settings
    accounts: Accounts
    ledger: Ledger
    exchange: Store
    hands: list[Raised] = field(default_factory=list)
    reports: dict[str, Report] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.sources = Sources(self.settings, self.accounts, self.ledger, self.exchange, self, self, lambda: self.now)

    def open(self) -> list[Raised]:
        return self.hands

    def all(self) -> dict[str, Report]:
        return self.reports

    def read(self) -> Snapshot:
        return self.sources.read()

    def of(self, login: str) -> Student:
        (found,) = [each for each in self.read().students if each.person.login == login]
        return found

    def submit(self, assignment: str, login: str) -> None:
        self.exchange.submit(self.settings.course, assignment, login, NOTEBOOK)

    def grade(self, score: float, error: str | None = None) -> None:
        """The worker's next job, read by the board while it runs too."""
        job = self.exchange.claim()
        assert job is not None
        assert self.of(job.student).work[job.assignment].stage in ("running", "waiting")
        self.exchange.finish(job.id, error=error)
        latest = self.exchange.latest_submission(job.course, job.assignment, job.student)
        assert latest is not None
        if error is None:
            self.exchange.put_feedback(latest, NOTEBOOK, released=False, score=score, max_score=9.0)


@pytest.fixture
def camp(settings: Settings) -> Iterator[Class]:
    accounts = Accounts(settings.accounts_path)
    exchange = Store(settings.exchange_folder)
    Courses(exchange, settings.course, accounts.roster)
    exchange.release(settings.course, "ps1", NOTEBOOK, by="teacher")
    ledger = Ledger(settings.ledger_path)
    camp = Class(settings, accounts, ledger, exchange)
    yield camp
    camp.sources.close()
    ledger.close()
    exchange.close()


def test_only_students_are_on_the_board_in_the_rosters_order(camp: Class) -> None:
    assert [each.person.login for each in camp.read().students] == ["s001", "s002", "s003", "s004"]
    Accounts(camp.settings.accounts_path).apply(Roster(PEOPLE[:5]), {})
    assert [each.person.login for each in camp.read().students] == ["s001"]


def test_a_server_is_followed_from_the_queue_to_its_seat(camp: Class) -> None:
    assert camp.of("s002").lease is None
    first = camp.ledger.enqueue("s001", gpu=True)
    camp.ledger.enqueue("s002", gpu=True)
    assert (camp.of("s001").ahead, camp.of("s002").ahead) == (0, 1)
    camp.ledger.reserve(first.id, [Seat(LOCAL, "GPU-1", 0, 9 * GIB)])
    camp.ledger.activate(first.id, "c1")
    on = camp.of("s001").lease
    assert on is not None
    assert (on.state, on.memory, camp.of("s002").ahead) == (State.ACTIVE, 9 * GIB, 0)
    camp.ledger.end(first.id, "stopped")
    assert camp.of("s001").lease is None


def test_a_server_without_a_gpu_has_a_lease_too(camp: Class) -> None:
    lease = camp.ledger.enqueue("s001", gpu=False)
    camp.ledger.activate(camp.ledger.reserve(lease.id).id, "c1")
    on = camp.of("s001").lease
    assert on is not None
    assert (on.state, on.gpu, on.memory) == (State.ACTIVE, False, 0)


def test_memory_comes_from_a_watch_that_has_looked_lately(camp: Class) -> None:
    lease = camp.ledger.enqueue("s001", gpu=True)
    camp.ledger.activate(camp.ledger.reserve(lease.id, [Seat(LOCAL, "GPU-1", 0, 9 * GIB)]).id, "c1")
    busy = camp.now - timedelta(seconds=40)
    seat = SeatUse("c1", "s001", lease.id, "GPU-1", 9 * GIB, 3 * GIB, 1, busy.timestamp())
    write_usage(camp.settings.gpus_folder, Usage(LOCAL, camp.now.timestamp(), (seat,)))
    assert (camp.of("s001").used, camp.of("s001").active) == (3 * GIB, busy)
    camp.now += timedelta(seconds=FRESH_S + 1)
    assert camp.of("s001").used is None
    path_of(camp.settings.gpus_folder, LOCAL).write_text(json.dumps({"engine": LOCAL}), encoding="utf-8")
    assert camp.of("s001").used is None


def test_a_submission_is_followed_to_its_score(camp: Class) -> None:
    assert camp.read().assignments == ("ps1",)
    assert camp.of("s001").work == {}
    camp.submit("ps1", "s001")
    assert camp.of("s001").work["ps1"].stage == "waiting"
    camp.grade(3.0)
    graded = camp.of("s001").work["ps1"]
    assert (graded.stage, graded.score, graded.most) == ("graded", 3.0, 9.0)
    assert camp.of("s002").work == {}
    camp.submit("ps1", "s001")
    assert (camp.of("s001").work["ps1"].stage, camp.of("s001").work["ps1"].score) == ("waiting", None)


def test_what_was_read_before_stays_as_it_was(camp: Class) -> None:
    before = camp.of("s001")
    camp.submit("ps1", "s001")
    camp.read()
    assert before.work == {}


def test_reading_bit_by_bit_comes_to_the_same_as_reading_all_at_once(camp: Class) -> None:
    camp.exchange.release(camp.settings.course, "ps2", NOTEBOOK, by="teacher")
    for step, (assignment, login) in enumerate(
        [("ps1", "s001"), ("ps2", "s001"), ("ps1", "s002"), ("ps1", "s001"), ("ps2", "s003"), ("ps1", "s002")]
    ):
        camp.submit(assignment, login)
        camp.read()
        if step % 2:
            camp.grade(float(step), error="broken" if step == 3 else None)
        anew = Submissions(camp.exchange, camp.settings.course)
        anew.read()
        for each in camp.read().students:
            assert each.work == anew.of(each.person.login)


def test_the_exchange_is_read_when_it_has_changed_only(camp: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[None] = []
    monkeypatch.setattr(Submissions, "read", lambda self: read.append(None))
    camp.read()
    camp.read()
    assert len(read) == 1
    camp.submit("ps1", "s001")
    camp.read()
    assert len(read) == 2


def test_what_could_not_be_read_is_read_the_next_time(camp: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Submissions) -> None:
        raise OSError("disk")

    with monkeypatch.context() as broken:
        broken.setattr(Submissions, "read", fail)
        with pytest.raises(OSError, match="disk"):
            camp.read()
    camp.submit("ps1", "s001")
    assert camp.of("s001").work["ps1"].stage == "waiting"


def test_a_report_every_half_minute_is_no_activity(camp: Class) -> None:
    begun = camp.now
    said = Report("01-pixels", "lecture", 5, at=begun)
    camp.reports["s001"] = said
    assert camp.of("s001").active == begun
    camp.reports["s001"] = replace(said, at=begun + timedelta(seconds=30))
    assert camp.of("s001").active == begun
    camp.reports["s001"] = replace(said, at=begun + timedelta(seconds=60), cells=6)
    assert camp.of("s001").active == begun + timedelta(seconds=60)
    camp.reports["s001"] = replace(said, at=begun + timedelta(seconds=90), cells=6, busy=True)
    assert camp.of("s001").active == begun + timedelta(seconds=90)


def test_a_taken_hand_says_who_comes(camp: Class) -> None:
    camp.hands.append(Raised("s001", camp.now))
    assert (camp.of("s001").hand, camp.of("s001").helper) == (camp.hands[0], "")
    camp.hands[0] = Raised("s001", camp.now, "mentor1", camp.now)
    assert camp.of("s001").helper == "박멘토"


def test_a_file_that_was_put_aside_and_made_anew_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    version = Version(path)
    assert (version.moved(), version.moved()) == (True, False)
    for each in tmp_path.glob("ledger.sqlite*"):
        each.rename(each.with_name(f"old-{each.name}"))
    with Ledger(path) as ledger:
        assert version.moved()
        ledger.enqueue("s001", gpu=False)
        assert (version.moved(), version.moved()) == (True, False)
    version.close()
