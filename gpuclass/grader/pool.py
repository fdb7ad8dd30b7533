"""Sandboxes and referees that are started ahead, modules imported, for one grading process.

A sandbox has seen nothing before its submission, is for that one only, and is removed afterwards whatever happened. The
referee stays from one notebook to the next and runs each in a process of its own; it is replaced after anything
unusual, and now and then anyway. What is dead or too old when it is wanted is replaced without a word.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gpuclass.grader.pair import Pair
from gpuclass.grader.sandbox import AGENT, REFEREE, EngineError, Limits, Sandbox

AHEAD_SECONDS = 1800.0  # how long a sandbox may wait for a submission, and a referee for its last notebook
NOTEBOOKS = 40  # that one referee sees; starting one costs as much as a submission

log = logging.getLogger("gpuclass.grading")


@dataclass
class Started:
    """A container that has been asked for. ``notebooks`` is how many it has seen."""

    sandbox: Future[Sandbox]
    since: float
    notebooks: int = 0


class Pool:
    """What is started ahead; leave the ``with`` block and none of it is left.

    Args:
        start: starts a sandbox that runs this command.
        limits: of each.
        preload: modules that each imports before anything else.
        clock: monotonic.
        room: bytes of memory that are free.
    """

    def __init__(
        self,
        start: Callable[[Sequence[str]], Sandbox],
        limits: Limits,
        preload: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        room: Callable[[], int] | None = None,
    ) -> None:
        self._start = start
        self._limits = limits
        self._preload = tuple(preload)
        self._clock = clock
        self._room = room or available_memory
        self._lock = threading.Lock()  # of the three that follow
        self._student: Started | None = None
        self._referee: Started | None = None
        self._in_use = 0  # referees that will come back
        self._starting = ThreadPoolExecutor(4, "starting")
        self._removing = ThreadPoolExecutor(2, "removing")
        self._closed = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        self._renewing.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        with self._lock:
            for each in (self._student, self._referee):
                self._discard(each)
            self._student = self._referee = None
        self._starting.shutdown()
        self._removing.shutdown()

    def fill(self) -> None:
        """Start what is missing, in the background; what memory does not allow is started when it is wanted."""
        with self._lock:
            if self._closed.is_set():
                return
            for each in (self._student, self._referee):
                if each and self._is_used_up(each):
                    self._discard(each)
            self._student = self._student if self._student and not self._is_used_up(self._student) else None
            self._referee = self._referee if self._referee and not self._is_used_up(self._referee) else None
            if self._referee is None and not self._in_use and self._has_room():
                self._referee = self._begin(REFEREE)
            if self._student is None and self._has_room():
                self._student = self._begin(AGENT)

    def pair(self) -> Pair:
        """A sandbox that nothing ran in, and a referee.

        Raises:
            EngineError: Docker refused or cannot be reached.
        """
        student, referee = self.take(AGENT), self.take(REFEREE)
        try:
            return _Pooled(self, student, referee, self._limits)
        except EngineError:
            self.discard(student)
            self.give_back(referee, clean=False)
            raise

    def take(self, command: Sequence[str], *, fresh: bool = False) -> Started:
        """One for this command: the one that was started ahead, unless it is too old or a ``fresh`` one is wanted."""
        with self._lock:
            found = self._student if command == AGENT else self._referee
            if command == AGENT:
                self._student = None
            else:
                self._referee = None
                self._in_use += 1
            if found and (fresh or self._is_used_up(found)):
                self._discard(found)
                found = None
            return found or self._begin(command)

    def give_back(self, referee: Started, *, clean: bool) -> None:
        """A referee that was taken: kept for the next notebook if it is ``clean``."""
        with self._lock:
            self._in_use -= 1
            referee.notebooks += 1
            if not clean or self._referee or self._closed.is_set() or self._is_used_up(referee):
                self._discard(referee)
            else:
                self._referee = referee

    def discard(self, started: Started) -> None:
        """Remove it in the background."""
        with self._lock:
            self._discard(started)

    def _discard(self, started: Started | None) -> None:
        if started is not None:
            started.sandbox.add_done_callback(self._remove)

    def _remove(self, done: Future[Sandbox]) -> None:
        with contextlib.suppress(EngineError):
            sandbox = done.result()
            try:
                self._removing.submit(sandbox.close)
            except RuntimeError:  # all is being removed, this thread is as good as another
                sandbox.close()

    def _begin(self, command: Sequence[str]) -> Started:
        return Started(self._starting.submit(self._start, (*command, *self._preload)), self._clock())

    def _is_used_up(self, started: Started) -> bool:
        failed = started.sandbox.done() and started.sandbox.exception() is not None
        return failed or self._clock() - started.since > AHEAD_SECONDS or started.notebooks >= NOTEBOOKS

    def _has_room(self) -> bool:
        if self._room() > self._limits.memory:
            return True
        log.info("there is no memory to start sandboxes ahead")
        return False

    def _renew(self) -> None:
        """Replace what has waited too long, before its label says that it is garbage."""
        while not self._closed.wait(AHEAD_SECONDS / 10):
            self.fill()


class _Pooled(Pair):
    """A pair from the pool."""

    def __init__(self, pool: Pool, student: Started, referee: Started, limits: Limits) -> None:
        self._pool = pool
        self._of_student, self._of_referee = student, referee
        self._ran = False
        super().__init__(student.sandbox.result(), referee.sandbox.result(), limits, renewable=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.discard(self._of_student)
        clean = kind is None and self._student.whole and self._is_clean()
        self._pool.give_back(self._of_referee, clean=clean)
        self._pool.fill()

    def start(
        self,
        files: Mapping[str, bytes],
        notebook: Sequence[str],
        seconds: float,
        contract: Sequence[str] | None = None,
        *,
        record: bool = False,
    ) -> None:
        """As `Pair.start`; what has died while it waited is replaced."""
        try:
            super().start(files, notebook, seconds, contract, record=record)
        except EngineError as error:
            if self._ran:
                raise
            log.info("a sandbox that was started ahead is replaced: %s", error)
            self._pool.discard(self._of_student)
            self._pool.give_back(self._of_referee, clean=False)
            self._of_student, self._of_referee = (self._pool.take(each, fresh=True) for each in (AGENT, REFEREE))
            self._student, self._referee = self._of_student.sandbox.result(), self._of_referee.sandbox.result()
            super().start(files, notebook, seconds, contract, record=record)
        self._ran = True
        self._pool.fill()  # not before: it would take time from this submission

    def _is_clean(self) -> bool:
        if not (self._ran and self._referee.whole):
            return False
        try:
            self._referee.renew()
        except EngineError as error:
            log.warning("the referee is replaced: %s", error)
            return False
        return True


def available_memory() -> int:
    """Bytes that can be had without swapping; see proc(5)."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
