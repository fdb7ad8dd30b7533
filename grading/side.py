"""One side of the door: asks the other, and does what the other asks, strictly in turns.

Both processes derive from `Side`; what they do in their own way are its methods without a body. What is changed in
place of an argument's copy is changed in the argument too.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from door import DOOR, Decoder, DoorError, Encoder, array_bytes, pack, tensor_bytes, unpack
from gradients import Gradients
from library import class_of, follow, generator, set_generator, state

_CONTAINERS = (list, dict, set, deque, bytearray)


class CellTimeout(BaseException):
    """The cell used up its time."""


class Side:
    """One of the two processes: asks the other, and does what the other asks.

    Strictly one of them is at work at a time: who has written a frame waits for one. So questions nest (a test calls a
    student's function, which calls a function of the test) and answers come in the order of a stack.

    Args:
        read: the next frame from the other side.
        write: sends one.
    """

    NESTED_LIMIT = 40

    def __init__(self, read: Callable[[], bytes], write: Callable[[bytes], None]) -> None:
        self._read = read
        self._write = write
        self._nested = 0
        self._working = False  # code that may be broken off is running, and no frame is awaited
        self._late = False
        self.gradients = Gradients(self.go_back, self.impossible)

    # What each of the two does its own way.
    def describe(self, value: object, encoder: Encoder) -> list[Any]:
        """Describe what is not plain data; DoorError if it must not cross."""
        raise NotImplementedError

    def rebuild(self, raw: list[Any], decoder: Decoder) -> Any:
        """The reverse of the other side's `describe`."""
        raise NotImplementedError

    def perform(self, message: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Do what the other side asks for."""
        raise NotImplementedError

    def describe_error(self, error: BaseException, encoder: Encoder) -> dict[str, Any]:
        """What went wrong here, for the other side."""
        raise NotImplementedError

    def rebuild_error(self, message: dict[str, Any], decoder: Decoder) -> BaseException:
        """What went wrong there."""
        raise NotImplementedError

    def go_back(self, number: int, accumulate: bool, grad: Any) -> Any:
        """Have the other side go `Gradients.backward`."""
        raise NotImplementedError

    def impossible(self, text: str) -> BaseException:
        """The exception for what cannot be done through the door."""
        raise NotImplementedError

    def ask(self, message: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Have the other side do something.

        Returns:
            The value, and the whole answer.

        Raises:
            BaseException: what `rebuild_error` makes of what was raised there.
        """
        if self._nested >= self.NESTED_LIMIT:
            raise RecursionError("student's code and test call each other too deep")
        self._working = False
        try:
            return self._ask(message, args, kwargs)
        finally:
            self._working = True
            if self._late:
                self._late = False
                raise CellTimeout("the cell was stopped: its time was up")

    def _ask(self, message: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        encoder = Encoder(self.describe)
        try:
            message = {**message, "args": [encoder.value(each) for each in args]}
            message["kwargs"] = [[name, encoder.value(each)] for name, each in kwargs.items()]
        except DoorError:
            self.gradients.undo()
            raise
        self._send(message, encoder)
        self._nested += 1
        try:
            while True:
                answer, buffers = self._receive()
                if "op" not in answer:
                    break
                self.serve(answer, buffers)
        finally:
            self._nested -= 1
        decoder = Decoder(buffers, self.rebuild, encoder.kept)
        self.gradients.hear(answer, decoder)
        for change in answer["changed"]:
            self._change(encoder.kept, change, decoder)
        if answer["error"] is not None:
            raise self.rebuild_error(answer["error"], decoder)
        return decoder.value(answer["value"]), answer

    def serve(self, message: dict[str, Any], buffers: list[memoryview]) -> None:
        """Do what the other side asks for, and answer."""
        decoder = Decoder(buffers, self.rebuild)
        value: Any = None
        failed: BaseException | None = None
        before: list[Any] = []
        try:
            self.gradients.hear(message, decoder)
            args = [decoder.value(each) for each in message["args"]]
            kwargs = {str(name): decoder.value(each) for name, each in message["kwargs"]}
            before = [_snapshot(each) for each in decoder.kept]
            try:
                self._working = True
                value = self.perform(message, args, kwargs)
            finally:
                self._working = False
        except BaseException as error:  # whatever it is, the other side waits for an answer
            failed = error
        self._working = False
        try:
            self._send(*self._answer(decoder.kept, before, value, failed))
        except DoorError as error:  # the answer cannot be sent
            self.gradients.undo()
            self._send(*self._answer([], [], None, error))

    def alarm(self, *_: object) -> None:
        """For SIGALRM: the time is up. Never breaks a frame."""
        if not self._working:
            self._late = True
        else:
            raise CellTimeout("the cell was stopped: its time was up")

    def _answer(
        self, kept: list[Any], before: list[Any], value: object, failed: BaseException | None
    ) -> tuple[dict[str, Any], Encoder]:
        encoder = Encoder(self.describe, {id(each): number for number, each in enumerate(kept)})
        changed = [
            [number, self._content(each, encoder)]
            for number, (each, old) in enumerate(zip(kept, before, strict=False))
            if not _same(each, old)
        ]
        error = None if failed is None else self.describe_error(failed, encoder)
        answer = {"changed": changed, "value": encoder.value(value) if failed is None else None, "error": error}
        return {**answer, **self.remarks()}, encoder

    def _content(self, value: Any, encoder: Encoder) -> Any:
        """What an argument has become. A tensor may have become a leaf, too."""
        drawing = generator(value)
        if drawing:
            return ["rng", *map(encoder.value, drawing)]
        if not isinstance(value, _CONTAINERS) and class_of(value):
            return ["state", [[name, encoder.value(each)] for name, each in state(value).items()]]
        if not _is_tensor(value) or not value.requires_grad:
            return encoder.content(value)
        if not value.is_leaf:
            raise DoorError("a tensor of the test became part of a computation by being changed in place")
        return self.gradients.describe(value, encoder)

    def remarks(self) -> dict[str, Any]:
        """What else an answer says."""
        return {}

    def _change(self, kept: list[Any], change: Any, decoder: Decoder) -> None:
        """What the other side changed in an argument, done here too."""
        number, raw = change
        if type(number) is not int or not 0 <= number < len(kept):
            raise DoorError("a change of nothing that was sent")
        mine = kept[number]
        match raw:
            case [("leaf" | "known"), *_] if _is_tensor(mine):
                self.gradients.adopt(mine, raw, decoder)
            case ["rng", kind, drawn] if (generator(mine) or (None,))[0] == kind:
                set_generator(mine, decoder.value(drawn))
            case ["state", list() as items] if not isinstance(mine, _CONTAINERS) and class_of(mine):
                follow(mine, {str(name): decoder.value(each) for name, each in items})
            case _:
                _become(mine, decoder.value(raw))

    def _send(self, message: dict[str, Any], encoder: Encoder) -> None:
        message = {**message, **self.gradients.news(encoder)}
        self._write(DOOR + pack(message, encoder.buffers))

    def _receive(self) -> tuple[dict[str, Any], list[memoryview]]:
        return unpack(self._read()[len(DOOR) :])


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return bool(torch) and type(value) is torch.Tensor


def _snapshot(value: Any) -> Any:
    """What is needed to see later whether ``value`` was changed."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch and isinstance(value, torch.Tensor):
        return value.shape, value.dtype, value.requires_grad, tensor_bytes(value)
    if numpy and isinstance(value, numpy.ndarray):
        return value.shape, value.dtype, array_bytes(value)
    if isinstance(value, bytearray):
        return bytes(value)
    if not isinstance(value, _CONTAINERS):
        return generator(value) or list(state(value).items())
    return list(value.items()) if isinstance(value, dict) else list(value)


def _same(value: Any, old: Any) -> bool:
    new = _snapshot(value)
    if type(new) is not list:
        return bool(new == old)
    return len(new) == len(old) and all(_is(a, b) for a, b in zip(new, old, strict=True))


def _is(a: Any, b: Any) -> bool:
    if type(a) is tuple and type(b) is tuple and len(a) == len(b) == 2:  # an item of a dict
        return a[0] is b[0] and a[1] is b[1]
    return a is b


def _become(mine: Any, new: Any) -> None:
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch and isinstance(mine, torch.Tensor):
        if type(new) is not torch.Tensor or (new.shape, new.dtype) != (mine.shape, mine.dtype):
            raise DoorError("a tensor changed its shape or type in place")
        mine.data.copy_(new.data)
        return
    if type(new) is not type(mine):
        raise DoorError("an argument became something else")
    if numpy and isinstance(mine, numpy.ndarray):
        if (new.shape, new.dtype) != (mine.shape, mine.dtype):
            raise DoorError("an array changed its shape or type in place")
        mine[...] = new
    elif isinstance(mine, dict | set | deque):
        mine.clear()
        mine.update(new) if not isinstance(mine, deque) else mine.extend(new)
    else:
        mine[:] = new
