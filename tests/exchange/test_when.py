"""Moments as a teacher types and reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuclass.errors import UsageError
from gpuclass.exchange.when import moment, show, span

SEOUL, BERLIN = "Asia/Seoul", "Europe/Berlin"
NOW = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)  # in Seoul it is the 24th, 08:30


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-24 18:00", datetime(2026, 11, 24, 9, 0, tzinfo=UTC)),
        ("2026-11-24T18:00", datetime(2026, 11, 24, 9, 0, tzinfo=UTC)),
        (" 18:00 ", datetime(2026, 11, 24, 9, 0, tzinfo=UTC)),
        ("9:05", datetime(2026, 11, 24, 0, 5, tzinfo=UTC)),
        ("24:00", datetime(2026, 11, 24, 15, 0, tzinfo=UTC)),
        ("2026-12-31 24:00", datetime(2026, 12, 31, 15, 0, tzinfo=UTC)),
        ("+30m", NOW + timedelta(minutes=30)),
        ("+2h", NOW + timedelta(hours=2)),
        ("none", None),
    ],
)
def test_a_time_is_the_class_zones(text: str, meant: datetime | None) -> None:
    assert moment(text, SEOUL, NOW) == meant


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2026-11-24", "2026-13-01 10:00", "2026-02-30 10:00", "25:00", "24:01", "12:60", "+30", "-30m",
     "2026-11-24 18:00:00+09:00", "0000-01-01 00:00", "9999-12-31 24:00", "6pm", "١٨:٠٠x"],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match='write "2026-11-24 18:00"'):
        moment(text, SEOUL, NOW)


def test_a_time_that_the_clocks_show_twice_is_the_later_one() -> None:
    assert moment("2026-10-25 02:30", BERLIN, NOW) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_a_time_that_the_clocks_skip_is_refused() -> None:
    with pytest.raises(UsageError, match="never show that time"):
        moment("2027-03-28 02:30", BERLIN, NOW)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.sampled_from([SEOUL, BERLIN, "America/New_York"]))  # noqa: DTZ001  # naive, as hypothesis takes them
def test_what_is_shown_can_be_typed_again(when: datetime, zone: str) -> None:
    aware = when.replace(tzinfo=UTC, second=0, microsecond=0)
    again = moment(show(aware, zone).split(" ", 1)[1], zone, NOW)
    assert again is not None
    assert again - aware in (timedelta(), timedelta(hours=1))  # the hour that is there twice
    assert show(again, zone) == show(aware, zone)


@given(st.text())
def test_any_text_is_a_time_or_is_refused(text: str) -> None:
    try:
        meant = moment(text, SEOUL, NOW)
    except UsageError:
        return
    assert meant is None or meant.utcoffset() == timedelta()


def test_a_moment_is_shown_with_its_weekday_and_seconds_only_where_there_are() -> None:
    nine = datetime(2026, 11, 24, 18, 0, tzinfo=ZoneInfo(SEOUL))
    assert show(nine, SEOUL) == "Tue 2026-11-24 18:00"
    assert show(nine + timedelta(seconds=5), SEOUL) == "Tue 2026-11-24 18:00:05"
    assert show(nine + timedelta(microseconds=5), SEOUL) == "Tue 2026-11-24 18:00:00.000005"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0 s"), (45, "45 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200000, "2 days")]
)
def test_a_span_has_a_unit_that_one_can_picture(seconds: float, shown: str) -> None:
    assert span(seconds) == shown
