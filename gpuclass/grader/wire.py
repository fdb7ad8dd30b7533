"""Frames between host and sandbox, and the only parser of what comes out of one.

A frame is its length in four bytes, then JSON. What a sandbox says is taken apart by exact type and put together anew;
anything unexpected is `Garbled`, which costs the submission its remaining points and nobody else anything.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

from nbformat import NotebookNode
from nbformat.v4 import new_output

from gpuclass.grader.markup import safe_html

LENGTH = struct.Struct(">I")
OUTPUTS_LIMIT = 1000  # outputs of one cell
TRACEBACK_LIMIT = 200  # lines
IMAGE_SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


class Garbled(ValueError):  # noqa: N818  # what the sandbox's words are
    """The sandbox said something that its agent never says."""


@dataclass(frozen=True)
class CellRun:
    """What running one cell brought: whether it ran to its end, and nbformat outputs that are safe to show."""

    ok: bool
    outputs: tuple[NotebookNode, ...] = ()


def encode(message: object) -> bytes:
    """One frame."""
    body = json.dumps(message, ensure_ascii=True).encode("ascii")
    return LENGTH.pack(len(body)) + body


def decode(body: bytes) -> dict[str, Any]:
    """The object in a frame's body.

    Raises:
        Garbled: not JSON, not an object, nested too deep, or with numbers that JSON does not know.
    """
    try:
        message = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Garbled(f"not JSON: {type(error).__name__}") from None
    fields: dict[str, Any] = _typed(message, dict)
    return fields


def reply(message: dict[str, Any], expected_id: str) -> CellRun:
    """The agent's answer to the cell ``expected_id``.

    Raises:
        Garbled: any key, type or id that does not belong there.
    """
    _keys(message, {"id", "ok", "outputs"})
    if message["id"] != expected_id:
        raise Garbled("an answer to another question")
    outputs = _typed(message["outputs"], list)
    if len(outputs) > OUTPUTS_LIMIT:
        raise Garbled("too many outputs")
    shown = [output(raw) for raw in outputs]
    return CellRun(_typed(message["ok"], bool), tuple(each for each in shown if each is not None))


def made(kind: str, **fields: Any) -> NotebookNode:
    """An output in nbformat's form."""
    node: NotebookNode = new_output(kind, **fields)
    return node


def output(raw: object) -> NotebookNode | None:
    """One output in nbformat's form, safe to show; None when nothing in it may be shown."""
    fields = _typed(raw, dict)
    match fields.get("type"):
        case "stream":
            _keys(fields, {"type", "name", "text"})
            if fields["name"] not in ("stdout", "stderr"):
                raise Garbled("unknown stream")
            return made("stream", name=fields["name"], text=text(fields["text"]))
        case "error":
            _keys(fields, {"type", "name", "message", "traceback"})
            lines = [text(line) for line in _typed(fields["traceback"], list)[:TRACEBACK_LIMIT]]
            return made("error", ename=text(fields["name"]), evalue=text(fields["message"]), traceback=lines)
        case "display" | "result" as kind:
            _keys(fields, {"type", "data"})
            data = _shown(_typed(fields["data"], dict))
            if not data:
                return None
            if kind == "display":
                return made("display_data", data=data)
            return made("execute_result", data=data, execution_count=None)
    raise Garbled("unknown kind of output")


def text(value: object) -> str:
    """A string that can be written as UTF-8 and has no NUL."""
    known: str = _typed(value, str)
    return known.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def _shown(data: dict[str, Any]) -> dict[str, str]:
    """The types on the allow-list, each made safe; others are left out."""
    shown: dict[str, str] = {}
    for mime, value in data.items():
        if mime == "text/plain":
            shown[mime] = text(value)
        elif mime == "text/html":
            shown[mime] = safe_html(text(value))
        elif mime in IMAGE_SIGNATURES and _is_image(mime, _typed(value, str)):
            shown[mime] = value
    return shown


def _is_image(mime: str, value: str) -> bool:
    try:
        return base64.b64decode(value, validate=True).startswith(IMAGE_SIGNATURES[mime])
    except (binascii.Error, ValueError):
        return False


def _keys(fields: dict[str, Any], expected: set[str]) -> None:
    if fields.keys() != expected:
        raise Garbled("unexpected keys")


def _typed(value: object, kind: type) -> Any:
    if type(value) is not kind:
        raise Garbled(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
