"""The server's part: adds up what its kernels say and posts it to the class desk.

A report is the newest state, not a log: one that cannot be sent is forgotten, and the next says all there is to say. A
desk that is away is asked less and less often, and nobody is told: a lesson goes on without it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gpuclass.reporting import CLASSES_LIMIT, SOCKET, wanted
from gpuclass.reporting.listening import COUNT_LIMIT, Listener, Said

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

_log = logging.getLogger(__name__)

LOOK_S = 2.0  # a change is posted so soon, and no sooner
EVERY_S = 30.0  # without a change, so that the desk knows a silent server from a gone one
LONGEST_S = 60.0  # between tries while the desk is away
SHOWN = 5  # error classes in a report, the most frequent
PLACES_LIMIT = 100  # sessions and exercises that are added up apart
NAME_LIMIT = 100  # characters of a session's name
NOTEBOOKS = "notebooks"  # the curriculum's folder in a home
CONNECT_S, ANSWER_S = 5.0, 10.0

Kind = Literal["lecture", "exercise", ""]
Post = Callable[[bytes], Awaitable[bool]]


class Kernels(Protocol):
    """What is asked about the server's kernels."""

    def running(self) -> Mapping[int, str]:
        """Process id → kernel's id."""

    def busy(self) -> bool:
        """Whether one of them runs a cell."""

    async def path(self, kernel_id: str) -> str:
        """The notebook of a kernel, relative to the home; empty if it has none."""


@dataclass(frozen=True)
class Place:
    """Which session a notebook belongs to; both empty for one that belongs to none."""

    session: str = ""
    kind: Kind = ""


@dataclass
class Tally:
    """What was counted in one place since the server started."""

    cells: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def place_of(path: str) -> Place:
    """The session whose folder a notebook lies in: ``notebooks/<session>/…`` or, for an exercise, ``<assignment>/…``.

    Whether the class has such a session is decided by the desk, which forgets any other name.
    """
    match PurePosixPath(path).parts:
        case ("..", *_) | ("/", *_):
            return Place()
        case (folder, session, _, *_) if folder == NOTEBOOKS and len(session) <= NAME_LIMIT:
            return Place(session, "lecture")
        case (assignment, _, *_) if assignment != NOTEBOOKS and len(assignment) <= NAME_LIMIT:
            return Place(assignment, "exercise")
    return Place()


class Sum:
    """Adds up what kernels say.

    Args:
        kernels: of the server.
    """

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._new: dict[tuple[str, int], Said] = {}
        self._counted: dict[tuple[str, int], Said] = {}
        self._tallies: dict[Place, Tally] = {}
        self._place = Place()
        self._kernel = ("", 0)

    def hear(self, pid: int, said: Said) -> None:
        """Take what a process said, if it is a kernel of this server."""
        kernel_id = self._kernels.running().get(pid)
        if kernel_id is not None:
            self._new.pop((kernel_id, pid), None)  # the newest comes last
            self._new[kernel_id, pid] = said

    async def report(self) -> dict[str, Any]:
        """What is to be posted now, but for the time."""
        new, self._new = self._new, {}
        for kernel, said in new.items():
            self._place, self._kernel = place_of(await self._kernels.path(kernel[0])), kernel
            self._add(kernel, said)
        running = {(kernel_id, pid) for pid, kernel_id in self._kernels.running().items()}
        self._counted = {kernel: said for kernel, said in self._counted.items() if kernel in running}
        tally = self._tallies.get(self._place, Tally())
        last = self._counted.get(self._kernel, Said())  # one that was shut down repeats nothing
        return {
            "session": self._place.session,
            "kind": self._place.kind,
            "cells": tally.cells,
            "errors": [{"class": name, "count": count} for name, count in tally.errors.most_common(SHOWN)],
            "repeated": last.repeated,
            "busy": self._kernels.busy(),
        }

    def _add(self, kernel: tuple[str, int], said: Said) -> None:
        before = self._counted.get(kernel, Said())
        self._counted[kernel] = said
        if self._place not in self._tallies and len(self._tallies) >= PLACES_LIMIT:
            self._tallies.pop(next(iter(self._tallies)))
        tally = self._tallies.setdefault(self._place, Tally())
        tally.cells = min(tally.cells + max(said.cells - before.cells, 0), COUNT_LIMIT)
        for name, count in said.errors.items():
            more = count - before.errors.get(name, 0)
            if more > 0 and (name in tally.errors or len(tally.errors) < CLASSES_LIMIT):
                tally.errors[name] = min(tally.errors[name] + more, COUNT_LIMIT)


class Reporting:
    """Listens, adds up and posts.

    Args:
        kernels: of the server.
        post: sends a report; whether the desk took it.
        path: of the socket.
        sleep, clock, chance, now: time and chance.
    """

    def __init__(
        self,
        kernels: Kernels,
        post: Post,
        path: Path = SOCKET,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.sum = Sum(kernels)
        self._post = post
        self._listener = Listener(self.sum.hear, path)
        self._sleep = sleep
        self._clock = clock
        self._chance = chance
        self._now = now
        self._failures = 0

    def start(self) -> None:
        """Begin, in the background."""
        try:
            self._listener.start()
        except OSError as error:  # somebody filled /tmp: no reason for a server not to be one
            _log.warning("What notebooks report cannot be heard: %s", error)
        self._task = asyncio.create_task(self.run())  # kept, or it could be collected before it ends

    async def run(self) -> None:
        """Go on until the server ends."""
        sent: dict[str, Any] | None = None
        sent_at = 0.0
        await self._sleep(LOOK_S * self._chance())  # eighty servers start at the same moment
        while True:
            report = await self._report()
            if report and (report != sent or self._clock() - sent_at >= EVERY_S):
                if await self._try(report):
                    sent, sent_at, self._failures = report, self._clock(), 0
                else:
                    self._failures += 1
            await self._sleep(self.pause())

    async def _report(self) -> dict[str, Any] | None:
        try:
            return await self.sum.report()
        except Exception:  # whatever a session's database says, the next look must come
            _log.debug("what notebooks report could not be added up", exc_info=True)
            return None

    async def _try(self, report: Mapping[str, Any]) -> bool:
        content = json.dumps({**report, "at": self._now().isoformat(timespec="seconds")}, ensure_ascii=False).encode()
        try:
            return await self._post(content)
        except Exception:  # an address without a route, a connection cut in the middle: all the same here
            _log.debug("the class desk could not be reached", exc_info=True)
            return False

    def pause(self) -> float:
        """Seconds to the next look; by chance after a failure, because the desk comes back for all at once."""
        if self._failures == 0:
            return LOOK_S
        return float(min(LOOK_S * 2 ** min(self._failures, 10), LONGEST_S) * (0.5 + self._chance() / 2))

    def close(self) -> None:
        """Listen no more, and post no more."""
        self._listener.close()
        self._task.cancel()


class ServersKernels:
    """The kernels of a Jupyter server."""

    def __init__(self, server: ServerApp) -> None:
        self._manager = server.kernel_manager
        self._sessions = server.session_manager

    def running(self) -> Mapping[int, str]:
        """Process id → kernel's id."""
        return dict(self._processes())

    def _processes(self) -> Iterator[tuple[int, str]]:
        for kernel_id in self._manager.list_kernel_ids():
            pid = getattr(self._manager.get_kernel(kernel_id).provisioner, "pid", None)
            if pid:
                yield pid, kernel_id

    def busy(self) -> bool:
        """Whether one of them runs a cell."""
        states = (
            getattr(self._manager.get_kernel(kernel_id), "execution_state", "")
            for kernel_id in self._manager.list_kernel_ids()
        )
        return "busy" in states

    async def path(self, kernel_id: str) -> str:
        """The notebook of a kernel, also after it was renamed."""
        from tornado.web import HTTPError

        try:
            session = await self._sessions.get_session(kernel_id=kernel_id)
        except HTTPError:
            return ""
        return str(session["path"]) if session else ""


def poster(url: str, token: str) -> Post:
    """Sends reports to the desk at ``url`` with the server's own token."""

    async def post(content: bytes) -> bool:
        from tornado.httpclient import AsyncHTTPClient, HTTPRequest  # first used after the server answers

        request = HTTPRequest(
            f"{url.rstrip('/')}/own/report",
            method="POST",
            headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
            body=content,
            connect_timeout=CONNECT_S,
            request_timeout=ANSWER_S,
            follow_redirects=False,  # the token is for the desk alone
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        return 200 <= answer.code < 300

    return post


def reporting(server: ServerApp, environ: Mapping[str, str]) -> Reporting | None:
    """The reporting of a user's server; None where nothing is to be reported."""
    token = environ.get("JUPYTERHUB_API_TOKEN")
    if not token or not wanted(environ):
        return None
    return Reporting(ServersKernels(server), poster(environ["GPUCLASS_DESK_URL"], token))
