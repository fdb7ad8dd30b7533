"""Sizes and durations as people write them in class.toml: ``"4G"``, ``"90s"``; numbers of bytes and seconds inside."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT])")
_SIZE_STEPS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION_STEPS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def size(text: object) -> int:
    """Bytes in a size such as ``"512M"`` or ``"1.5G"`` (powers of 1024).

    Raises:
        ValueError: no unit, an unknown unit, or not a string.
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ValueError('is not a size; write a number and K, M, G or T in quotes, such as "512M" or "4G"')
    return int(float(match[1]) * _SIZE_STEPS[match[2]])


def duration(text: object) -> float:
    """Seconds in a duration such as ``"90s"``, ``"10m"`` or ``"1h"``.

    Raises:
        ValueError: no unit, an unknown unit, or not a string.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ValueError('is not a duration; write a number and ms, s, m, h or d in quotes, such as "90s" or "10m"')
    return float(match[1]) * _DURATION_STEPS[match[2]]


def show_size(count: int) -> str:
    """A size a person can read: ``show_size(1610612736) == "1.5G"``."""
    for unit, step in reversed(_SIZE_STEPS.items()):
        if count >= step:
            return f"{count / step:.4g}{unit}"
    return f"{count}B"


Size = Annotated[
    int, BeforeValidator(size), Field(gt=0), WithJsonSchema({"type": "string", "title": "size", "examples": ["4G"]})
]
Duration = Annotated[
    float,
    BeforeValidator(duration),
    Field(gt=0),
    WithJsonSchema({"type": "string", "title": "duration", "examples": ["90s"]}),
]
