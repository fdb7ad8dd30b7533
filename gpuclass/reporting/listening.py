"""The server's ear: a Unix socket to which its kernels send what they count.

Every process of the container can write there. So the operating system says who does (``SCM_CREDENTIALS``), only
kernels that this server started are heard, what they say is bounded, and somebody who shouts makes the server rest
rather than work.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gpuclass.reporting import CLASSES_LIMIT, DATAGRAM_LIMIT, SOCKET, class_name

COUNT_LIMIT = 1_000_000  # cells or errors; nobody runs more
WINDOW_S = 0.5
IN_A_WINDOW = 200  # datagrams; twice as many as cells that do nothing can be run. What is more waits in the operating
# system's queue of ten, or is dropped there

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; unix(7)
_ROOM = socket.CMSG_SPACE(_CREDENTIALS.size)
"""Room for the credentials and nothing else: the operating system closes open files that somebody sends along."""


@dataclass(frozen=True)
class Said:
    """What a kernel says: its totals since it started."""

    cells: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    repeated: int = 0


def understood(content: bytes) -> Said | None:
    """What a datagram says; None if it is none of ours."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    match found:
        case {"cells": int() as cells, "errors": dict() as errors, "repeated": int() as repeated}:
            if len(errors) > CLASSES_LIMIT + 1:
                return None
            counted = {name: clamped(count) for name, count in errors.items() if class_name(name)}
            return Said(clamped(cells), counted, clamped(repeated))
    return None


def clamped(count: object) -> int:
    """A count within its limits; 0 for what is none."""
    return min(max(count, 0), COUNT_LIMIT) if type(count) is int else 0


class Listener:
    """Hears datagrams and who sent them.

    Args:
        heard: is told the sender's process id and what it said.
        path: of the socket.
    """

    def __init__(self, heard: Callable[[int, Said], None], path: Path = SOCKET) -> None:
        self._heard = heard
        self._path = path
        self._socket: socket.socket | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._window_ends = 0.0
        self._left = IN_A_WINDOW

    def start(self) -> None:
        """Listen, in the running event loop.

        Raises:
            OSError: the socket cannot be made.
        """
        self._path.parent.mkdir(exist_ok=True)
        self._path.unlink(missing_ok=True)
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            ear.bind(str(self._path))
        except OSError:
            ear.close()
            raise
        self._socket = ear
        self._listen()

    def _listen(self) -> None:
        self._resting = None
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        """Read what is there; rest until the window's end when it was too much."""
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._window_ends:
            self._window_ends, self._left = loop.time() + WINDOW_S, IN_A_WINDOW
        while self._left:
            try:
                content, ancillary, flags, _sender = self._socket.recvmsg(DATAGRAM_LIMIT, _ROOM)
            except OSError:
                return  # nothing is left
            self._left -= 1
            pid = sender_of(ancillary)
            if pid and not flags & socket.MSG_TRUNC and (said := understood(content)):
                self._heard(pid, said)
        loop.remove_reader(self._socket)
        self._resting = loop.call_at(self._window_ends, self._listen)

    def close(self) -> None:
        """Listen no more."""
        if self._resting:
            self._resting.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            with suppress(OSError):
                self._path.unlink()


def sender_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The process id that the operating system vouches for; 0 if there is none."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and len(data) == _CREDENTIALS.size:
            pid: int = _CREDENTIALS.unpack(data)[0]
            return pid
    return 0
