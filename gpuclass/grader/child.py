"""A process that grades one submission after another, and the handle on it.

nbgrader's converters change the working directory and the environment and keep some memory, so each worker has a
process of its own. Tasks and outcomes are lines of JSON. A child that dies, hangs or was told to stop takes only its
own task with it, and its sandboxes are swept.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, cast

import docker

from gpuclass.grader.pair import REPLAYS
from gpuclass.grader.pool import AHEAD_SECONDS, Pool
from gpuclass.grader.sandbox import START_SECONDS, EngineError, Limits, Sandbox, connect, open_sandbox, sweep

if TYPE_CHECKING:
    from gpuclass.grader.job import Graded, Task

RUNS = 4  # of a notebook: for points, for what is shown, and its solution's, after waiting for another's of that
STOP_SECONDS = 15.0  # to remove sandboxes when told to end
ENGINE_PAUSE = 1.0  # seconds in which the engine finishes what a killed process had asked for
SLACK_SECONDS = 120.0  # sanitising, nbgrader itself, a slow engine
_PR_SET_PDEATHSIG = 1
MEMORY_LIMIT = 4 * 2**30  # bytes of address space; a notebook that needs more ends its child, not the machine


class ChildDied(Exception):  # noqa: N818  # what happened, in the past tense
    """The process that graded this task ended before it was done."""


@dataclass(frozen=True)
class Setup:
    """What all tasks of a child share. ``owner`` marks its sandboxes, which import ``preload`` beforehand."""

    image: str
    limits: Limits
    owner: str
    preload: Sequence[str] = ()


class Child:
    """One grading process; start it with ``with``. It gets ready at once, before there is anything to grade."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: subprocess.Popen[str] | None = None
        self._scratch = f"{scratch_of(setup.owner)}{secrets.token_hex(4)}-"
        self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def grade(self, task: Task, notebooks: int = 4) -> Graded:
        """Have one submission graded.

        Args:
            task: what to grade.
            notebooks: how many the assignment has, at most; each has the whole time limit, `RUNS` times.

        Raises:
            ChildDied: it ended or took too long; the next call starts a fresh one.
        """
        from gpuclass.grader.job import Graded

        process = self._started()
        tasks, outcomes = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        starts = (REPLAYS + 1) * START_SECONDS
        seconds = SLACK_SECONDS + RUNS * notebooks * (starts + self._setup.limits.timeout)
        alarm = threading.Timer(seconds, process.kill)
        alarm.start()
        try:
            tasks.write(json.dumps(asdict(replace(task, scratch=self._scratch))) + "\n")
            tasks.flush()
            line = outcomes.readline()
        except BrokenPipeError:
            line = ""
        finally:
            alarm.cancel()
        if not line.endswith("\n"):
            self.stop()
            raise ChildDied("the grading process ended; its log says more")
        return Graded(**json.loads(line))

    def stop(self) -> None:
        """End the process, and whatever sandbox and folder it had open."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()  # it removes its sandboxes, also one that is just being made and a sweep would not see
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        remove_scratch(self._scratch)
        with contextlib.suppress(EngineError):
            client = connect()
            sweep(client, self._owner(process.pid))
            if process.returncode == -signal.SIGKILL:
                time.sleep(ENGINE_PAUSE)
                sweep(client, self._owner(process.pid))
            client.close()

    def _owner(self, pid: int) -> str:
        return f"{self._setup.owner}#{pid}"

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            command = [sys.executable, "-m", "gpuclass.grader.child", json.dumps(asdict(self._setup)), str(os.getpid())]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own module
        return self._process


def scratch_of(owner: str) -> str:
    """How the names of folders begin in which an owner's processes work."""
    return f"gpuclass-grading-{hashlib.sha256(owner.encode()).hexdigest()[:12]}-"


def remove_scratch(prefix: str) -> int:
    """Remove the folders that killed processes left behind; returns how many there were."""
    left = list(Path(tempfile.gettempdir()).glob(f"{prefix}*"))
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)  # somebody else's folder of that name in /tmp stays
    return len(left)


def serve(setup: Setup, tasks: IO[str], outcomes: IO[str]) -> None:
    """Grade what comes in until nothing more comes."""
    owner = f"{setup.owner}#{os.getpid()}"

    @functools.cache
    def engine() -> docker.DockerClient:
        return connect()

    def start(command: Sequence[str]) -> Sandbox:
        return open_sandbox(engine(), setup.image, setup.limits, owner, command, ahead=AHEAD_SECONDS)

    with Pool(start, setup.limits, setup.preload) as pool:
        pool.fill()
        from gpuclass.grader.job import Task, grade  # takes a second, in which the containers start

        for line in tasks:
            outcome = grade(Task(**json.loads(line)), pool.pair, setup.limits)
            outcomes.write(json.dumps(asdict(outcome)) + "\n")
            outcomes.flush()


def main() -> None:
    """``python -m gpuclass.grader.child SETUP PARENT``; standard output carries outcomes only."""
    import ctypes
    import logging
    import resource
    import warnings

    # A worker that is killed takes its children along: its successor grades the same submission again.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[2]):
        return
    # nbgrader 0.9.6 adds to collections of objects that SQLAlchemy does not know yet; nothing is lost by it.
    warnings.filterwarnings("ignore", module=r"nbgrader\.")
    outcomes = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    raw = json.loads(sys.argv[1])
    serve(Setup(raw["image"], Limits(**raw["limits"]), raw["owner"], raw["preload"]), sys.stdin, outcomes)


if __name__ == "__main__":
    main()
