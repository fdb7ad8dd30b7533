"""What may cross between a student's process and the referee's, and in which form: the codec, used by both.

A value is described by plain JSON and raw buffers, and rebuilt by exact type from that description: nothing is
evaluated, imported or unpickled. The referee decodes what hostile code wrote, so every length, count, shape and key is
checked before it is used, and a buffer is never larger than what came. Torch and NumPy are used only where they are
imported already.
"""

from __future__ import annotations

import json
import math
import re
import struct
import sys
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

JSON_LIMIT = 8 * 2**20  # bytes of JSON in one message
BUFFERS_LIMIT = 10_000  # buffers in one message
NODES_LIMIT = 400_000  # values in one message
KEYS_LIMIT = 10_000  # members of sets, and keys that are not strings: Python can be made slow by ones that collide
DEPTH_LIMIT = 64
DIMENSIONS_LIMIT = 16
DIGITS_LIMIT = 10_000  # hexadecimal digits of a whole number
LONG = 32  # a list of so many numbers travels as a buffer

DOOR = b">"  # a frame that begins so is not for the host: it passes it on to the other side
_COUNTS = struct.Struct(">II")  # bytes of JSON, number of buffers
_SIZE = struct.Struct(">Q")
_SMALL = 2**53
_DTYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)
_NUMPY = re.compile(r"[|<](?:b1|[iu][1248]|f[248]|c8|c16|[US](?:0|[1-9]\d{0,5}))")
_DEVICE = re.compile(r"cpu|meta|cuda(?::\d)?")
_MUTABLE = (list, dict, set, OrderedDict, Counter, deque, bytearray)
_SEQUENCES: dict[str, type] = {"l": list, "t": tuple, "s": set, "fs": frozenset}
_MAPPINGS: dict[str, type] = {"d": dict, "od": OrderedDict, "ct": Counter}
_TAGS = {kind: tag for tag, kind in (_SEQUENCES | _MAPPINGS).items()}
_UNHASHED = frozenset((str, bytes, bool, type(None)))  # whose hashes nobody can choose


class DoorError(Exception):
    """A message that no honest side writes, or a value that cannot cross."""


def pack(message: dict[str, Any], buffers: list[bytes]) -> bytes:
    """One message and its buffers as bytes."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii")
    sizes = b"".join(_SIZE.pack(len(buffer)) for buffer in buffers)
    return b"".join((_COUNTS.pack(len(body), len(buffers)), sizes, body, *buffers))


def unpack(frame: bytes) -> tuple[dict[str, Any], list[memoryview]]:
    """The message and its buffers.

    Raises:
        DoorError: its parts do not add up to it, or it is not a JSON object.
    """
    whole = memoryview(frame)
    if len(whole) < _COUNTS.size:
        raise DoorError("a frame without a head")
    length, count = _COUNTS.unpack(whole[: _COUNTS.size])
    begin = _COUNTS.size + count * _SIZE.size
    if length > JSON_LIMIT or count > BUFFERS_LIMIT or begin + length > len(whole):
        raise DoorError("a frame that is larger than it may be")
    sizes = [size for (size,) in _SIZE.iter_unpack(whole[_COUNTS.size : begin])]
    if begin + length + sum(sizes) != len(whole):
        raise DoorError("a frame whose parts do not add up")
    try:
        message = json.loads(bytes(whole[begin : begin + length]).decode("ascii"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DoorError(f"not JSON: {type(error).__name__}") from None
    if type(message) is not dict:
        raise DoorError("not an object")
    buffers, at = [], begin + length
    for size in sizes:
        buffers.append(whole[at : at + size])
        at += size
    return message, buffers


def _refuse(name: str) -> None:
    raise ValueError(name)


class Encoder:
    """Values of one message as JSON and buffers.

    Args:
        special: describes what is not plain data, as a list that begins with a tag of its own; gets the value and this
            encoder; raises if it must not cross.
        known: objects of an earlier message by ``id``, which are named and not sent again.
    """

    def __init__(self, special: Callable[[object, Encoder], list[Any]], known: dict[int, int] | None = None) -> None:
        self.buffers: list[bytes] = []
        self.kept: list[object] = []  # mutable objects in the order in which the other side meets them
        self._special = special
        self._known = known or {}
        self._numbers: dict[int, int] = {}
        self._depth = 0

    def value(self, value: object) -> Any:
        """The description of ``value``."""
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if -_SMALL < value < _SMALL else ["i", f"{value:x}"]  # type: ignore[operator,str-bytes-safe]
        if kind is float:
            return value if math.isfinite(value) else ["f", str(value)]  # type: ignore[arg-type]
        if id(value) in self._known:
            return ["a", self._known[id(value)]]
        if id(value) in self._numbers:
            return ["r", self._numbers[id(value)]]
        self._depth += 1
        try:
            if self._depth > DEPTH_LIMIT:
                raise DoorError(f"data nested more than {DEPTH_LIMIT} deep")
            return self._compound(value, kind)
        finally:
            self._depth -= 1

    def content(self, value: object) -> Any:
        """The description of a mutable object's content, also where the object itself is known to the other side."""
        return self._compound(value, type(value), keep=False)

    def tensor(self, value: Any) -> list[Any]:
        """The description of a plain tensor's numbers, whatever else it may be part of."""
        return ["T", str(value.dtype)[6:], list(value.shape), self.buffer(tensor_bytes(value))]

    def buffer(self, data: bytes) -> int:
        """Number of a new buffer."""
        self.buffers.append(data)
        return len(self.buffers) - 1

    def keep(self, value: object) -> None:
        """Remember a mutable object in the order in which the other side meets it."""
        self._numbers[id(value)] = len(self.kept)
        self.kept.append(value)

    def _compound(self, value: Any, kind: type, *, keep: bool = True) -> Any:
        if keep and kind in _MUTABLE:
            self.keep(value)
        if kind in _MAPPINGS.values():
            return [_TAGS[kind], [[self.value(key), self.value(item)] for key, item in value.items()]]
        if kind is list or kind is tuple:
            numbers = self._numbers_in(value) if len(value) >= LONG else None
            return [_TAGS[kind], *(numbers or [[self.value(item) for item in value]])]
        if kind is set or kind is frozenset:
            return [_TAGS[kind], [self.value(item) for item in value]]
        if kind is bytes or kind is bytearray:
            return ["b" if kind is bytes else "ba", self.buffer(bytes(value))]
        if kind is complex:
            return ["c", self.value(value.real), self.value(value.imag)]
        if kind is deque:
            return ["dq", [self.value(item) for item in value], value.maxlen]
        if kind is range or kind is slice:
            return ["rg" if kind is range else "sl", *(self.value(x) for x in (value.start, value.stop, value.step))]
        return self._array(value, kind, keep=keep) or self._special(value, self)

    def _numbers_in(self, value: Any) -> list[Any] | None:
        kinds = set(map(type, value))
        if kinds == {float}:
            return ["d", self.buffer(array("d", value).tobytes())]
        if kinds == {int} and max(value) < 2**63 and min(value) >= -(2**63):
            return ["q", self.buffer(array("q", value).tobytes())]
        return None

    def _array(self, value: Any, kind: type, *, keep: bool) -> list[Any] | None:
        torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
        if torch and kind is torch.Tensor and is_plain(value) and not value.requires_grad:
            if keep:
                self.keep(value)
            return self.tensor(value)
        if torch and kind is torch.Size:
            return ["sz", list(value)]
        if torch and kind is torch.dtype and str(value)[6:] in _DTYPES:
            return ["dt", str(value)[6:]]
        if torch and kind is torch.device:
            return ["dv", str(value)]
        if torch and kind.__module__ == "torch.return_types" and kind.__name__ in _several(torch):
            return ["rt", kind.__name__, [self.value(each) for each in value]]
        if numpy and kind is numpy.ndarray and _known(value.dtype):
            if keep:
                self.keep(value)
            return ["N", _little(value.dtype), list(value.shape), self.buffer(array_bytes(value))]
        if numpy and isinstance(value, numpy.generic) and kind is value.dtype.type and _known(value.dtype):
            return ["n", _little(value.dtype), self.buffer(array_bytes(numpy.asarray(value)))]
        if numpy and isinstance(value, numpy.dtype) and _known(value):
            return ["nd", _little(value)]
        return None


def _several(torch: Any) -> set[str]:
    """Classes of what functions like ``max`` and ``topk`` return."""
    return {name for name in vars(torch.return_types) if name.isidentifier() and not name.startswith("_")}


def is_plain(tensor: Any) -> bool:
    """Whether a tensor's numbers can be written down: on the CPU, none left out, of a common type."""
    torch = sys.modules["torch"]
    return bool(tensor.layout is torch.strided and tensor.device.type == "cpu" and str(tensor.dtype)[6:] in _DTYPES)


def tensor_numbers(tensor: Any) -> Any:
    """The numbers of a tensor on the CPU, in order, as a flat tensor of bytes."""
    torch = sys.modules["torch"]
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous()
    # A single number counts as contiguous whatever its stride, but only one of 1 can be seen as bytes.
    return flat.as_strided((flat.numel(),), (1,)).view(torch.uint8)


def tensor_bytes(tensor: Any) -> bytes:
    """The same as bytes."""
    return bytes(tensor_numbers(tensor).numpy().tobytes())


def _known(dtype: Any) -> bool:
    return bool(_NUMPY.fullmatch(_little(dtype)))


def _little(dtype: Any) -> str:
    return str(dtype.newbyteorder("<").str)


def array_bytes(value: Any) -> bytes:
    """The items of an array, in order, little end first."""
    return bytes(value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes())


class Decoder:
    """Values from one message.

    Args:
        buffers: the message's.
        special: rebuilds what has a tag of its own; gets the list and this decoder.
        known: objects of an earlier message, by the number that messages name them with.
    """

    def __init__(
        self,
        buffers: list[memoryview],
        special: Callable[[list[Any], Decoder], object],
        known: list[Any] | None = None,
    ) -> None:
        self.kept: list[Any] = []
        self._buffers = buffers
        self._special = special
        self._known = known or []
        self._depth = self._nodes = self._keys = 0

    def value(self, raw: Any) -> Any:
        """The value that ``raw`` describes.

        Raises:
            DoorError: nothing that `Encoder` writes.
        """
        self._nodes += 1
        if self._nodes > NODES_LIMIT:
            raise DoorError(f"more than {NODES_LIMIT} values at once")
        if raw is None or type(raw) in (bool, int, float, str):
            return raw
        if type(raw) is not list or not raw or type(raw[0]) is not str:
            raise DoorError("not a description of a value")
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise DoorError(f"data nested more than {DEPTH_LIMIT} deep")
        try:
            return self._compound(raw[0], raw[1:], raw)
        finally:
            self._depth -= 1

    def tensor(self, raw: Any) -> Any:
        """A tensor of its own, which later messages cannot name."""
        torch = sys.modules.get("torch")
        match raw:
            case ["T", str() as name, shape, number] if torch and name in _DTYPES:
                return _tensor(torch, name, _shape(shape), self._buffer(number))
        raise DoorError("no tensor")

    def _compound(self, tag: str, parts: list[Any], raw: list[Any]) -> Any:  # one case a line
        match tag, parts:
            case (("l" | "t" | "s" | "fs"), [list() as items]):
                return self._sequence(tag, items)
            case (("l" | "t"), [("d" | "q") as code, number]):
                made = memoryview(self._buffer(number, 8)).cast(code).tolist()
                return self.keep(made) if tag == "l" else tuple(made)
            case (("d" | "od" | "ct"), [list() as items]):
                made = self.keep(_MAPPINGS[tag]())
                for item in items:
                    if type(item) is not list or len(item) != 2:
                        raise DoorError("not a pair")
                    key = self._key(item[0])
                    made[key] = self.value(item[1])
                return made
            case "i", [str() as digits] if len(digits) <= DIGITS_LIMIT and re.fullmatch("-?[0-9a-f]+", digits):
                return int(digits, 16)
            case "f", [("nan" | "inf" | "-inf") as name]:
                return float(name)
            case "c", [real, imag]:
                return complex(self._of(real, float), self._of(imag, float))
            case "b", [number]:
                return bytes(self._buffer(number))
            case "ba", [number]:
                return self.keep(bytearray(self._buffer(number)))
            case "dq", [list() as items, limit] if limit is None or (type(limit) is int and 0 <= limit < _SMALL):
                made = self.keep(deque(maxlen=limit))
                made.extend(self.value(item) for item in items)
                return made
            case "rg", [start, stop, step] if all(type(self.value(x)) is int for x in parts) and self.value(step):
                return range(self.value(start), self.value(stop), self.value(step))
            case "sl", [start, stop, step]:
                return slice(self.value(start), self.value(stop), self.value(step))
            case "r", [int() as number] if type(number) is int and 0 <= number < len(self.kept):
                return self.kept[number]
            case "a", [int() as number] if type(number) is int and 0 <= number < len(self._known):
                return self._known[number]
            case (("T" | "N" | "n" | "nd" | "sz" | "dt" | "dv" | "rt"), _):
                return self._array(tag, parts)
        return self._special(raw, self)

    def keep(self, made: Any) -> Any:
        """Remember a mutable object as the encoder did, before anything inside of it."""
        self.kept.append(made)
        return made

    def _buffer(self, number: object, item: int = 1) -> memoryview:
        if type(number) is not int or not 0 <= number < len(self._buffers) or len(self._buffers[number]) % item:
            raise DoorError("no such buffer")
        return self._buffers[number]

    def _of(self, raw: object, kind: type) -> Any:
        made = self.value(raw)
        if type(made) is not kind:
            raise DoorError(f"no {kind.__name__}")
        return made

    def _sequence(self, tag: str, items: list[Any]) -> Any:
        if tag == "l":
            made: list[Any] = self.keep([])
            made.extend(self.value(item) for item in items)
            return made
        if tag == "t":
            return tuple([self.value(item) for item in items])
        members = self.keep(set()) if tag == "s" else set()
        members.update([self._key(item) for item in items])
        return members if tag == "s" else frozenset(members)

    def _key(self, raw: Any) -> Any:
        """A member of a set or a key, by types whose ``hash`` and ``==`` are Python's own."""
        key = self.value(raw)
        if type(key) is not str:
            self._keys += 1
            if self._keys > KEYS_LIMIT:
                raise DoorError(f"more than {KEYS_LIMIT} keys that are not words")
        _check_key(key)
        return key

    def _array(self, tag: str, parts: list[Any]) -> Any:
        torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
        match tag, parts:
            case "T", _:
                return self.keep(self.tensor([tag, *parts]))
            case "rt", [str() as name, list() as items] if torch and name in _several(torch):
                made = [self.value(each) for each in items]
                if any(type(each) is not torch.Tensor for each in made):
                    raise DoorError("no tensors")
                return getattr(torch.return_types, name)(made)
            case "sz", [shape] if torch:
                return torch.Size(_shape(shape))
            case "dt", [str() as name] if torch and name in _DTYPES:
                return getattr(torch, name)
            case "dv", [str() as name] if torch and _DEVICE.fullmatch(name):
                return torch.device(name)
            case "N", [str() as name, shape, number] if numpy and _NUMPY.fullmatch(name):
                return self.keep(_ndarray(numpy, name, _shape(shape), self._buffer(number)))
            case "n", [str() as name, number] if numpy and _NUMPY.fullmatch(name):
                return _ndarray(numpy, name, [], self._buffer(number))[()]
            case "nd", [str() as name] if numpy and _NUMPY.fullmatch(name):
                return numpy.dtype(name)
        raise DoorError(f"nothing that a {tag!r} can be made of")


def _check_key(key: object) -> None:
    numpy = sys.modules.get("numpy")
    if type(key) in (tuple, frozenset):
        for item in key:  # type: ignore[attr-defined]
            _check_key(item)
    elif type(key) not in (*_UNHASHED, int, float, complex) and not (numpy and isinstance(key, numpy.generic)):
        raise DoorError(f"{type(key).__name__} as a key")


def _shape(raw: Any) -> list[int]:
    if type(raw) is not list or len(raw) > DIMENSIONS_LIMIT:
        raise DoorError("no shape")
    if any(type(size) is not int or not 0 <= size < 2**40 for size in raw):
        raise DoorError("no size")
    return raw


def _fits(shape: list[int], size: int, data: memoryview) -> int:
    if math.prod(shape) * size != len(data) or math.prod(each for each in shape if each) >= 2**62:
        raise DoorError("a shape that is not its data's")
    return len(data)


def _tensor(torch: Any, name: str, shape: list[int], data: memoryview) -> Any:
    dtype = getattr(torch, name)
    if not _fits(shape, dtype.itemsize, data):
        return torch.empty(shape, dtype=dtype)
    own = bytearray(data)
    if name == "bool":
        return (torch.frombuffer(own, dtype=torch.uint8) != 0).reshape(shape)
    return torch.frombuffer(own, dtype=dtype).reshape(shape)


def _ndarray(numpy: Any, name: str, shape: list[int], data: memoryview) -> Any:
    dtype = numpy.dtype(name)
    if not _fits(shape, dtype.itemsize, data):
        if dtype.itemsize == 0:
            raise DoorError("words of no length")
        return numpy.empty(shape, dtype=dtype)
    if dtype.kind == "U" and (numpy.frombuffer(data, dtype="<u4") > sys.maxunicode).any():
        raise DoorError("not text")
    if dtype.kind == "b":
        return (numpy.frombuffer(data, dtype=numpy.uint8) != 0).reshape(shape)
    return numpy.frombuffer(bytearray(data), dtype=dtype).reshape(shape)
