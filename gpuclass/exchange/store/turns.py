"""Whose submission is graded next. Pure: what waits, who runs and who was served go in, the line comes out.

Three rules, in this order:

1. One student's submissions to one assignment are graded in the order they came, so that the gradebook ends with the
   last one. A later one that should be early lends its turn to those before it.
2. What a student waits for comes before what an instructor asked for, and that before a batch; nothing waits behind
   others for longer than `PATIENCE` because of this.
3. Within these, students take turns: the next is the one who was served longest ago, with the oldest of theirs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gpuclass.exchange.records import Kind

A_STUDENT, AN_INSTRUCTOR, A_BATCH = 0, 5, 10  # who waits; the smaller number is served first
PATIENCE = timedelta(minutes=30)  # after that a job is as urgent as a student's
SERVED_LATELY = timedelta(minutes=10)  # what was begun before does not count in whose turn it is
HOUR = timedelta(hours=1)  # of `[grading] attempts`

Work = tuple[str, str, str]  # course, assignment, student: what shares folders, and rows of the gradebook
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Waiting:
    """A job that waits. ``not_before``: it must not begin earlier."""

    id: int
    work: Work
    submission: int
    kind: Kind
    priority: int
    queued: datetime
    not_before: datetime | None

    @property
    def order(self) -> tuple[int, int]:
        """Its place among the jobs of the same work."""
        return self.submission, self.id


def line(waiting: Iterable[Waiting], served: Mapping[str, datetime], now: datetime) -> list[Waiting]:
    """The jobs that may begin now, in the order in which one after the other would be begun.

    Args:
        waiting: all that wait.
        served: when a job of a student's was begun last, if it was lately.
        now: the time.
    """
    ripe: dict[str, list[tuple[int, int, Waiting]]] = defaultdict(list)  # by student: urgency, age, the job
    for jobs in _by_work(waiting).values():
        urgency, age = A_BATCH, max(job.id for job in jobs)
        for job in reversed(_ripe(jobs, now)):
            own = A_STUDENT if now - job.queued > PATIENCE else job.priority
            urgency, age = min(urgency, own), min(age, job.id)  # a later one lends its turn
            ripe[job.work[2]].append((urgency, age, job))
    keyed = []
    for student, each in ripe.items():
        turns: Counter[int] = Counter()
        for urgency, age, job in sorted(each, key=lambda one: (*one[:2], one[2].order)):
            keyed.append((urgency, turns[urgency], served.get(student, _LONG_AGO), age, job.order, job))
            turns[urgency] += 1
    return [job for *_, job in sorted(keyed, key=lambda key: key[:5])]


def _by_work(waiting: Iterable[Waiting]) -> dict[tuple[Work, Kind], list[Waiting]]:
    """A preview changes nothing, so it waits for nothing of the same work, and nothing for it."""
    found: dict[tuple[Work, Kind], list[Waiting]] = defaultdict(list)
    for job in waiting:
        found[job.work, job.kind].append(job)
    return found


def _ripe(jobs: Iterable[Waiting], now: datetime) -> list[Waiting]:
    """Those of one work that nothing holds back, in their order: what comes after one that has to wait waits too."""
    reached = []
    for job in sorted(jobs, key=lambda job: job.order):
        if job.not_before is not None and job.not_before > now:
            break
        reached.append(job)
    return reached
