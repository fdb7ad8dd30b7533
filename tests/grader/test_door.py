"""The codec between a student's process and the referee's: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections import Counter, OrderedDict, deque
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuclass import ROOT


def _loaded() -> ModuleType:
    """The file as the containers use it; it is in no package."""
    spec = importlib.util.spec_from_file_location("door", ROOT / "grading" / "door.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules["door"] = made
    spec.loader.exec_module(made)
    return made


door = _loaded()
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
KEYS = st.text() | st.integers() | st.booleans() | st.tuples(st.integers(), st.text()) | st.none() | st.binary()
DATA = st.recursive(
    PLAIN
    | st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 3))
    | st.builds(slice, st.integers()),
    lambda inner: (
        st.lists(inner, max_size=40)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.dictionaries(KEYS, inner).map(OrderedDict)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
        | st.lists(inner).map(deque)
        | st.dictionaries(KEYS, st.integers()).map(Counter)
    ),
    max_leaves=60,
)


def refuse(*_: object) -> Any:
    raise door.DoorError("not plain")


def crossed(value: object) -> Any:
    encoder = door.Encoder(refuse)
    frame = door.pack({"value": encoder.value(value)}, encoder.buffers)
    message, buffers = door.unpack(frame)
    return door.Decoder(buffers, refuse).value(message["value"])


def same(a: Any, b: Any) -> bool:
    """Equal in type, value and order, all the way down; NaN is itself and 0.0 is not -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@given(DATA)
def test_plain_data_comes_out_as_it_went_in(value: object) -> None:
    assert same(crossed(value), value)


@given(st.lists(st.floats(), min_size=door.LONG) | st.lists(st.integers(), min_size=door.LONG))
def test_long_lists_of_numbers_come_out_as_they_went_in(values: list[Any]) -> None:
    assert same(crossed(values), values)
    assert same(crossed(tuple(values)), tuple(values))


def test_one_object_in_two_places_stays_one_object() -> None:
    inner = [1]
    outer = crossed([inner, inner, {"a": inner}])
    assert outer[0] is outer[1] is outer[2]["a"]


@pytest.mark.parametrize("value", [object(), Exception(), len, type("L", (list,), {})(), type("I", (int,), {})(3)])
def test_a_subclass_or_object_is_not_taken_for_plain_data(value: object) -> None:
    with pytest.raises(door.DoorError):
        crossed(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
TAGS = st.sampled_from(
    ["l", "t", "s", "fs", "d", "od", "ct", "i", "f", "c", "b", "ba", "dq", "rg", "sl", "r", "a", "T", "N"]
)
NEARLY = st.recursive(
    JSON | st.builds(lambda tag, rest: [tag, *rest], TAGS, st.lists(JSON, max_size=4)),
    lambda inner: st.builds(lambda tag, items: [tag, items], TAGS, st.lists(inner | st.lists(inner, max_size=3))),
)


@given(NEARLY, st.lists(st.binary(max_size=40), max_size=3))
def test_whatever_a_hostile_side_describes_is_plain_data_or_refused(raw: object, buffers: list[bytes]) -> None:
    decoder = door.Decoder([memoryview(each) for each in buffers], refuse, [[1]])
    try:
        value = decoder.value(raw)
    except door.DoorError:
        return
    assert type(value).__module__ in ("builtins", "collections")
    assert type(value) not in (type, object)


@given(st.binary(max_size=200))
def test_whatever_a_hostile_side_sends_is_a_message_or_refused(frame: bytes) -> None:
    try:
        message, _ = door.unpack(frame)
    except door.DoorError:
        return
    assert type(message) is dict


def frame_of(body: bytes, *sizes: int, rest: bytes = b"") -> bytes:
    head = len(body).to_bytes(4, "big") + len(sizes).to_bytes(4, "big")
    return head + b"".join(size.to_bytes(8, "big") for size in sizes) + body + rest


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        frame_of(b"[]"),
        frame_of(b"{}", 2**63),
        frame_of(b"{}", 5, rest=b"four"),
        frame_of(b"{}", rest=b"more"),
        b"\xff" * 8,
        frame_of(b'{"a": NaN}'),
        frame_of(b"[" * 100_000),
        frame_of(b'{"a": ' + b"9" * 5000 + b"}"),
        frame_of('{"a": "한"}'.encode()),
    ],
    ids=lambda frame: repr(frame[:24]),
)
def test_frames_that_do_not_add_up_are_refused(frame: bytes) -> None:
    with pytest.raises(door.DoorError):
        door.unpack(frame)


def nested(depth: int) -> Any:
    return ["l", [nested(depth - 1)]] if depth else 1


@pytest.mark.parametrize(
    "raw",
    [
        nested(door.DEPTH_LIMIT + 1),
        ["l", [0] * (door.NODES_LIMIT + 1)],
        ["s", [number * (2**61 - 1) for number in range(door.KEYS_LIMIT + 1)]],
        ["d", [[number * (2**61 - 1), 0] for number in range(door.KEYS_LIMIT + 1)]],
        ["i", "f" * (door.DIGITS_LIMIT + 1)],
        ["i", "0x10"],
        ["d", [[["l", []], 1]]],
        ["s", [["t", [["l", []]]]]],
        ["b", 0],
        ["b", True],
        ["l", "d", 0],
        ["r", 1],
        ["a", -1],
        ["rg", 1, 2, 0],
        ["rg", True, 2, 1],
        ["dq", [], -1],
        ["T", "float32", [1], 0],
        {"a": 1},
        [],
        [[]],
    ],
    ids=lambda raw: json.dumps(raw)[:24],
)
def test_what_is_too_deep_too_much_or_nothing_at_all_is_refused(raw: object) -> None:
    with pytest.raises(door.DoorError):
        door.Decoder([], refuse, []).value(raw)
