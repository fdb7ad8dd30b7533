"""Students who press Submit: processes forked from one that has everything loaded, so that no start-up is measured.

    python -m benchmarks.submitting.students PLAN.json

The plan names nbgrader's class for submitting, its configuration and the students, each with a home folder, a token and
the second at which to press. Each goes the way that the Assignments tab goes: ``ExchangeFactory``, then ``start()``.
One, who is not counted, presses before the others are forked: what is loaded late is loaded then. Prints a JSON list.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange import ExchangeFactory
from traitlets.config import Config

MOMENT = struct.Struct("d")  # when second 0 is, by the monotonic clock, which forked processes share
AHEAD_S = 0.5  # second 0 is so much later than its announcement
PATIENCE_S = 600.0


def submit(plan: dict[str, Any], student: dict[str, Any]) -> None:
    """Press Submit as this student.

    Raises:
        Exception: whatever the exchange's client lets through; also when it gave no receipt.
    """
    home = student["home"]
    os.chdir(home)
    os.environ.update(plan["environment"])
    os.environ.update(
        HOME=home,
        JUPYTER_DATA_DIR=f"{home}/.local/share/jupyter",
        JUPYTERHUB_USER=student["login"],
        JUPYTERHUB_API_TOKEN=student["token"],
    )
    config = Config(plan["config"])
    course = CourseDirectory(
        root=home, course_id=plan["course"], assignment_id=plan["assignment"], student_id="*", config=config
    )
    press = ExchangeFactory(config=config).Submit(coursedir=course, authenticator=Authenticator(), config=config)
    said = Said()
    press.log = logging.Logger("submit", logging.ERROR)
    press.log.addHandler(said)
    press.start()
    if not press.timestamp:  # how ngshare's client says that the server refused
        raise RuntimeError(f"no receipt: {said.last}")


class Said(logging.Handler):
    """Remembers the last error that was logged, and what it was raised by."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Remember."""
        self.last = record.getMessage() + (f" {record.exc_info[1]!r}" if record.exc_info else "")


def student_process(plan: dict[str, Any], student: dict[str, Any], announced: int, results: int) -> None:
    """Wait for the student's second, press, and write one line: it is short enough to arrive whole."""
    began = MOMENT.unpack(os.read(announced, MOMENT.size))[0] + student["at"]
    time.sleep(max(0.0, began - time.monotonic()))
    cpu = time.process_time()
    failure = ""
    try:
        submit(plan, student)
    except BaseException as error:  # it is counted, with its text
        failure = f"{type(error).__name__}: {error}"[:500]
    line = {
        "login": student["login"],
        "wait": time.monotonic() - began,
        "cpu": time.process_time() - cpu,
        "failure": failure,
    }
    os.write(results, json.dumps(line).encode() + b"\n")


def main(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Let all of them press; their lines."""
    submit(plan, plan["first"])
    gc.collect()
    gc.freeze()
    announced, announce = os.pipe()
    results, result = os.pipe()
    children = []
    for student in plan["students"]:
        child = os.fork()
        if not child:
            try:
                os.close(results)
                student_process(plan, student, announced, result)
            finally:
                os._exit(0)
        children.append(child)
    os.close(result)
    os.write(announce, MOMENT.pack(time.monotonic() + AHEAD_S) * len(children))
    with os.fdopen(results) as lines:
        found = [json.loads(line) for line in lines]
    for child in children:
        os.waitpid(child, 0)
    return found


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
