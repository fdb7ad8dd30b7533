"""What travels: ngshare's *encoded directory tree* and its times. Pure; both sides use it.

A tree is a JSON list of ``{"path", "content" (base64), "checksum" (MD5 of the content)}``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

FEEDBACK_MARK = '<meta name="generator" content="gpuclass feedback">'  # pages without it were made by something else
TIME_FORMAT = "%Y-%m-%d %H:%M:%S.%f %Z"


class WireError(ValueError):
    """What arrived is not a directory tree; the text is ngshare's."""


def show_time(moment: datetime) -> str:
    """A time as ngshare writes it: ``2020-01-30 10:30:47.524219 UTC``."""
    return moment.astimezone(UTC).strftime(TIME_FORMAT)


def read_time(text: str) -> datetime:
    """The time in ngshare's format; only UTC is known.

    Raises:
        ValueError: another format or zone.
    """
    if not text.endswith(" UTC"):
        raise ValueError(f"{text!r} is not a time in UTC")
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)


def encode_tree(files: Mapping[str, bytes]) -> str:
    """Files as an encoded directory tree."""
    return json.dumps(
        [{"path": path, "content": base64.b64encode(content).decode()} for path, content in files.items()]
    )


def decode_tree(text: str | bytes) -> list[tuple[str, bytes]]:
    """The files of an encoded directory tree, paths as they were sent.

    Raises:
        WireError: it is not one.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise WireError("Files cannot be JSON decoded") from None
    if not isinstance(entries, list):
        raise WireError("Files cannot be JSON decoded")
    return [_decode_entry(entry) for entry in entries]


def _decode_entry(entry: Any) -> tuple[str, bytes]:
    match entry:
        case {"path": str(path), "content": str(content)}:
            pass
        case _:
            raise WireError("Files cannot be JSON decoded")
    try:
        bare = content.translate({10: None, 13: None})  # base64.encodebytes, which ngshare's client uses, wraps lines
        return path, base64.b64decode(bare, validate=True)
    except (binascii.Error, ValueError):
        raise WireError("Content cannot be base64 decoded") from None
