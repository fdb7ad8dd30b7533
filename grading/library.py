"""Objects of the library that a test makes: a layer, an optimizer, a loader, a generator of random numbers.

They are described by class and state and made anew on the student's side, which is asked for nothing but what became of
the state. Of that only numbers, words and the tensors inside are taken over, never a class or a function.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections import defaultdict
from typing import Any

from door import DoorError

_LIBRARIES = ("torch.", "torchvision.")
_SIMPLE = (type(None), bool, int, float, str)
_OUTSIDE = frozenset(("_iterator", "step"))  # a loader's workers; an optimizer's own wrapper around its method


def class_of(value: object) -> tuple[str, str] | None:
    """Module and name of the class of an object of a library; None if it is none, or one without a state."""
    kind = type(value)
    place, name = kind.__module__, kind.__qualname__
    if not f"{place}.".startswith(_LIBRARIES) or getattr(sys.modules.get(place), name, None) is not kind:
        return None
    return (place, name) if hasattr(value, "__dict__") and not _is_data(value) else None


def _is_data(value: object) -> bool:
    torch = sys.modules.get("torch")
    return bool(torch) and isinstance(value, torch.Tensor | torch.Generator)


def blank(place: str, name: str) -> Any:
    """An object of this class without any state yet."""
    kind = getattr(importlib.import_module(place), name)
    return kind.__new__(kind)


def state(value: Any) -> dict[str, Any]:
    """What makes an object what it is. An optimizer's memory of each parameter is a list of pairs."""
    found = value.__getstate__()
    if type(found) is not dict:
        raise DoorError(f"a {type(value).__name__} cannot be described")
    found = {name: each for name, each in found.items() if name not in _OUTSIDE}
    if _is_optimizer(value):
        found["state"] = [[parameter, dict(memory)] for parameter, memory in value.state.items()]
    return found


def fill(made: Any, new: dict[str, Any]) -> None:
    """Give an object of the student's side this state."""
    if _is_optimizer(made):
        new["state"] = defaultdict(dict, new["state"])  # a list of pairs
    if hasattr(made, "__setstate__"):
        made.__setstate__({**vars(made), **new})
    else:
        made.__dict__.update(new)


def follow(mine: Any, new: Any) -> None:
    """Take over what the student's side made of an object of ours.

    Raises:
        DoorError: more has changed than numbers, words and tensors.
    """
    if type(new) is not dict:
        raise DoorError("no state")
    old = state(mine)
    if _is_optimizer(mine):
        _remember(mine, new.pop("state", None))
    for name, each in new.items():
        if name not in old or each is old[name]:
            continue  # what the student's code noted on it for itself is not the test's
        if not (_is_simple(each) and _is_simple(old[name])):
            raise DoorError(f"{type(mine).__name__}.{name} was replaced")
        mine.__dict__[name] = each


def _is_simple(value: Any) -> bool:
    """Numbers and words, in lists and the like too."""
    if type(value) in (list, tuple):
        return all(map(_is_simple, value))
    return type(value) in _SIMPLE


def _remember(optimizer: Any, pairs: Any) -> None:
    torch = sys.modules["torch"]
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    if type(pairs) is not list:
        raise DoorError("no optimizer's memory")
    memory = {}
    for pair in pairs:
        if type(pair) is not list or len(pair) != 2 or type(pair[1]) is not dict:
            raise DoorError("no optimizer's memory")
        if not any(pair[0] is each for each in parameters):
            raise DoorError("the memory of another optimizer")
        if any(type(each) not in (*_SIMPLE, torch.Tensor) for each in pair[1].values()):
            raise DoorError("an optimizer remembers something else than numbers")
        memory[pair[0]] = pair[1]
    optimizer.state.clear()
    optimizer.state.update(memory)


def _is_optimizer(value: object) -> bool:
    torch = sys.modules.get("torch")
    return bool(torch) and isinstance(value, torch.optim.Optimizer)


def generator(value: object) -> tuple[str, Any] | None:
    """Kind and state of a generator of random numbers; None if it is none."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if type(value) is random.Random:
        return "random", value.getstate()
    if torch and type(value) is torch.Generator and value.device.type == "cpu":
        return "torch", value.get_state().numpy().tobytes()
    if numpy and type(value) is numpy.random.Generator and type(value.bit_generator) is numpy.random.PCG64:
        return "numpy", value.bit_generator.state
    return None


def new_generator(kind: str) -> Any:
    """A generator of this kind, in any state."""
    if kind == "random":
        return random.Random()  # noqa: S311  # not for secrets
    return sys.modules["torch"].Generator() if kind == "torch" else sys.modules["numpy"].random.default_rng()


def set_generator(value: Any, new: Any) -> None:
    """Put a generator into a state; it checks that itself."""
    match generator(value):
        case "random", _:
            value.setstate(new)
        case "torch", _:
            torch = sys.modules["torch"]
            value.set_state(torch.frombuffer(bytearray(new), dtype=torch.uint8))
        case "numpy", _:
            value.bit_generator.state = new
