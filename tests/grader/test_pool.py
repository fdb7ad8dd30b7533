"""What is started ahead is used once, replaced when it is dead or too old, and never left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from gpuclass.grader.pool import AHEAD_SECONDS, NOTEBOOKS, Pool
from gpuclass.grader.sandbox import AGENT, REFEREE, EngineError, Limits, Lost, Reason, Sandbox
from gpuclass.grader.wire import LENGTH, encode

LIMITS = Limits(cpus=1, memory=100, tmp=1, processes=16, cell_timeout=5.0, timeout=60.0, output=1000)


class Container:
    """A container that says that it is ready whenever it is spoken to."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)
        self.heard: list[bytes] = []
        self.answers: list[bytes] = []
        self.dead = self.removed = self.unclean = False

    def send(self, data: bytes, deadline: float) -> None:
        if self.dead:
            raise BrokenPipeError
        self.heard.append(data[LENGTH.size :])
        body = data[LENGTH.size :]
        answer = {"clean": "forged" if self.unclean else body[1:].decode()} if body[:1] == b"!" else {"ready": True}
        self.answers.append(encode(answer))

    def receive(self, deadline: float) -> bytes:
        return self.answers.pop(0)

    def why_closed(self) -> Reason:
        return "died"

    def close(self) -> None:
        self.removed = True

    @property
    def is_referee(self) -> bool:
        return self.command[: len(REFEREE)] == REFEREE


class Engine:
    """Starts containers and remembers them."""

    def __init__(self) -> None:
        self.started: list[Container] = []
        self.refuses = False
        self.now = 0.0
        self.room = 1000
        self.lock = threading.Lock()

    def start(self, command: Sequence[str]) -> Sandbox:
        if self.refuses:
            raise EngineError("no engine")
        with self.lock:
            self.started.append(Container(command))
            return Sandbox(self.started[-1], LIMITS, lambda: self.now)

    def of(self, kind: Sequence[str]) -> list[Container]:
        return [each for each in self.started if each.is_referee == (tuple(kind) == REFEREE)]

    def settle(self, pool: Pool) -> None:
        """Wait for what goes on in the background."""
        for started in (pool._student, pool._referee):
            if started:
                started.sandbox.exception(10)
        pool._removing.submit(lambda: None).result(10)
        pool._removing.submit(lambda: None).result(10)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def pool(engine: Engine) -> Iterator[Pool]:
    with Pool(engine.start, LIMITS, ["torch"], clock=lambda: engine.now, room=lambda: engine.room) as made:
        made.fill()
        engine.settle(made)
        yield made
    assert [each for each in engine.started if not each.removed] == [], "nothing is left behind"


def grade(pool: Pool) -> None:
    with pool.pair() as pair:
        pair.start({}, [], 60.0)


def test_both_wait_with_their_modules_before_there_is_anything_to_grade(engine: Engine, pool: Pool) -> None:
    assert {each.command for each in engine.started} == {(*AGENT, "torch"), (*REFEREE, "torch")}
    assert [each.heard for each in engine.started] == [[], []], "nobody's submission has touched them"


def test_a_sandbox_is_for_one_submission_and_the_referee_stays(engine: Engine, pool: Pool) -> None:
    for _ in range(3):
        grade(pool)
        engine.settle(pool)
    students, referees = engine.of(AGENT), engine.of(REFEREE)
    assert [each.removed for each in students] == [True, True, True, False]
    assert [sum(b"folder" in frame for frame in each.heard) for each in students] == [1, 1, 1, 0]
    assert len(referees) == 1
    assert [frame.startswith(b"!") for frame in referees[0].heard] == [False, True] * 3, (
        "each notebook ends before the next"
    )


def test_after_a_timeout_neither_is_used_again(engine: Engine, pool: Pool) -> None:
    def too_slow() -> None:
        with pool.pair() as pair:
            pair.start({}, [], 60.0)
            engine.now += 61
            pair.run("1")

    with pytest.raises(Lost):
        too_slow()
    engine.settle(pool)
    assert [each.removed for each in engine.started[:2]] == [True, True]
    grade(pool)
    assert len(engine.of(REFEREE)) == 2


def test_a_pair_whose_sandbox_was_lost_without_an_exception_takes_its_referee_along(engine: Engine, pool: Pool) -> None:
    with pool.pair() as pair:
        pair.start({}, [], 60.0)
        engine.now += 61
        with pytest.raises(Lost):
            pair.run("1")
    engine.settle(pool)
    assert engine.of(REFEREE)[0].removed


@pytest.mark.parametrize("kind", [AGENT, REFEREE], ids=["sandbox", "referee"])
def test_what_has_died_while_it_waited_is_replaced(kind: Sequence[str], engine: Engine, pool: Pool) -> None:
    engine.of(kind)[0].dead = True
    grade(pool)
    engine.settle(pool)
    assert engine.of(kind)[0].removed


def test_what_has_waited_too_long_is_replaced(engine: Engine, pool: Pool) -> None:
    engine.now = AHEAD_SECONDS + 1
    pool.fill()
    engine.settle(pool)
    assert [each.removed for each in engine.started] == [True, True, False, False]
    engine.now *= 2
    grade(pool)
    assert all(each.heard == [] for each in engine.started[:4])


def test_a_referee_that_does_not_get_clean_is_replaced(engine: Engine, pool: Pool) -> None:
    engine.of(REFEREE)[0].unclean = True
    grade(pool)
    engine.settle(pool)
    assert engine.of(REFEREE)[0].removed


def test_a_referee_is_replaced_now_and_then(engine: Engine, pool: Pool) -> None:
    for _ in range(NOTEBOOKS + 1):
        grade(pool)
    assert len(engine.of(REFEREE)) == 2


def test_without_memory_nothing_waits_and_everything_is_still_graded(engine: Engine) -> None:
    engine.room = LIMITS.memory
    with Pool(engine.start, LIMITS, [], clock=lambda: engine.now, room=lambda: engine.room) as pool:
        pool.fill()
        assert engine.started == []
        grade(pool)
        assert len(engine.started) == 2


def test_an_engine_that_refused_once_is_asked_again(engine: Engine) -> None:
    engine.refuses = True
    with Pool(engine.start, LIMITS, [], clock=lambda: engine.now, room=lambda: engine.room) as pool:
        pool.fill()
        with pytest.raises(EngineError, match="no engine"):
            grade(pool)
        engine.refuses = False
        grade(pool)


def test_a_pair_may_begin_anew_for_a_second_run_of_one_submission(engine: Engine, pool: Pool) -> None:
    with pool.pair() as pair:
        pair.start({}, [], 60.0)
        assert pair.renew()
        pair.start({}, [], 60.0)
    assert len([frame for frame in engine.of(AGENT)[0].heard if b"folder" in frame]) == 2
