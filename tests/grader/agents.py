"""Sandbox and referee for tests that need no Docker: the real programs as local processes. They isolate nothing."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

from gpuclass import ROOT
from gpuclass.grader.pair import Pair
from gpuclass.grader.sandbox import Limits, Reason, Sandbox

LIMITS = Limits(cpus=1, memory=2**30, tmp=2**26, processes=64, cell_timeout=20.0, timeout=60.0, output=200_000)


class ProcessChannel:
    """The agent on two pipes."""

    def __init__(self, folder: Path, program: str = "agent.py") -> None:
        environment = {**os.environ, "HOME": str(folder), "IPYTHONDIR": str(folder), "PYTHONWARNINGS": "default"}
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(ROOT / "grading" / program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)

    def send(self, data: bytes, deadline: float) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def receive(self, deadline: float) -> bytes:
        assert self.process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
        return os.read(self.process.stdout.fileno(), 65536)

    def why_closed(self) -> Reason:
        return "died"

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def local_sandbox(folder: Path, limits: Limits = LIMITS) -> Sandbox:
    folder.mkdir(parents=True, exist_ok=True)
    return Sandbox(ProcessChannel(folder), limits, folder=str(folder))


def local_pair(folder: Path, limits: Limits = LIMITS) -> Pair:
    """What the referee leaves on disk is nothing: it has an empty folder of its own."""
    other = folder / "referee"
    other.mkdir(parents=True, exist_ok=True)
    referee = Sandbox(ProcessChannel(other, "referee.py"), limits)
    return Pair(local_sandbox(folder / "student", limits), referee, limits)
