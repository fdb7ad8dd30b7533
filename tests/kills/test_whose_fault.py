"""A sandbox that ended: by its own code, which costs the student, or by somebody else, which costs nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gpuclass.grader.pair import Pair, open_pair
from gpuclass.grader.sandbox import LABEL, EngineError, Lost, sweep
from tests.gpus.engines import QUICK, NestedEngine
from tests.grader.agents import LIMITS
from tests.kills.engine import GRADER_IMAGE

pytestmark = [pytest.mark.images, pytest.mark.slow]

OWNER = "test-whose-fault"


KILL_ALL = """
import contextlib, os
for pid in (1, -1, os.getpid()):
    with contextlib.suppress(OSError):
        os.kill(pid, 9)
"""


@pytest.fixture
def pair(killable: NestedEngine) -> Iterator[Pair]:
    """A pair that is ready; its engine answers again afterwards."""
    with open_pair(killable.client, GRADER_IMAGE, LIMITS, OWNER) as opened:
        opened.start({}, ["x = 1"], LIMITS.timeout)
        yield opened
        if not killable.answers():
            killable.start(*QUICK)
    sweep(killable.client, OWNER)


@pytest.mark.parametrize("signal", [9, 15])
def test_code_that_kills_itself_is_the_students(pair: Pair, signal: int) -> None:
    with pytest.raises(Lost, match="died"):
        pair.run(f"import os\nos.kill(os.getpid(), {signal})")


@pytest.mark.parametrize("code", [0, 1, 137, 143, 255])
def test_no_exit_code_makes_it_somebody_elses(pair: Pair, code: int) -> None:
    with pytest.raises(Lost, match="died"):
        pair.run(f"import os\nos._exit({code})")


def test_code_that_kills_all_it_can_is_the_students(pair: Pair) -> None:
    with pytest.raises(Lost, match="died"):
        pair.run(KILL_ALL)


def docker_kill(engine: NestedEngine) -> None:
    for container in engine.client.containers.list(filters={"label": f"{LABEL}={OWNER}"}):
        container.kill()


def docker_stop(engine: NestedEngine) -> None:
    for container in engine.client.containers.list(filters={"label": f"{LABEL}={OWNER}"}):
        container.stop()


def crash(engine: NestedEngine) -> None:
    engine.kill()


def quick_restart(engine: NestedEngine) -> None:
    engine.kill()
    engine.start(*QUICK)


def ordinary_restart(engine: NestedEngine) -> None:
    """As `systemctl restart docker` does: dockerd ends its containers, then itself."""
    script = "pid=$(cat /var/run/docker.pid); kill $pid; while kill -0 $pid; do sleep 0.1; done"
    engine.container.exec_run(["sh", "-c", script])
    engine.start(*QUICK)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # docker's client and a dead engine
@pytest.mark.parametrize("end", [docker_kill, docker_stop, crash, quick_restart, ordinary_restart])
def test_who_is_killed_by_somebody_else_is_not_at_fault(
    killable: NestedEngine, pair: Pair, end: Callable[[NestedEngine], None]
) -> None:
    assert pair.run("x = 2").ok
    end(killable)
    with pytest.raises(EngineError):
        pair.run("x = 3")
