"""What travels: trees and times."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuclass.exchange.wire import WireError, decode_tree, encode_tree, read_time, show_time


@given(st.dictionaries(st.text(), st.binary()))
def test_files_come_back_as_they_were_encoded(files: dict[str, bytes]) -> None:
    assert dict(decode_tree(encode_tree(files))) == files


def test_base64_in_lines_is_read_as_well() -> None:
    content = bytes(range(256)) * 3
    text = json.dumps([{"path": "a", "content": base64.encodebytes(content).decode(), "checksum": "x"}])
    assert decode_tree(text) == [("a", content)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff", "Files cannot be JSON decoded"),
        ("[" * 200_000, "Files cannot be JSON decoded"),
        ("1" * 10_000, "Files cannot be JSON decoded"),
        ('[["path", "content"]]', "Files cannot be JSON decoded"),
        ('[{"path": 1, "content": ""}]', "Files cannot be JSON decoded"),
        ('[{"path": "a", "content": "a"}]', "Content cannot be base64 decoded"),
        ('[{"path": "a", "content": "YQ==YQ=="}]', "Content cannot be base64 decoded"),
    ],
)
def test_what_is_no_tree_is_refused_in_ngshares_words(text: str | bytes, message: str) -> None:
    with pytest.raises(WireError) as refusal:
        decode_tree(text)
    assert str(refusal.value) == message


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # hypothesis wants it
def test_a_time_is_the_same_after_a_round_trip(moment: datetime) -> None:
    assert read_time(show_time(moment)) == moment


@pytest.mark.parametrize("text", ["2026-11-23 09:00:00.000000 KST", "2026-11-23", "", "noon UTC"])
def test_a_time_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # strptime's own
        read_time(text)
