"""An encoded directory tree as an answer, made while it is sent: at any time a piece of it is in memory.

What somebody asks for and does not read would else stay in memory, whole and in base64, for as long as they please.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.responses import StreamingResponse

from gpuclass.exchange.records import File
from gpuclass.exchange.store.store import Store

PIECE = 3 * 2**16  # bytes of a file at a time; a multiple of three, so that base64 needs padding at its end only


class TreeResponse(StreamingResponse):
    """``{"success": true, …, "files": [{"path", "content", "checksum"}, …]}``.

    Args:
        store: where the files are.
        files: which.
        content: what else the answer says, before them.

    Raises:
        OSError: a file is not there. Later it could only break the answer off.
    """

    media_type = "application/json"

    def __init__(self, store: Store, files: Iterable[File], **content: Any) -> None:
        files = list(files)
        for file in files:
            store.blobs.path(file.sha256).stat()
        super().__init__(_collected(_text(store, files, {"success": True, **content})))


def _text(store: Store, files: Iterable[File], content: dict[str, Any]) -> Iterator[bytes]:
    yield _json(content)[:-1] + b',"files":['
    between = b""
    for file in files:
        yield between + b'{"path":' + _json(file.path) + b',"content":"'
        with store.blobs.path(file.sha256).open("rb") as source:
            while piece := source.read(PIECE):
                yield base64.b64encode(piece)
        yield b'","checksum":' + _json(file.md5) + b"}"
        between = b","
    yield b"]}"


def _collected(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same in pieces that are worth a thread's while."""
    collected = bytearray()
    for piece in pieces:
        collected += piece
        if len(collected) >= PIECE:
            yield bytes(collected)
            collected.clear()
    yield bytes(collected)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
