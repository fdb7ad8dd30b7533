"""What people send: received in pieces up to a limit, then taken apart. Nothing is buffered before it is measured.

A request is refused by its ``Content-Length`` if it has one, and in any case as soon as more than the limit has come.
What is under way lies on disk; only as many large ones as ``LARGE_AT_ONCE`` are in memory.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import unquote_to_bytes

import anyio
from anyio import to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.requests import ClientDisconnect

from gpuclass.exchange.errors import Refusal
from gpuclass.exchange.limits import AtOnce, PerMinute, TooFast, TooMany
from gpuclass.exchange.messages import Language, megabytes, say
from gpuclass.exchange.names import DEPTH_LIMIT, UnsafeName, file_paths
from gpuclass.exchange.wire import WireError, decode_tree
from gpuclass.settings import ExchangeSection

FORM_LIMIT = 2**20  # bytes of a form without files
LARGE = 2 * 2**20  # bytes; smaller requests stay in memory
LARGE_AT_ONCE = 2
PIECE = 2**20  # bytes written to disk and read from there at a time
UPLOAD_TIMEOUT_S = 300.0  # 50 MB over a slow school network take less
UPLOADS_AT_ONCE = 2  # of one person
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
    """Receives forms within ``limits``.

    Args:
        limits: ``settings.exchange``.
        language: of the refusals.
        folder: for what is under way.
    """

    def __init__(self, limits: ExchangeSection, language: Language, folder: Path) -> None:
        self._limits = limits
        self._language = language
        self._folder = folder
        self._per_minute = PerMinute(limits.per_minute)
        self._at_once = AtOnce(UPLOADS_AT_ONCE)
        self._large = anyio.CapacityLimiter(LARGE_AT_ONCE)
        self._tree_limit = int(limits.submission_limit * BASE64) + ENTRY_LIMIT * limits.files_limit

    def count_submission(self, login: str) -> None:
        """Count a submission of this person.

        Raises:
            Refusal: 429, too many in a minute.
        """
        try:
            self._per_minute.take(login)
        except TooFast as refusal:
            text = self._say("rate", limit=self._limits.per_minute, seconds=refusal.wait)
            raise Refusal(429, text, headers={"Retry-After": str(refusal.wait)}) from None

    async def form(self, request: Request, login: str, work: Callable[[Form], T]) -> T:
        """Receive a small form and hand it to ``work``, in a thread."""
        return await self._receive(request, login, FORM_LIMIT, work)

    async def tree(self, request: Request, login: str, work: Callable[[Form], T]) -> T:
        """Receive a form that carries a directory tree and hand it to ``work``, in a thread."""
        stretch = PERCENT if _content_type(request)[0] == _URLENCODED else 1
        return await self._receive(request, login, FORM_LIMIT + stretch * self._tree_limit, work)

    def files(self, form: Form) -> dict[str, bytes]:
        """The files in a form's field ``files``: safe paths, within all limits.

        Raises:
            Refusal: 400 in ngshare's words, or 413.
        """
        text = form.get("files")
        if text is None:
            raise Refusal(400, "Please supply files")
        if len(text) > self._tree_limit:
            raise Refusal(413, self._say("size.request", limit=megabytes(self._limits.submission_limit)))
        if text.count(b",") > COMMAS_PER_FILE * self._limits.files_limit:
            raise self._too_many(text.count(b'"path"'))
        try:
            entries = decode_tree(text)
        except WireError as error:
            raise Refusal(400, str(error)) from None
        if len(entries) > self._limits.files_limit:
            raise self._too_many(len(entries))
        try:
            paths = file_paths(path for path, _ in entries)
        except UnsafeName as error:
            hint = self._say(f"name.{error.reason}", name=error.name, limit=DEPTH_LIMIT)
            raise Refusal(400, "Illegal path", hint) from None
        files = {path: content for path, (_, content) in zip(paths, entries, strict=True)}
        self._check_sizes(files)
        return files

    def _check_sizes(self, files: dict[str, bytes]) -> None:
        for path, content in files.items():
            if len(content) > self._limits.file_limit:
                limit, size = megabytes(self._limits.file_limit), megabytes(len(content))
                raise Refusal(413, self._say("size.file", name=path, size=size, limit=limit))
        total = sum(map(len, files.values()))
        if total > self._limits.submission_limit:
            limit, size = megabytes(self._limits.submission_limit), megabytes(total)
            raise Refusal(413, self._say("size.submission", size=size, limit=limit))

    async def _receive(self, request: Request, login: str, limit: int, work: Callable[[Form], T]) -> T:
        content_type, boundary = _content_type(request)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal(415, "Content-Encoding is not supported; send the form as it is")
        async with AsyncExitStack() as stack:
            try:
                stack.enter_context(self._at_once.one(login))
            except TooMany:
                raise Refusal(429, self._say("busy"), headers={"Retry-After": "5"}) from None
            body, size = await stack.enter_async_context(self._spooled(request, limit))
            if size > LARGE:
                await stack.enter_async_context(self._large)
            return await to_thread.run_sync(lambda: work(parse(content_type, boundary, body)))

    @asynccontextmanager
    async def _spooled(self, request: Request, limit: int) -> AsyncIterator[tuple[IO[bytes], int]]:
        """The request's body as a file, on disk when it is large, and its size."""
        too_large = Refusal(413, self._say("size.request", limit=megabytes(min(limit, self._limits.submission_limit))))
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            raise too_large
        with tempfile.SpooledTemporaryFile(max_size=LARGE, dir=str(self._folder)) as body:
            size = 0
            piece = bytearray()
            try:
                async with asyncio.timeout(UPLOAD_TIMEOUT_S):
                    async for chunk in request.stream():
                        size += len(chunk)
                        if size > limit:
                            raise too_large
                        piece += chunk
                        if len(piece) >= PIECE:
                            await to_thread.run_sync(body.write, bytes(piece))
                            piece.clear()
            except TimeoutError:
                raise Refusal(408, self._say("slow", seconds=int(UPLOAD_TIMEOUT_S))) from None
            except ClientDisconnect:
                raise Refusal(400, "The request ended early") from None  # nobody reads this any more
            body.write(bytes(piece))
            body.seek(0)
            yield body, size

    def _too_many(self, count: int) -> Refusal:
        return Refusal(413, self._say("size.count", count=count, limit=self._limits.files_limit))

    def _say(self, key: str, **values: object) -> str:
        return say(self._language, key, **values)


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
        raise Refusal(400, "The form cannot be read") from None


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


def _content_type(request: Request) -> tuple[bytes, bytes | None]:
    kind, options = parse_options_header(request.headers.get("content-type"))
    return kind, options.get(b"boundary")
