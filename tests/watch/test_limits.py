"""What the watch does about a seat that is over its memory."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gpuclass.watch.limits import LONGEST_LOOK_S, SCARCE_GRACE_S, SETTLE_S, Standing, Step, judge, to_restart

OVER_S = 20.0
LIMIT = 100


def play(
    uses: list[tuple[float, int | None]], *, scarce: bool = False, over: float = OVER_S
) -> list[tuple[float, Step]]:
    """What is done and when, for a seat with 100 bytes that uses so much at these moments."""
    standing, done = Standing(), []
    for now, used in uses:
        standing, act = judge(standing, used=used, limit=LIMIT, now=now, over=over, scarce=scarce)
        if act:
            done.append((now, act))
    return done


def every(seconds: float, used: int | None, begin: float, end: float) -> list[tuple[float, int | None]]:
    return [(begin + seconds * i, used) for i in range(int((end - begin) / seconds))]


def test_a_seat_that_stays_over_is_warned_then_interrupted_then_restarted() -> None:
    done = play(every(2, 101, 1000, 1060))
    assert done[:3] == [(1000, Step.WARNED), (1020, Step.INTERRUPTED), (1040, Step.RESTARTED)]


def test_what_comes_back_over_its_memory_after_a_restart_is_ended_as_soon_as_memory_can_have_been_freed() -> None:
    restarts = [now for now, act in play(every(2, 101, 1000, 1060)) if act is Step.RESTARTED]
    assert {after - before for before, after in pairwise(restarts)} == {SETTLE_S}


def test_all_of_its_memory_is_not_over_it() -> None:
    assert play(every(2, LIMIT, 1000, 1200)) == []


def test_a_seat_that_goes_back_in_time_is_only_warned_and_then_forgiven() -> None:
    uses = [*every(2, 101, 1000, 1010), *every(2, 50, 1010, 1040), *every(2, 101, 1040, 1050)]
    assert play(uses) == [(1000, Step.WARNED), (1040, Step.WARNED)]


def test_going_down_for_a_moment_gains_nothing() -> None:
    uses: list[tuple[float, int | None]] = [
        (1000.0 + 2 * i, 101 if i % 5 else 50) for i in range(1, 60)
    ]  # within the limit at every fifth look
    steps = [act for _, act in play(uses)]
    assert steps[:3] == [Step.WARNED, Step.INTERRUPTED, Step.RESTARTED]


def test_nothing_is_done_while_the_driver_does_not_say_what_is_used() -> None:
    assert play(every(2, None, 1000, 1200)) == []
    unknown_after_warning: list[tuple[float, int | None]] = [(1000, 101), *every(2, None, 1002, 1200)]
    assert play(unknown_after_warning) == [(1000, Step.WARNED)]


def test_a_watch_that_was_asleep_does_not_take_the_pause_for_use() -> None:
    assert play([(1000, 101), (5000, 101)]) == [(1000, Step.WARNED)]
    assert LONGEST_LOOK_S < OVER_S


def test_when_the_device_is_nearly_full_the_warning_is_short() -> None:
    done = play(every(1, 101, 1000, 1020), scarce=True)
    assert done[1] == (1000 + SCARCE_GRACE_S, Step.INTERRUPTED)


@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.one_of(st.none(), st.integers(0, 200))), max_size=150),
    st.floats(1, 60),
)
def test_each_step_comes_only_after_a_warning_and_so_much_time_over(
    looks: list[tuple[float, int | None]], over: float
) -> None:
    now, uses = 1000.0, []
    for pause, used in looks:
        now += pause
        uses.append((now, used))
    done = play(uses, over=over)
    used_at = dict(uses)
    order = [Step.CALM, *(act for _, act in done)]
    for before, after in pairwise(order):
        assert after in (Step.WARNED, before + 1, Step.RESTARTED)
        if after > Step.WARNED:
            assert before >= after - 1
    for moment, _ in done:
        used = used_at[moment]
        assert used is not None
        assert used > LIMIT
    for (earlier, step), (later, act) in pairwise(done):
        if act > Step.WARNED:
            time_over = sum(
                b - a
                for (a, x), (b, y) in pairwise(uses)
                if earlier <= a and b <= later and x is not None and y is not None and min(x, y) > LIMIT
            )
            assert time_over >= (min(over, SETTLE_S) if step is Step.RESTARTED else over) - 1e-6


@given(st.dictionaries(st.integers(1, 9999), st.integers(0, 300), max_size=12), st.integers(0, 600))
def test_the_largest_processes_end_and_no_more_than_needed(held: dict[int, int], limit: int) -> None:
    chosen = to_restart(held, limit)
    left = {pid: memory for pid, memory in held.items() if pid not in chosen}
    assert sum(left.values()) <= limit
    if chosen:
        assert sum(left.values()) + held[chosen[-1]] > limit
        assert min(held[pid] for pid in chosen) >= max(left.values(), default=0)
