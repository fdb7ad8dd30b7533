"""The streaming upload: one form whose first part says what follows, then each file's bytes as they are.

All that can be refused is refused before the content is read. What comes is hashed and written piece by piece, in
threads; a request has never more than ``PIECE`` and what the network hands over in memory. Only when every file has
come whole does the store take them; a request that ends before leaves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast

import anyio
from anyio import to_thread
from fastapi import Request

from gpuclass.exchange.service.body import check_encoding, chunks
from gpuclass.exchange.service.bounds import Bounds
from gpuclass.exchange.service.errors import Refusal
from gpuclass.exchange.service.manifest import MANIFEST_LIMIT, Entry, Manifest, read_manifest
from gpuclass.exchange.service.pacing import Pacing
from gpuclass.exchange.service.parts import PART_END, Event, Part, Parts, unreadable
from gpuclass.exchange.service.uploads import content_type_of
from gpuclass.exchange.store.deadlines import Deadline, Deadlines
from gpuclass.exchange.store.store import Draft, File, KeyReused, NotFound, QuotaExceeded, Store, Submission
from gpuclass.exchange.store.trees import BLOCK

PIECE = 2**18  # bytes collected before they are written
PART_LIMIT = 2**10  # bytes of a part's own: boundary, headers, file name
MANIFEST_TIMEOUT_S = 30.0  # from the headers on: who is in time must say by then what the work is
WRITERS = 16  # threads that write uploads at the same time; the rest of the service's are for everything else

T = TypeVar("T")


@dataclass(frozen=True)
class Receipt:
    """What was kept, and whether it is late by the deadline as it is now."""

    submission: Submission
    files: int
    due: datetime | None
    late: bool


class Streams:
    """Receives streaming uploads into a store.

    Args:
        store: where they go.
        bounds: what a submission may be.
        pacing: how often and how much at once.
    """

    def __init__(self, store: Store, bounds: Bounds, pacing: Pacing) -> None:
        self._store = store
        self._deadlines = Deadlines(store)
        self._bounds = bounds
        self._pacing = pacing
        self._writers = anyio.CapacityLimiter(WRITERS)
        limits = bounds.limits
        self._limit = limits.submission_limit + MANIFEST_LIMIT + PART_LIMIT * (limits.files_limit + 1)

    async def receive(self, request: Request, course: str, assignment: str, student: str, key: str) -> Receipt:
        """A submission, kept; what came under this key before is given back as it was then.

        Raises:
            Refusal: nothing was kept.
            NotFound: the course or the assignment.
            OSError: the disk is full or broken; nothing was kept.
        """
        kind, boundary = content_type_of(request)
        if kind != b"multipart/form-data":
            raise Refusal(415, "Please send multipart/form-data", reason="form")
        check_encoding(request)
        parts = Parts(boundary)
        async with AsyncExitStack() as places:
            places.enter_context(self._pacing.asking(student))
            pieces = await places.enter_async_context(aclosing(chunks(request, self._limit, self._bounds)))
            events = await places.enter_async_context(aclosing(_events(pieces, parts)))
            try:
                async with asyncio.timeout(MANIFEST_TIMEOUT_S):
                    text = await _manifest(events)
            except TimeoutError:
                raise Refusal(408, self._bounds.say("slow", seconds=int(MANIFEST_TIMEOUT_S)), reason="slow") from None
            place = course, assignment, student
            manifest, again, obstacle = await self._in_thread(lambda: self._asked(place, key, text))
            if again is not None:
                return again
            places.enter_context(self._pacing.uploading(student))
            self._pacing.count_submission(student)
            if obstacle is not None:
                raise obstacle
            upload = _Upload(self._store, self._bounds, manifest)
            try:
                async for event in events:
                    work = upload.take(event)
                    if work is not None:
                        await self._in_thread(work)
                upload.check_complete()
                arrived = request.state.arrived
                return await self._in_thread(lambda: self._keep(place, key, manifest, upload.finish(), arrived))
            finally:
                upload.drop()

    def _asked(
        self, place: tuple[str, str, str], key: str, text: bytearray
    ) -> tuple[Manifest, Receipt | None, Exception | None]:
        """The manifest; the receipt that its key has already; and else what stands in the way of keeping it.

        All in one turn of a thread: eighty at once wait for nothing but turns. The key comes before the limits, which
        may have been wider when it was kept.
        """
        manifest = read_manifest(text)
        earlier, used = self._store.before(*place, key)
        if earlier is not None:
            manifest = self._safe(manifest)
            return manifest, self._again(earlier, manifest), None
        manifest = self._checked(manifest)
        try:
            self._check_room(used, manifest)
        except (Refusal, NotFound, OSError) as obstacle:
            return manifest, None, obstacle
        return manifest, None, None

    def _checked(self, manifest: Manifest) -> Manifest:
        """The manifest with the safe forms of its paths, within the limits."""
        self._bounds.check_count(len(manifest.files))
        manifest = self._safe(manifest)
        self._bounds.check_sizes({entry.path: entry.size for entry in manifest.files})
        return manifest

    def _safe(self, manifest: Manifest) -> Manifest:
        paths = self._bounds.paths(entry.path for entry in manifest.files)
        files = [entry.model_copy(update={"path": path}) for entry, path in zip(manifest.files, paths, strict=True)]
        return manifest.model_copy(update={"files": files})

    def _again(self, earlier: Submission, manifest: Manifest) -> Receipt:
        """The receipt that was given before."""
        kept = self._store.files(earlier)
        if _content(kept) != _content(manifest.files):
            raise self._reused()
        return self._receipt(earlier, len(kept))

    def _check_room(self, used: int | None, manifest: Manifest) -> None:
        """That there is an assignment, and room for this."""
        if used is None:
            raise NotFound("assignment")
        if used + sum(max(entry.size, BLOCK) for entry in manifest.files) > self._bounds.limits.student_limit:
            raise self._bounds.full(used)
        self._store.check_room(sum(entry.size for entry in manifest.files))

    def _keep(
        self, place: tuple[str, str, str], key: str, manifest: Manifest, drafts: dict[str, Draft], arrived: datetime
    ) -> Receipt:
        try:
            kept = self._store.submit(
                *place,
                drafts,
                received=arrived,
                quota=self._bounds.limits.student_limit,
                version=manifest.version,
                key=key,
                queued=min(manifest.queued, arrived) if manifest.queued else None,  # a clock that runs ahead
            )
        except QuotaExceeded as full:
            raise self._bounds.full(full.used) from None
        except KeyReused:
            raise self._reused() from None
        return self._receipt(kept, len(drafts))

    def _receipt(self, kept: Submission, files: int) -> Receipt:
        deadline: Deadline = self._deadlines.of(kept.course, kept.assignment)
        return Receipt(kept, files, deadline.of(kept.student), deadline.late(kept.student, kept.received))

    def _reused(self) -> Refusal:
        return Refusal(409, self._bounds.say("stream.reused"), reason="key")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._writers)


class _Upload:
    """The content of one upload, file by file as the manifest says."""

    def __init__(self, store: Store, bounds: Bounds, manifest: Manifest) -> None:
        self._drafts: dict[str, Draft] = {}
        self._store = store
        self._bounds = bounds
        self._coming = iter(manifest.files)
        self._entry: Entry | None = None  # whose content comes
        self._ended: Entry | None = None  # whose content has come
        self._piece = bytearray()
        self._size = 0

    def take(self, event: Event) -> Callable[[], None] | None:
        """Work for a thread that this event brings, if it does.

        Raises:
            Refusal: 400, it is not what the manifest says.
        """
        if isinstance(event, Part):
            ended, self._ended = self._ended, None
            self._entry = next(self._coming, None)
            self._size = 0
            if self._entry is None or event.name != "file":
                raise unreadable()
            return None if ended is None else lambda: self._finish(ended)
        entry = self._entry
        if entry is None:
            raise unreadable()
        if isinstance(event, bytes):
            self._size += len(event)
            if self._size > entry.size:
                raise self._damaged(entry)
            self._piece += event
            return (lambda: self._write(entry)) if len(self._piece) >= PIECE else None
        self._entry, self._ended = None, entry
        return None

    def check_complete(self) -> None:
        """That every file of the manifest has come.

        Raises:
            Refusal: 400.
        """
        if self._entry is not None or next(self._coming, None) is not None:
            raise unreadable()

    def finish(self) -> dict[str, Draft]:
        """All files, finished; the last one is only now, in the same turn of a thread in which the store takes them.

        Raises:
            Refusal: 400, it is damaged.
        """
        if self._ended is not None:
            self._finish(self._ended)
        return self._drafts

    def drop(self) -> None:
        """Leave nothing of what the store has not taken."""
        for draft in self._drafts.values():
            draft.drop()

    def _write(self, entry: Entry) -> None:
        if entry.path not in self._drafts:
            self._drafts[entry.path] = self._store.draft()
        self._drafts[entry.path].write(bytes(self._piece))
        self._piece.clear()

    def _finish(self, entry: Entry) -> None:
        self._write(entry)
        blob = self._drafts[entry.path].finish()
        if (blob.size, blob.sha256) != (entry.size, entry.sha256):
            raise self._damaged(entry)

    def _damaged(self, entry: Entry) -> Refusal:
        return Refusal(400, self._bounds.say("stream.damaged", name=entry.path), reason="damaged")


async def _events(pieces: AsyncIterator[bytes], parts: Parts) -> AsyncGenerator[Event]:
    async for piece in pieces:
        for event in parts.feed(piece):
            yield event
    parts.finish()


async def _manifest(events: AsyncIterator[Event]) -> bytearray:
    """The first part of the form."""
    if await anext(events, None) != Part("manifest"):
        raise unreadable()
    text = bytearray()
    async for event in events:
        if event is PART_END:
            break
        text += cast("bytes", event)  # nothing else comes between a part's beginning and its end
        if len(text) > MANIFEST_LIMIT:
            raise Refusal(413, "The manifest is too large", reason="form")
    return text


def _content(files: Iterable[File | Entry]) -> set[tuple[str, str, int]]:
    return {(file.path, file.sha256, file.size) for file in files}
