"""Slowing down guesses, on a clock that the test turns."""

from gpuclass.throttle import KEYS_LIMIT, Throttle


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_attempts_then_a_wait_that_ends() -> None:
    clock = Clock()
    throttle = Throttle(3, 30, clock)
    assert [throttle.attempt("s01") for _ in range(4)] == [0, 0, 0, 30]
    clock.now += 10
    assert throttle.attempt("s01") == 20
    clock.now += 20
    assert [throttle.attempt("s01") for _ in range(4)] == [0, 0, 0, 30]


def test_asking_while_waiting_does_not_make_the_wait_longer() -> None:
    clock = Clock()
    throttle = Throttle(1, 30, clock)
    throttle.attempt("s01")
    for _ in range(29):
        clock.now += 1
        assert throttle.attempt("s01") > 0
    clock.now += 1
    assert throttle.attempt("s01") == 0


def test_one_key_does_not_slow_another() -> None:
    throttle = Throttle(1, 30, Clock())
    throttle.attempt("s01")
    assert throttle.attempt("s01") > 0
    assert throttle.attempt("s02") == 0


def test_success_forgets_the_failures_before() -> None:
    throttle = Throttle(2, 30, Clock())
    throttle.attempt("s01")
    throttle.attempt("s01")
    throttle.succeeded("s01")
    assert throttle.attempt("s01") == 0
    throttle.succeeded("never seen")


def test_attempts_that_run_side_by_side_count_before_they_have_failed() -> None:
    throttle = Throttle(5, 30, Clock())
    allowed = [throttle.attempt("s01") for _ in range(100)].count(0)
    assert allowed == 5


def test_an_old_failure_is_forgotten() -> None:
    clock = Clock()
    throttle = Throttle(2, 30, clock)
    for _ in range(10):
        assert throttle.attempt("s01") == 0
        clock.now += 30


def test_names_that_somebody_makes_up_do_not_fill_the_memory() -> None:
    clock = Clock()
    throttle = Throttle(1, 30, clock)
    for number in range(KEYS_LIMIT + 100):
        throttle.attempt(number)
    assert len(throttle._attempts) == KEYS_LIMIT
    clock.now += 30
    throttle.attempt("s01")
    assert len(throttle._attempts) == 1
