"""The choice between GPU and CPU as values and as HTML; no hub."""

from dataclasses import dataclass, replace

import pytest

from gpuclass.errors import UsageError
from gpuclass.queue import pages
from gpuclass.queue.admission import Free, Place, Why
from gpuclass.settings import Settings


def seen(
    gpu_seats_open: int = 0,
    *,
    gpu_seats: int = 8,
    waiting_for_gpu: int = 0,
    gpu_seconds: float | None = None,
    start_seconds: float = 0.0,
    known: bool = True,
) -> Free:
    """What a broker would say of the seats."""
    return Free(known, gpu_seats_open, gpu_seats, gpu_seats_open, waiting_for_gpu, 0, gpu_seconds, start_seconds)


def place(state: str) -> Place:
    """Where a broker would say that somebody stands who wants a seat."""
    return Place(state, 0, 1, None, Why.SEAT, gpu=True)


@dataclass(frozen=True)
class SpawnerDouble:
    """Whose form it is."""

    role: str = "student"


class QueueDouble:
    """Answers as a broker would, from values."""

    def __init__(self, free: Free | None = None, **places: Place) -> None:
        self.seen = free or seen()
        self.places = places
        self.reclaimed: set[str] = set()

    def free(self, role: str) -> Free:
        return self.seen if role == "student" else replace(self.seen, gpu_seats_open=self.seen.gpu_seats_open + 2)

    def place(self, user: str) -> Place | None:
        return self.places.get(user)


def test_free_seats_are_counted_and_can_be_taken_at_once() -> None:
    said = pages.choice(seen(gpu_seats_open=3), "ko")
    assert (said.gpu_now, said.gpu_go) == ("빈자리 3개 (전체 8개)", "GPU로 시작하기")
    assert said.cpu_now == "기다리지 않고 시작해요"
    assert pages.choice(seen(gpu_seats_open=1), "en").gpu_now == "1 seat free (of 8)"


def test_without_a_free_seat_the_card_says_how_many_wait_and_how_long() -> None:
    said = pages.choice(seen(waiting_for_gpu=5, gpu_seconds=150, start_seconds=25), "ko")
    assert said.gpu_now == "지금은 빈자리가 없어요\n5명이 기다려요 · 기다리는 시간 약 3분"
    assert said.gpu_go == "GPU 자리 기다리기"
    assert said.cpu_now == "기다리는 시간 약 30초"


def test_free_seats_that_others_wait_for_are_not_promised() -> None:
    assert pages.choice(seen(gpu_seats_open=2, waiting_for_gpu=2), "ko").gpu_go == "GPU 자리 기다리기"
    assert pages.choice(seen(gpu_seats_open=3, waiting_for_gpu=1), "en").gpu_go == "Start with a GPU"


@pytest.mark.parametrize("free", [None, seen(3, known=False), seen(gpu_seats=0)])
def test_gpus_that_nobody_sees_are_not_offered_as_free(free: Free | None) -> None:
    said = pages.choice(free, "ko")
    assert "선생님께 알려 주세요" in said.gpu_now
    assert said.gpu_go == "GPU 자리 기다리기"
    assert said.known is False


def test_the_form_offers_both_with_the_newest_figures(settings: Settings) -> None:
    queue = QueueDouble(seen(gpu_seats_open=2))
    form = pages.options_form(settings, lambda: queue)
    assert "빈자리 2개" in form(SpawnerDouble())
    queue.seen = seen()
    assert "지금은 빈자리가 없어요" in form(SpawnerDouble())
    assert form(SpawnerDouble()).count('<button type="submit"') == 2
    assert "빈자리 2개" in form(SpawnerDouble("instructor")), "seats that are set aside"
    assert "볼 수 없어요" in pages.options_form(settings, lambda: None)(SpawnerDouble())


def test_the_pressed_button_is_the_user_option(settings: Settings) -> None:
    options = pages.options_from_form(settings)
    assert options({"gpu": ["yes"], "_xsrf": ["token"]}) == {"gpu": True}
    assert options({"gpu": ["no"]}) == {"gpu": False}


@pytest.mark.parametrize("form", [{}, {"gpu": []}, {"gpu": ["maybe"]}, {"gpu": ["yes", "no"]}])
def test_a_form_without_one_clear_choice_is_refused_with_what_to_do(
    settings: Settings, form: dict[str, list[str]]
) -> None:
    with pytest.raises(UsageError, match="하나를 골라 주세요"):
        pages.options_from_form(settings)(form)


def test_only_a_place_in_the_queue_is_taken_up_again(settings: Settings) -> None:
    queue = QueueDouble(s01=place("queued"), s02=place("starting"))
    kept = pages.template_vars(settings, lambda: queue)["place_kept"](None)
    assert kept("s01") == {"gpu": True}
    assert kept("s02") is None
    assert kept("s03") is None
    assert pages.template_vars(settings, lambda: None)["place_kept"](None)("s01") is None


def test_the_page_knows_whose_idle_seat_was_taken(settings: Settings) -> None:
    queue = QueueDouble()
    queue.reclaimed.add("s01")
    reclaimed = pages.template_vars(settings, lambda: queue)["reclaimed"](None)
    assert reclaimed("s01")
    assert not reclaimed("s02")
    assert not pages.template_vars(settings, lambda: None)["reclaimed"](None)("s01")
