"""Sizes and durations as people write them."""

import pytest

from gpuclass.units import duration, show_size, size


@pytest.mark.parametrize(("text", "count"), [("1K", 1024), ("512M", 512 * 2**20), ("1.5G", 1610612736), ("2T", 2**41)])
def test_size_is_read_in_powers_of_1024(text: str, count: int) -> None:
    assert size(text) == count
    assert show_size(count) == text


@pytest.mark.parametrize("text", ["4", "4GB", "4g", "-4G", "", "G", 4, None, "4 G", "1e3G"])
def test_size_without_a_known_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("90s", 90), ("10m", 600), ("1h", 3600), ("2d", 172800)]
)
def test_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["90", "90sec", 90, "", "1:30"])
def test_duration_without_a_known_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


def test_a_size_under_one_kibibyte_is_shown_in_bytes() -> None:
    assert show_size(12) == "12B"
