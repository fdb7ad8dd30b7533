"""`gpuclass grading serve`: takes jobs from the exchange's store, grades them, puts feedback back. Has no port.

A job is finished only after its points and feedback are on disk; one that was cut short is put back in the queue when
the worker starts again. While the container engine cannot be reached or the disk is full, jobs wait: nobody's score
depends on it.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import docker.errors
import requests
from sqlalchemy.exc import OperationalError

from gpuclass import images
from gpuclass.exchange.records import Check
from gpuclass.exchange.store.batches import Batches
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.exchange.store.store import Job, Store
from gpuclass.exchange.store.workers import BEAT_S, Workers
from gpuclass.grader import regrade
from gpuclass.grader.child import Child, ChildDied, Setup, remove_scratch, scratch_of
from gpuclass.grader.inforce import InForce
from gpuclass.grader.job import Graded, Task
from gpuclass.grader.sandbox import EngineError, Limits, connect, sweep
from gpuclass.settings import Settings

POLL_SECONDS = 0.3
ENGINE_WAITS = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between tries while the engine does not answer
DISK_WAIT = 10.0  # seconds between tries while the disk is full
DISK_TROUBLE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO))  # pass when somebody makes room
DEATH_WAITS = (1.0, 5.0, 20.0)  # seconds until a job whose grading process died is tried again; then it fails

log = logging.getLogger("gpuclass.grading")


class Grader(Protocol):
    """What grades one task, or makes a check: a `Child`, or a stand-in in tests."""

    def grade(self, task: Task) -> Graded:
        """Do it, or raise `ChildDied`."""

    def stop(self) -> None:
        """Give up at once."""


class Worker:
    """Grades what is queued with ``[grading] workers`` processes until `stop` is called."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        make_grader: Callable[[], Grader],
        engine_answers: Callable[[], bool],
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._settings = settings
        self._engine_answers = engine_answers
        self._store = store
        self._batches = Batches(store)
        self._graders = [make_grader() for _ in range(settings.grading.workers)]
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait

    def run(self) -> None:
        """Work until stopped."""
        requeued = self._store.requeue_running()
        if requeued:
            log.warning("%d jobs were cut short and are queued again", requeued)
        self._tidy()
        threads = [threading.Thread(target=self._work, args=(grader,)) for grader in self._graders]
        ended = threading.Event()
        pulse = threading.Thread(target=self._show_life, args=(ended,))
        pulse.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended.set()
        pulse.join()

    def _show_life(self, ended: threading.Event) -> None:
        """Say every few seconds that this worker lives; a full disk silences it and does not end it."""
        workers, run = Workers(self._store), None
        while True:
            last = ended.is_set()
            try:
                if run is None:
                    run = workers.begin()
                elif last:
                    workers.end(run)
                else:
                    workers.beat(run)
            except (OSError, OperationalError) as error:
                log.error("no sign of life can be given: %s", error)  # noqa: TRY400  # a full disk, not a bug
            if last:
                return
            ended.wait(BEAT_S)

    def stop(self) -> None:
        """End at once; jobs at work stay marked as running and are queued again at the next start."""
        self._stopping.set()
        for grader in self._graders:
            grader.stop()

    def _work(self, grader: Grader) -> None:
        while not self._stopping.is_set():
            try:
                check = self._store.claim_check()
                job = None if check else self._store.claim()
            except (OSError, OperationalError) as error:
                log.error("no job can be taken: %s", error)  # noqa: TRY400  # a full disk, not a bug
                self._wait(DISK_WAIT)
                continue
            if check is not None:
                made = partial(self.check, check, grader)
                self._handled(f"check {check.id}", made, partial(self._check_failed, check))
            elif job is not None:
                self._handled(f"job {job.id}", partial(self.handle, job, grader), partial(self._job_failed, job))
            else:
                self._wait(POLL_SECONDS)

    def _handled(self, what: str, handle: Callable[[], None], fail: Callable[[str], None]) -> None:
        """Handle one thing; while the disk takes nothing it waits, and what no waiting helps fails this thing alone."""
        step = handle
        while not self._stopping.is_set():
            try:
                step()
            except (OSError, OperationalError) as error:
                if isinstance(error, OSError) and error.errno not in DISK_TROUBLE:
                    log.exception("%s", what)
                    step = partial(fail, str(error))
                    continue
                log.error("%s waits for room on the disk: %s", what, error)  # noqa: TRY400  # as above
                self._wait(DISK_WAIT)
            else:
                return

    def check(self, check: Check, grader: Grader) -> None:
        """Make one claimed check and keep its report, unless the worker is told to stop meanwhile."""
        if check.course != self._settings.course:
            self._check_failed(check, f"this worker grades {self._settings.course!r}, not {check.course!r}")
            return
        task = Task(
            course_folder=str(self._settings.course_folder),
            course=check.course,
            language=self._settings.class_.language,
            assignment=check.assignment,
            student="",
            submission="",
            kind="check",
        )
        try:
            graded = self._tried(f"check {check.id}", task, grader)
        except ChildDied as error:
            graded = Graded("failed", str(error))
        if self._stopping.is_set():
            return
        if graded.report is None:
            self._check_failed(check, graded.reason)
            return
        self._store.finish_check(check.id, graded.report)
        log.info("check %d, %s: made in %.1f s", check.id, check.assignment, graded.seconds)

    def _check_failed(self, check: Check, reason: str) -> None:
        log.error("check %d, %s: %s", check.id, check.assignment, reason)
        self._store.finish_check(check.id, {"error": reason}, failed=True)

    def handle(self, job: Job, grader: Grader) -> None:
        """Grade one claimed job and finish it, unless the worker is told to stop meanwhile."""
        if job.course != self._settings.course:
            self._job_failed(job, f"this worker grades {self._settings.course!r}, not {job.course!r}")
            return
        try:
            graded = self._graded(job, grader)
        except ChildDied as error:
            graded = Graded("failed", str(error))
        if self._stopping.is_set():
            return
        if graded.status == "failed":
            self._job_failed(job, graded.reason)
            return
        if job.kind == "preview":
            self._previewed(job, graded)
            return
        pages = {name: Path(path).read_bytes() for name, path in graded.feedback.items()}
        self._store.put_feedback(
            self._store.submission(job.submission),
            pages,
            released=self._settings.grading.feedback == "now",
            score=graded.score,
            max_score=graded.max_score,
        )
        result = {"score": graded.score, "max_score": graded.max_score, "reason": graded.reason}
        self._store.finish(job.id, status=graded.status, result=result)
        if job.batch is not None:
            self._tidy()
        figures = (job.id, job.assignment, job.student, graded.status, graded.score, graded.max_score, graded.seconds)
        log.info("job %d, %s of %s: %s, %g of %g in %.1f s", *figures)

    def _previewed(self, job: Job, graded: Graded) -> None:
        report = graded.report or {}
        if job.batch is not None and report.get("source"):
            self._batches.note_source(job.batch, report["source"])
        self._store.finish(job.id, result=report)
        log.info("job %d, %s of %s: tried out in %.1f s", job.id, job.assignment, job.student, graded.seconds)
        self._tidy()

    def _tidy(self) -> None:
        """Remove what re-grades needed that are over; one whose version is not in force yet keeps it."""
        folder = self._settings.course_folder
        for number in regrade.left(folder):
            if self._batches.is_over(number):
                batch = self._batches.batch(number)
                mark = InForce(folder).mark(batch.assignment)
                if batch.state == "cancelled" or (mark is not None and mark.batch >= number):
                    regrade.remove(folder, number)

    def _job_failed(self, job: Job, reason: str) -> None:
        log.error("job %d, %s of %s: %s", job.id, job.assignment, job.student, reason)
        self._store.finish(job.id, error=reason)

    def _graded(self, job: Job, grader: Grader) -> Graded:
        submission = self._store.submission(job.submission)
        batch = job.batch if job.kind == "preview" else self._batches.applied(job.course, job.assignment)
        course = self._settings.course_folder
        place = regrade.folder(course, batch or 0) if job.kind == "preview" else course
        folder = place / "submitted" / job.student / job.assignment
        self._store.write_files(submission, folder)
        deadline = Deadlines(self._store).all(job.course).get(job.assignment)
        task = Task(
            course_folder=str(self._settings.course_folder),
            course=job.course,
            language=self._settings.class_.language,
            assignment=job.assignment,
            student=job.student,
            submission=str(folder),
            received=submission.received.isoformat(),
            due=deadline.due.isoformat() if deadline and deadline.due else None,
            extensions={login: due.isoformat() for login, due in deadline.extensions.items()} if deadline else None,
            version=submission.version,
            newest=self._store.newest_version(job.course, job.assignment),
            kind=job.kind,
            batch=batch or 0,
        )
        return self._tried(f"job {job.id}", task, grader)

    def _tried(self, what: str, task: Task, grader: Grader) -> Graded:
        """Have it done until it is, or failed for a reason that is not the engine's."""
        deaths = waits = 0
        while True:
            try:
                graded = grader.grade(task)
            except ChildDied:
                if deaths >= len(DEATH_WAITS) or self._stopping.is_set():
                    raise
                self._wait(DEATH_WAITS[deaths])  # whoever killed it, such as a machine without memory, may be gone then
                deaths += 1
                continue
            if not graded.engine_failed or self._stopping.is_set():
                return graded
            if waits >= len(ENGINE_WAITS) and self._engine_answers():
                return graded  # the engine is there and still starts no sandbox: a person has to look
            log.error("%s waits for the container engine: %s", what, graded.reason)
            self._wait(ENGINE_WAITS[min(waits, len(ENGINE_WAITS) - 1)])
            waits += 1


def owner(settings: Settings) -> str:
    """The label of this class's sandboxes."""
    return f"class:{settings.data}"


def worker(settings: Settings) -> Worker:
    """The class's worker, what a killed one left behind swept away."""
    image = settings.grading.image or images.reference("grader")
    setup = Setup(image, Limits.of(settings.grading), owner(settings), settings.grading.preload)
    remove_scratch(scratch_of(owner(settings)))
    try:
        client = connect()
        swept = sweep(client, owner(settings))
        client.close()
        if swept:
            log.warning("%d sandboxes were left behind and are removed", swept)
    except EngineError as error:
        log.error("%s", error)  # noqa: TRY400  # jobs wait until it answers; where it was noticed does not matter
    return Worker(settings, Store(settings.exchange_folder), lambda: Child(setup), engine_answers)


def engine_answers() -> bool:
    """Whether the container engine can be asked for anything at all."""
    try:
        client = connect()
    except EngineError:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, requests.RequestException):
        return False
    finally:
        client.close()
