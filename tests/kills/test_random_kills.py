"""Kill -9 at random moments of all that grades while a class hands in: every receipt is scored once, and rightly.

``GPUCLASS_KILLS`` says how often and ``GPUCLASS_KILLS_STUDENTS`` how many students there are; `make chaos` kills 80
students' grading 120 times.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import docker.errors
import pytest
from nbgrader.api import Gradebook
from sqlalchemy import select

from gpuclass.exchange.store.schema import FeedbackRow, JobRow
from gpuclass.exchange.store.store import Store
from gpuclass.grader.sandbox import LABEL
from tests.gpus.engines import NestedEngine
from tests.kills.classroom import ASSIGNMENT, FULL, KillableClass, kill, running
from tests.kills.students import Press, Student, release, scores_of

KILLS = int(os.environ.get("GPUCLASS_KILLS", "10"))
STUDENTS = int(os.environ.get("GPUCLASS_KILLS_STUDENTS", "10"))
LONGEST_S = 2.5  # from one kill to the next
ENGINE_AWAY_S = 5.0  # at most, but for the first time
ENGINE_LONG_AWAY_S = 30.0 if STUDENTS >= 80 else 4.0
GRADED_WITHIN_S = 60 + 10 * STUDENTS
THERE_WITHIN_S = 15.0  # a killed worker needs that long until it grades again
POLL_S = 0.1
Found = TypeVar("Found")

pytestmark = [
    pytest.mark.images,
    pytest.mark.slow,
    # docker's client leaves a socket open when a dead engine does not tell its version
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Killer:
    """Kills, and counts what it hit."""

    def __init__(self, classroom: KillableClass, chance: random.Random) -> None:
        self.hits: Counter[str] = Counter()
        self._classroom = classroom
        self._chance = chance
        self._engine_away = iter([ENGINE_LONG_AWAY_S])
        self._ways: dict[str, tuple[int, Callable[[], bool]]] = {
            "worker": (2, lambda: classroom.kill("grading")),
            "grading process": (2, self._grading_process),
            "exchange": (1, lambda: classroom.kill("exchange")),
            "hub": (1, lambda: classroom.kill("hub")),
            "sandbox": (2, self._sandbox),
            "engine": (1, lambda: self._engine(with_containers=False)),
            "engine with containers": (1, lambda: self._engine(with_containers=True)),
        }
        self._order: list[str] = []

    def strike(self) -> None:
        """One kill; every way comes as often as its weight says, in a random order."""
        if not self._order:
            self._order = [name for name, (weight, _) in self._ways.items() for _ in range(weight)]
            self._chance.shuffle(self._order)
        way = self._order.pop()
        self.hits[way] += self._ways[way][1]()

    def _grading_process(self) -> bool:
        found = awaited(self._classroom.grading_processes)
        return bool(found) and kill(self._chance.choice(found))

    def _sandbox(self) -> bool:
        """As `docker kill` does."""
        engine = self._classroom.engine.client
        found = awaited(lambda: engine.containers.list(filters={"label": LABEL}, ignore_removed=True))
        try:
            if found:
                self._chance.choice(found).kill()
        except docker.errors.APIError:
            return False  # it was gone before
        return bool(found)

    def _engine(self, *, with_containers: bool) -> bool:
        self._classroom.kill_engine(with_containers=with_containers)
        time.sleep(next(self._engine_away, self._chance.uniform(0.1, ENGINE_AWAY_S)))
        self._classroom.start_engine()
        return True


def awaited(look: Callable[[], list[Found]]) -> list[Found]:
    """What there is to be killed, as soon as there is something."""
    deadline = time.monotonic() + THERE_WITHIN_S
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return found


@pytest.mark.timeout(300 + 10 * KILLS + GRADED_WITHIN_S)
def test_every_receipt_is_scored_once_whatever_is_killed(killable: NestedEngine) -> None:
    chance = random.Random(20261123)  # noqa: S311  # moments
    names = [f"s{number:03}" for number in range(STUDENTS)]
    allowed = threading.Semaphore(0)
    clock = [time.monotonic()]
    with running(killable, names) as classroom:
        clock.append(time.monotonic())
        release(classroom)
        students = [Student(classroom, name, scores_of(number), allowed) for number, name in enumerate(names)]
        presses = [press for student in students for press in student.presses]
        killer = Killer(classroom, chance)
        for student in students:
            student.start()
        try:
            share = len(presses) // 2
            allowed.release(
                len(presses) - share
            )  # half of the class hands in at once, the rest while things are killed
            for number in range(KILLS):
                for _ in range(share * number // KILLS, share * (number + 1) // KILLS):
                    allowed.release()
                time.sleep(chance.uniform(0, LONGEST_S))
                killer.strike()
            clock.append(time.monotonic())
            for student in students:
                student.join(GRADED_WITHIN_S)
            assert [text for student in students for text in student.unexpected] == []
            until_graded(classroom)
            clock.append(time.monotonic())
            figures = f"kills={killer.hits.total()} {dict(killer.hits)}"
            seconds = [round(end - begin) for begin, end in pairwise(clock)]
            print(f"\n{figures} seconds until open, killed, graded={seconds}")
            print(f"submissions={len(presses)} waits={sum(each.waits for each in presses)}")
            check(classroom, presses)
        except BaseException:
            print(classroom.logs())
            raise
    assert all(killer.hits[way] for way in ("worker", "exchange", "hub")), "nothing was killed"
    assert classroom.leftovers() == [], "the class has ended"


def until_graded(classroom: KillableClass) -> None:
    """Wait until no job waits or runs."""
    deadline = time.monotonic() + GRADED_WITHIN_S
    while states := [state for state in jobs(classroom) if state in ("waiting", "running")]:
        assert time.monotonic() < deadline, f"{len(states)} are not graded"
        time.sleep(POLL_S)


def jobs(classroom: KillableClass) -> list[str]:
    with Store(classroom.settings.exchange_folder) as store, store.reading() as session:
        return list(session.scalars(select(JobRow.state)))


def check(classroom: KillableClass, presses: list[Press]) -> None:
    """Every receipt has one submission, one job that is done, one score that is the right one, and its page."""
    settings = classroom.settings
    assert all(len(set(press.receipts)) == 1 for press in presses), "a receipt is missing, or there are two"
    by_number = {press.receipts[0][0]: press for press in presses}
    assert len(by_number) == len(presses), "two presses share a receipt"
    with Store(settings.exchange_folder) as store:
        kept = store.submissions(settings.course, ASSIGNMENT)
        assert {(each.id, each.sha256) for each in kept} == {press.receipts[0] for press in presses}
        with store.reading() as session:
            states = list(session.execute(select(JobRow.submission, JobRow.state, JobRow.error)))
            scored = Counter(session.scalars(select(FeedbackRow.submission)))
        assert Counter((number, state) for number, state, _ in states) == Counter((each.id, "done") for each in kept), [
            error for *_, error in states if error
        ]
        assert scored == Counter(each.id for each in kept), "a submission was scored twice, or never"
        for submission in kept:
            feedback = store.feedback(submission, released=True)
            assert feedback is not None
            wanted = by_number[submission.id].score
            assert (submission.id, feedback.score, feedback.max_score) == (submission.id, wanted, FULL)
            (page,) = [store.read(file) for file in store.feedback_files(feedback)]
            assert f"{wanted} / {FULL}".encode() in page
    gradebook = settings.course_folder / "gradebook.db"
    for database in (gradebook, *settings.exchange_folder.glob("*.sqlite")):
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], database
    last = {press.student: press.score for press in presses}
    with Gradebook(f"sqlite:///{gradebook}", settings.course) as book:
        found = {each.student.id: each.score for each in book.assignment_submissions(ASSIGNMENT)}
    assert found == last
    assert unplanned(classroom.log("grading")) == []
    ahead = 2 * settings.grading.workers  # a sandbox and a referee for each grading process wait for the next one
    left = classroom.leftovers()
    assert len(left) <= ahead, left


def unplanned(log: str) -> list[str]:
    """The tracebacks in a log that do not say that the engine was away: nbgrader writes one for what it catches."""
    records = re.split(r"^(?=\d{4}-\d\d-\d\d |[A-Z]+ )", log, flags=re.MULTILINE)
    return [record for record in records if "Traceback" in record and ".EngineError: " not in record]
