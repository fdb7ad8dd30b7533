"""The streaming upload as the exchange takes it: one form, first what will come, then the files as they are.

``requests`` can stream a body but makes forms in memory; this is the form, in pieces. Its length is known beforehand,
so the service can refuse it before any of it is read.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from gpuclass.exchange.client.connection import Refused
from gpuclass.exchange.client.folder import is_gone
from gpuclass.exchange.client.outbox import CHUNK, Piece, Press


class Changed(Exception):  # noqa: N818  # what it is
    """A file is not what it was when it was pressed; nothing of the press can be sent."""


class Unreadable(Refused):
    """A file could not be read this time, which says nothing about what is in it; it passes."""


class Upload:
    """The body of one request; to be iterated once.

    Args:
        press: what is sent.
        openers: how to open each file, in the order of ``press.files``.
        queued: whether it is sent later than it was pressed.
    """

    def __init__(self, press: Press, openers: Sequence[Callable[[], BinaryIO]], *, queued: bool) -> None:
        boundary = secrets.token_hex(16)
        manifest: dict[str, Any] = {
            "files": [{"path": piece.path, "size": piece.size, "sha256": piece.sha256} for piece in press.files],
            "version": press.version,
            "queued": press.pressed if queued else None,
        }
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._files = list(zip(press.files, openers, strict=True))
        self._first = _part(boundary, 'name="manifest"', "application/json") + json.dumps(manifest).encode() + b"\r\n"
        self._head = _part(boundary, 'name="file"; filename="file"', "application/octet-stream")
        self._end = f"--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        """Bytes in all: ``requests`` announces them."""
        files = sum(len(self._head) + piece.size + 2 for piece, _ in self._files)
        return len(self._first) + files + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        """The form, piece by piece.

        Raises:
            Changed: a file is gone, or longer or shorter than it was.
            Unreadable: the disk or the system failed at it.
        """
        yield self._first
        for piece, open_file in self._files:
            yield self._head
            yield from _content(piece, open_file)
            yield b"\r\n"
        yield self._end


def _part(boundary: str, name: str, content_type: str) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\nContent-Type: {content_type}\r\n\r\n".encode()


def _content(piece: Piece, open_file: Callable[[], BinaryIO]) -> Iterator[bytes]:
    left = piece.size
    try:
        with open_file() as file:
            while content := file.read(CHUNK):
                left -= len(content)
                if left < 0:
                    break
                yield content
    except OSError as error:
        if is_gone(error):
            raise Changed(piece.path) from error
        raise Unreadable(piece.path) from error
    if left:
        raise Changed(piece.path)
