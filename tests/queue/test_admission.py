"""Order, concurrency and estimates of the way in: values in, values out."""

import pytest

from gpuclass.gpus.model import Request, Seat
from gpuclass.queue.admission import Line, Pace, Place, Releases, Why, line_up, places

GIB = 2**30
SEAT = Seat("local", "GPU-0", 0, 8 * GIB)


def cpu(user: str, order: int, priority: int = 1) -> Request:
    return Request(user, gpu=False, order=order, priority=priority)


def gpu(user: str, order: int, priority: int = 1) -> Request:
    return Request(user, gpu=True, order=order, priority=priority)


def nobody(_: object) -> list[tuple[Request, tuple[Seat, ...]]]:
    return []


def users(line: Line) -> tuple[list[str], list[str]]:
    return [request.user for request, _ in line.ready], [request.user for request in line.seatless]


def test_whoever_wants_no_gpu_passes_those_who_wait_for_one() -> None:
    assert users(line_up([gpu("a", 1), cpu("b", 2), gpu("c", 3), cpu("d", 4)], nobody)) == (["b", "d"], ["a", "c"])


def test_a_seat_makes_its_holder_as_ready_as_anybody_at_their_place_in_the_queue() -> None:
    queue = [gpu("a", 1), cpu("b", 2), gpu("c", 3)]
    line = line_up(queue, lambda wanting: [(wanting[1], (SEAT,))])
    assert users(line) == (["b", "c"], ["a"])
    assert {request.user: seats for request, seats in line.ready} == {"b": (), "c": (SEAT,)}


def test_an_instructor_goes_before_students_who_asked_earlier() -> None:
    assert users(line_up([cpu("teacher", 9, priority=0), cpu("a", 1), cpu("b", 2)], nobody))[0] == ["teacher", "a", "b"]


def test_the_place_that_is_shown_is_the_one_by_which_seats_are_given() -> None:
    had = Request("had-more", gpu=True, order=1, gpu_seconds=3600)
    assert users(line_up([had, gpu("first", 2), gpu("second", 3)], nobody))[1] == ["first", "second", "had-more"]


def test_the_order_of_the_seats_choice_is_kept() -> None:
    queue = [gpu("first", 1), gpu("had-less", 2), cpu("third", 3)]
    line = line_up(queue, lambda wanting: [(wanting[1], (SEAT,)), (wanting[0], (SEAT,))])
    assert users(line)[0] == ["had-less", "first", "third"]


@pytest.mark.parametrize(("cores", "first"), [(1, 3), (2, 4), (8, 10), (64, 16)])
def test_so_many_starts_run_at_once_before_any_was_measured(cores: int, first: int) -> None:
    assert Pace(cores).limit == first


def test_starts_that_get_longer_when_more_run_become_fewer() -> None:
    pace = Pace(8)
    pace.took(1.0, full=False)
    for _ in range(60):
        pace.took(6.0, full=True)
    assert pace.limit == 2


def test_starts_that_stay_quick_become_more() -> None:
    pace = Pace(2)
    for _ in range(100):
        pace.took(1.0, full=True)
    assert pace.limit == 10


def test_quick_starts_on_an_idle_machine_prove_nothing() -> None:
    pace = Pace(2)
    for _ in range(100):
        pace.took(1.0, full=False)
    assert pace.limit == 4


@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("engine_at_once", [2, 8, 1000])
def test_the_limit_settles_where_the_machine_is_busy_and_a_start_is_not_many_times_longer(
    cores: int, engine_at_once: int
) -> None:
    """A start is 1 s of one core and 0.5 s in the engine, which does so many at a time. The teacher's comes first."""

    def takes(running: int) -> float:
        return max(1.0, running / cores) + 0.5 * max(1.0, running / engine_at_once)

    pace = Pace(cores)
    pace.took(takes(1), full=False)
    for _ in range(400):
        pace.took(takes(pace.limit), full=True)
    assert pace.mean_s <= 3 * takes(1)
    done_per_second = pace.limit / takes(pace.limit)
    assert done_per_second >= 0.6 * max(running / takes(running) for running in range(1, 300))


def test_who_is_further_back_waits_longer_and_the_first_hardly() -> None:
    pace = Pace(2)
    for _ in range(12):
        pace.took(4.0, full=False)
    assert pace.seconds(0, running=0) == 4.0
    waits = [pace.seconds(ahead, running=4) for ahead in range(80)]
    assert waits == sorted(waits)
    assert waits[79] == pytest.approx(4.0 + 80 * 4.0 / 4)


def test_the_wait_for_a_seat_follows_from_when_seats_came_back() -> None:
    releases = Releases()
    assert releases.seconds(1, now=0.0) is None
    for moment in (0.0, 60.0, 120.0):
        releases.happened(moment)
    assert releases.seconds(1, now=180.0) == 60.0
    assert releases.seconds(3, now=180.0) == 180.0
    assert releases.seconds(1, now=9000.0) is None


def told(**more: object) -> dict[str, Place]:
    line = Line(((cpu("a", 1), ()), (cpu("b", 2), ())), (gpu("c", 3), gpu("d", 4)))
    values: dict[str, object] = {
        "starting": [cpu("z", 0)],
        "pace": Pace(2),
        "releases": Releases(),
        "now": 0.0,
        "stopped": None,
        "seats_known": True,
        "possible": lambda request: True,
    }
    return places(line, **{**values, **more})  # type: ignore[arg-type]  # the values above, by name


def test_everybody_has_a_place_in_the_line_that_they_wait_in() -> None:
    found = told()
    assert found["z"] == Place("starting", 0, 0, 3.0, Why.START, gpu=False)
    assert (found["b"].ahead, found["b"].of, found["b"].why) == (1, 2, Why.START)
    assert found["d"] == Place("queued", 1, 2, None, Why.SEAT, gpu=True)


def test_nobody_is_promised_a_time_while_the_engine_is_silent_or_the_gpus_unknown() -> None:
    silent = told(stopped=Why.ENGINE)
    assert {silent[user].why for user in "abcd"} == {Why.ENGINE}
    assert {silent[user].seconds for user in "abcd"} == {None}
    unknown = told(seats_known=False)
    assert (unknown["c"].why, unknown["a"].why) == (Why.DEVICES, Why.START)


def test_whoever_waits_in_vain_is_told_so_and_promised_no_time() -> None:
    releases = Releases()
    for moment in (0.0, 60.0, 120.0):
        releases.happened(moment)
    found = told(releases=releases, now=180.0, possible=lambda request: request.user != "c")
    assert (found["c"].why, found["c"].seconds) == (Why.SIZE, None)
    assert found["d"].why is Why.SEAT
    assert found["d"].seconds
    assert told(seats_known=False, possible=lambda request: False)["c"].why is Why.DEVICES
