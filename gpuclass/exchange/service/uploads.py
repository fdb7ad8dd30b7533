"""What people send: received in pieces up to a limit, then taken apart. Nothing is buffered before it is measured.

A request is refused by its ``Content-Length`` if it has one, and in any case as soon as more than the limit has come.
What is under way lies on disk; only as many large ones as ``LARGE_AT_ONCE`` are in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import unquote_to_bytes

import anyio
from anyio import to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from gpuclass.exchange.service.body import check_announced, check_encoding, chunks
from gpuclass.exchange.service.bounds import Bounds
from gpuclass.exchange.service.errors import Refusal
from gpuclass.exchange.service.pacing import Pacing
from gpuclass.exchange.wire import WireError, decode_tree

FORM_LIMIT = 2**20  # bytes of a form without files
LARGE = 2 * 2**20  # bytes; smaller requests stay in memory
LARGE_AT_ONCE = 2
PIECE = 2**20  # bytes written to disk and read from there at a time
FIELDS_LIMIT = 16  # of a form; ngshare's have at most three
BASE64 = 4 / 3 * 78 / 76  # bytes of text a byte: base64 in lines of 76, each ended by an escaped \n
PERCENT = 3  # characters a character when percent-encoded
ENTRY_LIMIT = 8192  # bytes of JSON around one file's content: its path, escaped, and its checksum
ESCAPES_LIMIT = 500_000  # rare ones in a form; Korean paths have some hundred
COMMAS_PER_FILE = 512  # in its path and between its keys; more would be a list made to fill the memory

T = TypeVar("T")
Form = dict[str, bytes]

_URLENCODED = b"application/x-www-form-urlencoded"
_MULTIPART = b"multipart/form-data"
_COMMON_ESCAPES = [
    (escape, character.encode())
    for character in '+/="[]{}:,\\\n\r '  # of base64 and of JSON around it; not "%", which makes new escapes
    for escape in {f"%{ord(character):02X}".encode(), f"%{ord(character):02x}".encode()}
]


class Uploads:
    """Receives forms within bounds.

    Args:
        bounds: what a submission may be.
        pacing: how much at once.
        folder: for what is under way.
        check_room: raises an ``OSError`` when the disk has no room for so many bytes.
    """

    def __init__(self, bounds: Bounds, pacing: Pacing, folder: Path, check_room: Callable[[int], None]) -> None:
        self.bounds = bounds
        self._pacing = pacing
        self._limits = limits = bounds.limits
        self._folder = folder
        self._check_room = check_room
        self._large = anyio.CapacityLimiter(LARGE_AT_ONCE)
        self._tree_limit = int(limits.submission_limit * BASE64) + ENTRY_LIMIT * limits.files_limit

    async def form(self, request: Request, login: str, work: Callable[[Form], T]) -> T:
        """Receive a small form and hand it to ``work``, in a thread."""
        return await self._receive(request, login, FORM_LIMIT, work)

    async def tree(self, request: Request, login: str, work: Callable[[Form], T]) -> T:
        """Receive a form that carries a directory tree and hand it to ``work``, in a thread."""
        stretch = PERCENT if content_type_of(request)[0] == _URLENCODED else 1
        return await self._receive(request, login, FORM_LIMIT + stretch * self._tree_limit, work)

    def files(self, form: Form) -> dict[str, bytes]:
        """The files in a form's field ``files``: safe paths, within all limits.

        Raises:
            Refusal: 400 in ngshare's words, or 413.
        """
        text = form.get("files")
        if text is None:
            raise Refusal(400, "Please supply files", reason="form")
        if len(text) > self._tree_limit:
            raise self.bounds.too_large()
        if text.count(b",") > COMMAS_PER_FILE * self._limits.files_limit:
            self.bounds.check_count(max(text.count(b'"path"'), self._limits.files_limit + 1))
        try:
            entries = decode_tree(text)
        except WireError as error:
            raise Refusal(400, str(error), reason="form") from None
        self.bounds.check_count(len(entries))
        paths = self.bounds.paths(path for path, _ in entries)
        files = {path: content for path, (_, content) in zip(paths, entries, strict=True)}
        self.bounds.check_sizes({path: len(content) for path, content in files.items()})
        return files

    async def _receive(self, request: Request, login: str, limit: int, work: Callable[[Form], T]) -> T:
        content_type, boundary = content_type_of(request)
        check_encoding(request)
        async with AsyncExitStack() as stack:
            stack.enter_context(self._pacing.uploading(login))
            body, size = await stack.enter_async_context(self._spooled(request, limit))
            if size > LARGE:
                await stack.enter_async_context(self._large)
            return await to_thread.run_sync(lambda: work(parse(content_type, boundary, body)))

    @asynccontextmanager
    async def _spooled(self, request: Request, limit: int) -> AsyncIterator[tuple[IO[bytes], int]]:
        """The request's body as a file, on disk when it is large, and its size."""
        self._check_room(check_announced(request, limit, self.bounds))
        with tempfile.SpooledTemporaryFile(max_size=LARGE, dir=str(self._folder)) as body:
            size = 0
            piece = bytearray()
            async with aclosing(chunks(request, limit, self.bounds)) as pieces:
                async for chunk in pieces:
                    size += len(chunk)
                    piece += chunk
                    if len(piece) >= PIECE:
                        self._check_room(len(piece))
                        await to_thread.run_sync(body.write, bytes(piece))
                        piece.clear()
            body.write(bytes(piece))
            body.seek(0)
            yield body, size


def parse(content_type: bytes, boundary: bytes | None, body: IO[bytes]) -> Form:
    """The fields of a form; of two with the same name the last. Another kind of body has none.

    Raises:
        Refusal: 400, it is not a form, or has too many fields.
    """
    if content_type not in (_URLENCODED, _MULTIPART):
        return {}
    fields: list[Field] = []

    def on_field(field: Field) -> None:
        if len(fields) >= FIELDS_LIMIT:
            raise FormParserError("too many fields")
        fields.append(field)

    def on_file(file: File) -> None:
        file.close()
        raise FormParserError("files travel as text in a field")

    try:
        parser = FormParser(content_type.decode(), on_field, on_file, boundary=boundary)
        while piece := body.read(PIECE):
            parser.write(piece)
        parser.finalize()
        if content_type == _URLENCODED:
            return {_plain(field.field_name).decode(): _plain(field.value) for field in fields}
        return {(field.field_name or b"").decode(): field.value or b"" for field in fields}
    except (FormParserError, UnicodeDecodeError):
        raise Refusal(400, "The form cannot be read", reason="form") from None


def _plain(text: bytes | None) -> bytes:
    """Percent-encoded text, decoded.

    ``unquote_to_bytes`` alone takes a second and 100 MB for a million escapes; those that a tree is full of go first.
    """
    text = (text or b"").replace(b"+", b" ")
    for escape, character in _COMMON_ESCAPES:
        text = text.replace(escape, character)
    if text.count(b"%") > ESCAPES_LIMIT:
        raise FormParserError("too many escapes")
    return unquote_to_bytes(text)


def content_type_of(request: Request) -> tuple[bytes, bytes | None]:
    """The body's kind, and what stands between the parts of a multipart form."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    return kind, options.get(b"boundary")
