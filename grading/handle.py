"""What a test holds of an object that is in the student's process."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, NoReturn, Protocol

TEXT_LIMIT = 2000  # characters of the text of an object
CLASSES_LIMIT = 20


class Refusing(Protocol):
    """The referee, as a handle needs it."""

    def student(self, op: str, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the student's side do something."""

    def refuse(self, handle: Handle, what: str) -> BaseException:
        """The fault of using a student's object where a test needs data."""


class Handle:
    """An object in the student's process. What is done with it is done there; it never decides a comparison.

    Every handle is of a subclass with its object's own abilities: ``class_with``.
    """

    __slots__ = ("_kind", "_number", "_of", "_open", "_path", "_referee")

    def __init__(self, referee: Refusing, number: int, path: str, kind: str, is_open: bool, of: type | None) -> None:
        for name, value in (
            *(("_referee", referee), ("_number", number), ("_path", path)),
            *(("_kind", kind), ("_open", is_open), ("_of", of)),
        ):
            object.__setattr__(self, name, value)

    @property
    def __class__(self) -> Any:
        """What `isinstance` asks when its type is not the answer: the library's class that it says it derives from."""
        return (self._open and self._of) or Handle

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            if name in ("__name__", "__qualname__"):
                return self._path.rsplit(".", 1)[-1]
            raise AttributeError(name)
        return self._do("attr", f".{name}", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._do("setattr", "", name, value)

    def __bool__(self) -> bool:
        return bool(self._plain("bool", bool))

    def __deepcopy__(self, memo: Any) -> Any:
        return self._do("deepcopy", "")

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, Handle) and bool(self._plain("isinstance", bool, value))

    def __str__(self) -> str:
        return str(self._plain("str", str))[:TEXT_LIMIT] if self._open else repr(self)

    def __repr__(self) -> str:
        return f"<student's {self._kind}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Handle) and self._open and other._open:
            return self is other
        raise self._referee.refuse(self, "==")

    def __hash__(self) -> int:
        return id(self)

    def _refused(self, *_: object) -> NoReturn:
        raise self._referee.refuse(self, "<, + and the like")

    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refused
    __truediv__ = __rtruediv__ = __matmul__ = __rmatmul__ = __neg__ = __abs__ = __round__ = __index__ = _refused
    __pow__ = __mod__ = __floordiv__ = __and__ = __or__ = __xor__ = __invert__ = __format__ = _refused
    __reduce_ex__ = __array__ = __complex__ = _refused

    def _do(self, op: str, step: str, *args: Any, **kwargs: Any) -> Any:
        if not self._open:
            raise self._referee.refuse(self, op)
        return self._referee.student(op, self._path + step, (self, *args), kwargs)

    def _plain(self, op: str, kind: type, *args: Any) -> Any:
        value = self._do(op, "", *args)
        if type(value) is not kind:
            raise self._referee.refuse(self, op)
        return value


class _Protocol(Handle):
    """What Python's syntax and built-in functions ask of an object. A handle has of it what its object has."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, there."""
        return self._do("call", "()", *args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self._do("item", "[]", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._do("setitem", "", key, value)

    def __len__(self) -> int:
        return int(self._plain("len", int))

    def __iter__(self) -> Any:
        return self._do("iter", ".__iter__()")

    def __next__(self) -> Any:
        return self._do("next", "[]")

    def __contains__(self, value: Any) -> bool:
        return bool(self._plain("contains", bool, value))

    def __enter__(self) -> Any:
        return self._do("enter", ".__enter__()")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return bool(self._do("exit", "", None, None, None))

    def __int__(self) -> int:
        return int(self._plain("int", int))

    def __float__(self) -> float:
        return float(self._plain("float", float))


ABILITIES = tuple(name for name, each in vars(_Protocol).items() if callable(each))
"""Names of methods whose presence a test can tell from outside: ``callable``, ``hasattr``, ``collections.abc``."""


def abilities(value: object) -> list[str]:
    """Which of ``ABILITIES`` an object has, by its class; asked on the student's side."""
    has: dict[str, object] = {}
    for each in reversed(type(value).__mro__):  # getattr would find what its metaclass has: every class can be called
        has |= vars(each)
    return [name for name in ABILITIES if has.get(name) is not None]


@lru_cache(maxsize=64)
def class_with(names: frozenset[str]) -> type[Handle]:
    """The class of handles of objects that have these abilities.

    They are as the student's side says. To claim one costs as much as to have it: what it then does is asked there.
    """
    return type("Handle", (Handle,), {"__slots__": ()} | {name: vars(_Protocol)[name] for name in names})


def known_class(names: list[object], shared: dict[str, type]) -> type | None:
    """The first class here that an object says it derives from: of the kinds of torch's that stand for no data, or
    ``shared``: of read-only cells.
    """
    torch = sys.modules.get("torch")
    kinds: tuple[type, ...] = ()
    if torch:
        kinds = torch.nn.Module, torch.optim.Optimizer, torch.utils.data.Dataset, torch.utils.data.DataLoader
    for name in names[:CLASSES_LIMIT]:
        place, _, own = name.rpartition(".") if type(name) is str else ("", "", "")
        if place == "__main__" and own in shared:
            return shared[own]
        found = getattr(sys.modules.get(place), own, None) if place.startswith("torch.") else None
        if isinstance(found, type) and issubclass(found, kinds):
            return found
    return None
