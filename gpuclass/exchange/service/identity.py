"""Who a token belongs to. Only the hub knows; its answer is remembered briefly.

Counts as somebody: a token of a *user* that carries the scope to access this service. A service's token is nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import httpx

FRESH_S = 30.0  # a revoked token is refused after this long at most
STALE_S = 600.0  # and, while the hub is down, after this long: its restart must not stop a submission
REMEMBERED = 2000  # tokens; the one not used for longest goes first
TOKEN_LIMIT = 512  # characters; the hub's have 32 to 64
HUB_TIMEOUT_S = 10.0
HUB_CONNECTIONS = 200  # at the same time: a class that begins together does not queue here for a slow hub
HUB_KEPT = 20


class HubUnreachable(Exception):  # noqa: N818  # what happened, in the field's words
    """The hub did not answer, or with an error of its own."""


@dataclass(frozen=True)
class _Answer:
    login: str | None
    at: float


class _Remembered:
    """The answers that were used last, ``REMEMBERED`` of them."""

    def __init__(self) -> None:
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: bytes) -> _Answer | None:
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def put(self, key: bytes, answer: _Answer) -> None:
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)

    def forget(self, key: bytes) -> None:
        self._answers.pop(key, None)


class Identity:
    """Asks the hub at ``hub_api`` who sent a token.

    Args:
        hub_api: ``settings.hub_api``.
        service: this service's name in the hub.
        clock: seconds that only grow.
        transport: for tests.
        asked: told of each question to the hub whether it was answered.
    """

    def __init__(
        self,
        hub_api: str,
        service: str = "exchange",
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
        asked: Callable[[bool], None] = lambda answered: None,
    ) -> None:
        self._tell = asked
        self._url = f"{hub_api}/user"
        self._scopes = {f"access:services!service={service}", "access:services"}
        self._clock = clock
        self._users = _Remembered()
        self._nobody = _Remembered()  # apart: made-up tokens must not push out those of the class
        self._asking: dict[bytes, asyncio.Task[str | None]] = {}
        limits = httpx.Limits(max_connections=HUB_CONNECTIONS, max_keepalive_connections=HUB_KEPT)
        self._http = httpx.AsyncClient(timeout=HUB_TIMEOUT_S, limits=limits, transport=transport, trust_env=False)

    async def close(self) -> None:
        """Close the connections to the hub."""
        await self._http.aclose()

    async def login(self, token: str) -> str | None:
        """The user whose token this is, if they may use the service; else None.

        Raises:
            HubUnreachable: nobody can tell at the moment.
        """
        if not token or len(token) > TOKEN_LIMIT or not (token.isascii() and token.isprintable()):
            return None
        key = hashlib.sha256(token.encode()).digest()  # the token itself is not kept
        known = self._users.get(key) or self._nobody.get(key)
        if known is not None and self._clock() - known.at < FRESH_S:
            return known.login
        try:
            return await self._asked_once(key, token)
        except HubUnreachable:
            if known is not None and self._clock() - known.at < STALE_S:
                return known.login
            raise

    async def _asked_once(self, key: bytes, token: str) -> str | None:
        """The hub's answer; those who ask for the same token at the same time share one question."""
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask_and_remember(key, token))
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)  # whoever goes away leaves the answer to the others

    def _asked(self, key: bytes, task: asyncio.Task[str | None]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # looked at, also when all who waited have gone

    async def _ask_and_remember(self, key: bytes, token: str) -> str | None:
        try:
            login = await self._ask(token)
        except HubUnreachable:
            self._tell(False)
            raise
        self._tell(True)
        (self._nobody if login is None else self._users).put(key, _Answer(login, self._clock()))
        (self._users if login is None else self._nobody).forget(key)
        return login

    async def _ask(self, token: str) -> str | None:
        try:
            answer = await self._http.get(self._url, headers={"Authorization": f"token {token}"})
        except httpx.HTTPError as error:
            raise HubUnreachable(repr(error)) from error
        if answer.status_code in (401, 403):
            return None
        if answer.status_code != 200:
            raise HubUnreachable(f"status {answer.status_code}")
        return self._user(answer)

    def _user(self, answer: httpx.Response) -> str | None:
        try:
            match answer.json():
                case {"kind": "user", "name": str(name), "scopes": list(scopes)} if self._scopes & set(scopes):
                    return name
                case _:
                    return None
        except ValueError as error:
            raise HubUnreachable("the answer is not JSON") from error


def token_of(authorization: str | None) -> str:
    """The token in an ``Authorization: token …`` or ``Bearer …`` header; empty if there is none."""
    kind, _, token = (authorization or "").partition(" ")
    return token.strip() if kind.lower() in ("token", "bearer") else ""
