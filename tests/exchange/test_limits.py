"""How often and how much at once."""

from __future__ import annotations

import pytest

from gpuclass.exchange.service.limits import AtOnce, PerMinute, TooFast, TooMany


def test_one_too_many_in_a_minute_is_refused_with_the_wait() -> None:
    now = 0.0
    rate = PerMinute(2, clock=lambda: now)
    rate.take("student1")
    now = 20.0
    rate.take("student1")
    now = 45.5
    with pytest.raises(TooFast) as refusal:
        rate.take("student1")
    assert refusal.value.wait == 15  # the first was 45.5 s ago
    rate.take("student2")
    now = 60.0
    rate.take("student1")


def test_a_refused_one_is_not_counted() -> None:
    now = 0.0
    rate = PerMinute(1, clock=lambda: now)
    rate.take("student1")
    now = 30.0
    with pytest.raises(TooFast):
        rate.take("student1")
    now = 60.0
    rate.take("student1")


def test_only_so_many_at_once_and_a_failed_one_makes_room() -> None:
    at_once = AtOnce(1)
    with at_once.one("student1"):
        with pytest.raises(TooMany), at_once.one("student1"):
            pass
        with at_once.one("student2"):
            pass
    with pytest.raises(OSError, match="disk"), at_once.one("student1"):
        raise OSError("disk")
    with at_once.one("student1"):
        pass
