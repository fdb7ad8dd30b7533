"""What was pressed and is not receipted yet, kept in the student's home: complete or not at all.

A press is a folder: what is to be sent, copied, and a file that says what it is, with the key under which the exchange
takes it once however often it comes. It stays until there is a receipt or a definite no. Presses are sent in their
order, by one sender at a time: whoever holds ``sending``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from gpuclass.exchange.client.corner import FILE_LIMIT, PLACE, Corner, write_synced
from gpuclass.exchange.client.folder import NotAFolder, is_gone, open_plain, opened
from gpuclass.exchange.messages import LANGUAGES, Language, say

FOLDER = "outbox"
REFUSED = "refused"  # beside it: what waited, and was not taken when it could be sent; nobody was there to see it
REFUSED_KEPT = 5
RECEIPTS = "receipts.json"
PRESSES = 20  # kept at a time; who presses more often than that while nothing can be sent changes nothing any more
BYTES = 512 * 2**20  # of all that is kept: the class's homes share a disk
CHUNK = 2**18  # bytes in memory at a time
RECEIPTS_KEPT = 50
WAITING = "waiting"  # in a press's folder: its person was told that it is not sent yet
FIRST_TRY_S = 90.0  # a press that is older and still here waits, also if nobody lived to say so
POLL_S = 0.1
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

Opener = Callable[[], BinaryIO]


class NoRoom(Exception):  # noqa: N818  # what it is
    """As much is kept already as may be."""


@dataclass(frozen=True)
class Piece:
    """One file to be sent; ``sha256`` of its content in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Press:
    """One press of Submit.

    Attributes:
        key: under which the exchange takes it once.
        pressed: when, by the container's clock, as ngshare writes times.
        version: of the assignment, which it answers; None if that is not known.
        folder: its name in the outbox; empty if it is not kept.
    """

    key: str
    course: str
    assignment: str
    pressed: str
    files: tuple[Piece, ...]
    version: int | None = None
    folder: str = field(default="", compare=False)

    def same_as(self, other: Press) -> bool:
        """Whether both would hand in the same."""
        return (self.course, self.assignment, sorted_pieces(self)) == (
            other.course,
            other.assignment,
            sorted_pieces(other),
        )


def sorted_pieces(press: Press) -> list[tuple[str, str]]:
    """What a press hands in, whatever the order."""
    return sorted((piece.path, piece.sha256) for piece in press.files)


def new_key() -> str:
    """A key that no other press has."""
    return secrets.token_urlsafe(24)


class Outbox:
    """The outbox of the home ``home``."""

    def __init__(self, home: Path) -> None:
        self.corner = Corner(home)
        self.place = self.corner.place / FOLDER
        self._parts = [*PLACE, FOLDER]

    def pending(self) -> list[Press]:
        """What is kept, oldest first."""
        return [press for name in self._names() if (press := self._read(name)) is not None]

    def waiting(self, now: float) -> list[Press]:
        """What could not be sent, oldest first: not what is being sent this very moment for the first time."""
        found = self.pending() if self._names() else []
        return [press for press in found if self._is_waiting(press, now)]

    def _is_waiting(self, press: Press, now: float) -> bool:
        place = self.place / press.folder
        with suppress(OSError):
            return (place / WAITING).exists() or now - place.stat().st_mtime > FIRST_TRY_S
        return False

    def _names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.place.iterdir() if path.name.isdecimal())
        except OSError:
            return []

    def _read(self, name: str) -> Press | None:
        found = self.corner.read(FOLDER, name, "press.json")
        try:
            files = tuple(
                Piece(str(item["path"]), int(item["size"]), str(item["sha256"])) for item in found.pop("files")
            )
            version = found.pop("version")
            texts = {key: str(found[key]) for key in ("key", "course", "assignment", "pressed")}
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return Press(**texts, files=files, version=version if isinstance(version, int) else None, folder=name)

    def keep(self, press: Press, contents: Mapping[str, Opener]) -> Press:
        """Copy what is to be sent; the press as it is kept, with what was really copied.

        Args:
            press: its ``files`` say what they are thought to be; only their paths count.
            contents: for each path, how to open it.

        Raises:
            NoRoom: so much is kept already.
            OSError, NotAFolder: the home cannot take it, or a file is gone; nothing of it is left.
        """
        with self._locked("keeping", 60.0), opened(self.corner.home, self._parts) as outbox:
            self._sweep(outbox)
            self._set_unreadable_aside()
            kept = self.pending()
            room = BYTES - sum(piece.size for other in kept for piece in other.files)
            if len(kept) >= PRESSES:
                raise NoRoom
            draft = f".draft-{secrets.token_hex(4)}"
            os.mkdir(draft, 0o700, dir_fd=outbox)
            try:
                copied = self._fill(press, draft, contents, room)
                number = max((int(name) for name in self._names()), default=0) + 1
                name = f"{number:06d}"
                os.rename(draft, name, src_dir_fd=outbox, dst_dir_fd=outbox)
                os.fsync(outbox)
            except BaseException:
                self._sweep(outbox)
                raise
        return replace(press, files=copied, folder=name)

    def _fill(self, press: Press, draft: str, contents: Mapping[str, Opener], room: int) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        with opened(self.corner.home, [*self._parts, draft]) as folder:
            for path, open_file in contents.items():
                pieces.append(_copy(folder, str(len(pieces)), path, open_file, room))
                room -= pieces[-1].size
            content = {**asdict(press), "files": [asdict(piece) for piece in pieces]}
            content.pop("folder")
            text = json.dumps(content, ensure_ascii=False).encode()
            if len(text) > FILE_LIMIT:
                raise NoRoom
            write_synced(folder, "press.json", text)
            os.fsync(folder)
        return tuple(pieces)

    def open(self, press: Press, index: int) -> BinaryIO:
        """The content of a kept press's file.

        Raises:
            OSError: it is gone.
        """
        return open_plain(self.corner.home, "/".join((*self._parts, press.folder, str(index))))

    def mark(self, press: Press) -> None:
        """The person was told that this one waits."""
        with suppress(OSError, NotAFolder), opened(self.corner.home, self._parts) as outbox:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            folder = os.open(press.folder, flags, dir_fd=outbox)  # never made: it may just have been sent
            try:
                write_synced(folder, WAITING, b"")
            finally:
                os.close(folder)

    def remove(self, press: Press) -> None:
        """Keep it no longer; of a home that allows nothing it stays, and is sent again under its key."""
        with suppress(OSError, NotAFolder), opened(self.corner.home, self._parts) as outbox:
            os.rename(press.folder, f".gone-{secrets.token_hex(4)}", src_dir_fd=outbox, dst_dir_fd=outbox)
            self._sweep(outbox, ".gone-")

    def set_aside(self, press: Press) -> None:
        """Try no more to send it, and keep it: its person has worked on since, and may want back what they pressed."""
        self._move_aside(press.folder)
        self.remove(press)  # of a home without room for it

    def _move_aside(self, folder: str) -> bool:
        moved = False
        with suppress(OSError, NotAFolder), opened(self.corner.home, [*PLACE, REFUSED]) as refused:
            name = f"{time.time():010.0f}-{secrets.token_hex(4)}"
            with opened(self.corner.home, self._parts) as outbox:
                os.rename(folder, name, src_dir_fd=outbox, dst_dir_fd=refused)
            moved = True
            for old in sorted(os.listdir(refused))[:-REFUSED_KEPT]:  # noqa: PTH208  # Path knows no folder handles
                shutil.rmtree(old, ignore_errors=True, dir_fd=refused)
        return moved

    def set_unreadable_aside(self) -> None:
        """Set aside what will never say what it is, and have Lab tell; unless a press is being kept right now."""
        with suppress(OSError, NotAFolder), self._locked("keeping", 0):
            self._set_unreadable_aside()

    def _set_unreadable_aside(self) -> None:
        """Needs ``keeping``: a number that is free again could be another press's by then."""
        for name in self._names():
            if self._read(name) is None and self._damaged(name) and self._move_aside(name):
                texts = {language: say(language, "outbox.damaged") for language in LANGUAGES}
                self.corner.tell(f"damaged-{secrets.token_hex(4)}", "error", texts["ko"], texts["en"], time.time())

    def _damaged(self, name: str) -> bool:
        """Whether a press that was not read is gone for good; not if the disk or the system failed this time."""
        try:
            with open_plain(self.corner.home, "/".join((*self._parts, name, "press.json"))) as file:
                file.read(1)
        except OSError as error:
            return is_gone(error)
        return self._read(name) is None

    def _sweep(self, outbox: int, prefix: str = ".") -> None:
        """Take away what a killed process left; not what somebody is writing now, for they hold ``keeping``."""
        for name in os.listdir(outbox):
            if name.startswith(prefix) and name.startswith((".draft-", ".gone-")):
                shutil.rmtree(name, ignore_errors=True, dir_fd=outbox)  # follows no links

    def remember(self, press: Press, receipt: Mapping[str, Any]) -> None:
        """Keep the receipt of a press for whoever waits for it."""
        found = self.corner.read(RECEIPTS)
        kept = dict(list(found.items())[1 - RECEIPTS_KEPT :])
        self.corner.write({**kept, press.key: dict(receipt)}, RECEIPTS)

    def receipt(self, press: Press) -> dict[str, Any] | None:
        """The receipt that a press has got from another sender."""
        found = self.corner.read(RECEIPTS).get(press.key)
        return found if isinstance(found, dict) else None

    @contextmanager
    def sending(self, wait_s: float) -> Iterator[bool]:
        """Be the one who sends; False if somebody else is for longer than ``wait_s``, or the home has no place."""
        try:
            lock = self._lock("sending")
        except (OSError, NotAFolder):
            yield True  # nothing can be kept there, so nobody else has anything to send
            return
        with lock:
            yield _acquired(lock, wait_s)

    @contextmanager
    def _locked(self, name: str, wait_s: float) -> Iterator[None]:
        """Hold a lock that a killed process loses.

        Raises:
            OSError, NotAFolder: the home has no place for it, or somebody holds it.
        """
        with self._lock(name) as lock:
            if not _acquired(lock, wait_s):
                raise BlockingIOError(name)
            yield

    def _lock(self, name: str) -> BinaryIO:
        with opened(self.corner.home, self._parts) as outbox:
            return os.fdopen(os.open(f".{name}", _LOCK, 0o600, dir_fd=outbox), "rb")


def _acquired(lock: BinaryIO, wait_s: float) -> bool:
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_S)
        else:
            return True


def _copy(folder: int, name: str, path: str, open_file: Opener, room: int) -> Piece:
    """Copy a file, synced and hashed on the way."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    digest, size = hashlib.sha256(), 0
    with open_file() as source, os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as target:
        while piece := source.read(CHUNK):
            size += len(piece)
            if size > room:
                raise NoRoom
            digest.update(piece)
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    return Piece(path, size, digest.hexdigest())


def described(path: str, open_file: Opener) -> Piece:
    """A file as it is now, hashed without being copied.

    Raises:
        OSError: it is gone.
    """
    digest, size = hashlib.sha256(), 0
    with open_file() as source:
        while piece := source.read(CHUNK):
            size += len(piece)
            digest.update(piece)
    return Piece(path, size, digest.hexdigest())


def waiting_line(language: Language, home: Path, now: float | None = None) -> str:
    """What waits in a home's outbox, in one line; empty if nothing does."""
    found = Outbox(home).waiting(time.time() if now is None else now)
    names = ", ".join(sorted({press.assignment for press in found}))
    return say(language, "outbox.waiting", count=len(found), assignments=names) if found else ""
