"""The student's side of the door: does what a test asks for, in the process that ran the student's cells.

Nothing that this file says is believed: the code that it runs can change it. It is here so that honest code is tested
as it would be in a notebook of its own.
"""

from __future__ import annotations

import builtins
import copy
import importlib
import inspect
import random
import signal
import sys
import traceback
from collections.abc import Callable, MutableMapping
from typing import Any

from channel import Outputs, ours
from door import Decoder, DoorError, Encoder
from handle import abilities
from library import blank, fill, new_generator, set_generator
from side import Side

TRACE_LINES = 20
TRACE_CHARACTERS = 4000

OPERATIONS: dict[str, Callable[..., object]] = {
    "call": lambda target, *args, **kwargs: target(*args, **kwargs),
    "attr": getattr,
    "setattr": setattr,
    "item": lambda target, key: target[key],
    "setitem": lambda target, key, value: target.__setitem__(key, value),
    "len": len,
    "iter": iter,
    "next": next,
    "contains": lambda target, value: value in target,
    "isinstance": lambda target, value: isinstance(value, target),
    "str": str,
    "repr": repr,
    "enter": lambda target: target.__enter__(),
    "exit": lambda target, *what: target.__exit__(*what),
    "int": int,
    "float": float,
    "bool": bool,
    "deepcopy": copy.deepcopy,
    "source": inspect.getsource,
}


class Answering(Side):
    """Answers the referee.

    Args:
        read, write: frames.
        namespace: of the student's cells.
        outputs: where the student's code prints.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        write: Callable[[bytes], None],
        namespace: MutableMapping[str, object],
        outputs: Outputs,
    ) -> None:
        super().__init__(read, write)
        self._namespace = namespace
        self._outputs = outputs
        self._objects: list[object] = []  # that the referee knows by number
        self._numbers: dict[int, int] = {}
        self._theirs: dict[int, Theirs] = {}
        self._made: dict[int, Any] = {}  # like the library's objects that tests have made, by their number
        self._drew = False

    def begin(self, message: dict[str, Any], buffers: list[memoryview]) -> None:
        """Answer a question that was not asked inside of another."""
        self._working = self._late = False
        before = signal.signal(signal.SIGALRM, self.alarm)
        try:
            self.serve(message, buffers)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def perform(self, message: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Do it, with the referee's random state and grad mode."""
        state, grad, *args = args
        if state is not None:
            _set_random(state)
        before = _random()
        torch = sys.modules.get("torch")
        try:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, message["seconds"]))
            if message["op"] == "get":
                return self._get(args[0])
            if message["op"] == "backward":
                return self.gradients.backward(*args)
            if torch:
                with torch.set_grad_enabled(grad):
                    return OPERATIONS[message["op"]](*args, **kwargs)
            return OPERATIONS[message["op"]](*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._drew = _random() != before

    def remarks(self) -> dict[str, Any]:
        """Whether random numbers were drawn, and what was printed."""
        text = self._outputs.take_text()
        return {"drew": self._drew, "printed": text}

    def call(self, number: int, name: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call something of the test's."""
        return self._ask_test({"op": "call", "on": number, "name": name}, list(args), kwargs)

    def go_back(self, number: int, accumulate: bool, grad: Any) -> Any:
        """Have the referee go back from a result of a test's function."""
        return self._ask_test({"op": "backward"}, [number, accumulate, grad], {})

    def impossible(self, text: str) -> BaseException:
        """As torch would."""
        return RuntimeError(text)

    def _ask_test(self, message: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            return self.ask(message, args, kwargs)[0]
        finally:
            if left:
                signal.setitimer(signal.ITIMER_REAL, left)

    def describe(self, value: object, encoder: Encoder) -> list[Any]:
        """A number for an object of the student's, and what the referee may know of it."""
        if isinstance(value, Theirs):
            return ["cb", object.__getattribute__(value, "_number")]
        torch = sys.modules.get("torch")
        if torch and type(value) in (torch.Tensor, torch.nn.Parameter):
            return self.gradients.describe(value, encoder)
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        kind = type(value)
        classes = [f"{each.__module__}.{each.__qualname__}" for each in kind.__mro__]
        return ["h", number, kind.__name__, abilities(value), classes[:20]]

    def rebuild(self, raw: list[Any], decoder: Decoder) -> Any:
        """An object of the student's by its number, or a stand-in for one of the test's."""
        match raw:
            case ["h", number]:
                return self._objects[number]
            case [("known" | "leaf" | "result"), *_]:
                return self.gradients.rebuild(raw, decoder)
            case ["cb", number, str() as name]:
                return self._theirs.setdefault(number, Function(self, number, name))
            case ["fake", number, str() as name, list() as dunders, list() as methods]:
                if number not in self._theirs:
                    kind = type(name, (Theirs,), {each: _method(each) for each in (*dunders, *methods)})
                    self._theirs[number] = kind(self, number, name)
                return self._theirs[number]
            case ["o", number, str() as home, str() as name, list() as items]:
                made = self._made[number] if number in self._made else self._blank(home, name)
                self._made[number] = decoder.keep(made)
                fill(made, {key: decoder.value(each) for key, each in items})
                return made
            case ["rng", str() as kind, state]:
                made = decoder.keep(new_generator(kind))
                set_generator(made, decoder.value(state))
                return made
            case ["lib", str() as home, str() as name]:
                return getattr(importlib.import_module(home), name)
        raise DoorError("no such thing")

    def describe_error(self, error: BaseException, encoder: Encoder) -> dict[str, Any]:
        """Names of its classes, its text, and where it was raised."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            text = str(error)
        except Exception:
            text = ""
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not ours(frame.filename)]
        lines = "".join(traceback.format_list(frames[-TRACE_LINES:]))[-TRACE_CHARACTERS:]
        classes = [each.__name__ for each in type(error).__mro__]
        return {"classes": classes, "text": text[:TRACE_CHARACTERS], "trace": lines, "number": _number_of(error)}

    def rebuild_error(self, message: dict[str, Any], decoder: Decoder) -> BaseException:
        """What a function of the test raised, as the student's code would have met it."""
        for name in message["classes"]:
            kind = self._namespace.get(name) or getattr(builtins, name, None)
            torch = sys.modules.get("torch")
            kind = kind or getattr(torch, name, None) or getattr(getattr(torch, "cuda", None), name, None)
            if isinstance(kind, type) and issubclass(kind, BaseException):
                error: BaseException = kind.__new__(kind, message["text"])
                error.args = (message["text"],)
                break
        else:
            error = RuntimeError(message["text"])
        error.__dict__["_gpuclass_number"] = message["number"]
        return error

    def _blank(self, home: str, name: str) -> Any:
        """An object of a library's class, or of one that a read-only cell defines here too."""
        if home:
            return blank(home, name)
        kind: Any = self._get(name)
        return kind.__new__(kind)

    def _get(self, name: str) -> object:
        try:
            return self._namespace[name]
        except KeyError:
            raise NameError(f"name '{name}' is not defined") from None


class Theirs:
    """A stand-in for a function or object of the test's."""

    def __init__(self, side: Answering, number: int, name: str) -> None:
        self.__dict__.update(_side=side, _number=number, __name__=name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._side.call(self._number, f".{name}", (), {})


class Function(Theirs):
    """A stand-in for a function of the test's."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self._side.call(self._number, None, args, kwargs)


def _method(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: self._side.call(self._number, name, args, kwargs)


def _number_of(error: BaseException) -> int | None:
    number = getattr(error, "_gpuclass_number", None)
    return number if type(number) is int else None


def _random() -> list[object]:
    """The state of the generators that are in use."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    legacy = numpy.random.get_state(legacy=True) if numpy else None
    return [
        random.getstate(),
        legacy and (legacy[1].tobytes(), *legacy[2:]),
        torch and torch.random.get_rng_state().numpy().tobytes(),
    ]


def _set_random(state: list[Any]) -> None:
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    python, legacy, tensor = state
    random.setstate(python)
    if numpy and legacy:
        numpy.random.set_state(("MT19937", numpy.frombuffer(legacy[0], dtype=numpy.uint32), *legacy[1:]))
    if torch and tensor:
        torch.random.set_rng_state(torch.frombuffer(bytearray(tensor), dtype=torch.uint8))
