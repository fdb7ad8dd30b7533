"""The exchange as Prometheus metrics, in a registry of its own. Names nobody.

What is true now is read when somebody asks; what happened is counted since the service started.
docs/reference/metrics.md explains each.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from fastapi import Request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from gpuclass.exchange.records import Submission
from gpuclass.exchange.store.schema import JobRow, UtcDateTime
from gpuclass.exchange.store.store import Store
from gpuclass.exchange.store.workers import Workers

RECEIPT_BUCKETS_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300)  # 300 s is when an upload is given up
STATES = ("waiting", "running", "done", "failed")
SUBMIT = "submit"  # the endpoints that take a submission are called this


class Meters:
    """Counts what the service does.

    Args:
        store: what the gauges are read from.
        registry: where everything stands.
    """

    def __init__(self, store: Store, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.registry.register(_Now(store))
        self._submissions = Counter(
            "gpuclass_exchange_submissions",
            "Submissions: kept, kept before and sent again, or refused.",
            ("outcome",),
            registry=self.registry,
        )
        self._refused = Counter(
            "gpuclass_exchange_refused", "Requests that were refused, by reason.", ("reason",), registry=self.registry
        )
        self._bytes = Counter(
            "gpuclass_exchange_submitted_bytes",
            "Bytes in the files of submissions that were kept.",
            registry=self.registry,
        )
        self._seconds = Histogram(
            "gpuclass_exchange_receipt_seconds",
            "Time from the headers of a submission to its receipt.",
            buckets=RECEIPT_BUCKETS_S,
            registry=self.registry,
        )
        self._hub = Counter(
            "gpuclass_exchange_hub_questions",
            "Questions to the hub whose a token is: answered, or the hub could not be reached.",
            ("outcome",),
            registry=self.registry,
        )
        for outcome in ("kept", "again", "refused"):
            self._submissions.labels(outcome)
        for outcome in ("answered", "unreachable"):
            self._hub.labels(outcome)

    def kept(self, request: Request, submission: Submission) -> None:
        """A receipt is about to go out."""
        self._submissions.labels("again" if submission.again else "kept").inc()
        if not submission.again:
            self._bytes.inc(submission.size)
        self._seconds.observe(time.perf_counter() - request.state.began)

    def refused(self, request: Request, reason: str) -> None:
        """A request was refused."""
        self._refused.labels(reason).inc()
        if getattr(request.scope.get("route"), "name", "") == SUBMIT:
            self._submissions.labels("refused").inc()

    def asked_hub(self, answered: bool) -> None:
        """The hub was asked."""
        self._hub.labels("answered" if answered else "unreachable").inc()

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Now(Collector):
    """What is true at the moment of asking."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        with self._store.reading() as session:
            found = {state: count for state, count in session.execute(_JOBS)}  # noqa: C416  # rows, not pairs
            oldest = session.scalar(_OLDEST.where(self._store.clock() >= _WAITS_SINCE))
        jobs = GaugeMetricFamily("gpuclass_exchange_jobs", "Submissions to be graded, by state.", labels=("state",))
        for state in STATES:
            jobs.add_metric((state,), found.get(state, 0))
        yield jobs
        age = (self._store.clock() - oldest).total_seconds() if oldest else 0.0
        yield GaugeMetricFamily(
            "gpuclass_exchange_oldest_waiting_seconds", "How long the oldest of those that wait has waited.", age
        )
        alive = Workers(self._store).life().alive
        yield GaugeMetricFamily("gpuclass_exchange_grading_worker", "1 while a grading worker is at work.", int(alive))
        free = shutil.disk_usage(self._store.incoming).free
        yield GaugeMetricFamily("gpuclass_exchange_free_bytes", "Bytes that are free on the exchange's disk.", free)


_JOBS = select(JobRow.state, func.count()).where(JobRow.kind == "grade").group_by(JobRow.state)
_WAITS_SINCE = func.coalesce(JobRow.not_before, JobRow.queued, type_=UtcDateTime)  # one that must wait does not count
_OLDEST = select(func.min(_WAITS_SINCE)).where(JobRow.kind == "grade", JobRow.state == "waiting")
