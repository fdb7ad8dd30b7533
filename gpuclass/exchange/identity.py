"""Who a token belongs to. Only the hub knows; its answer is remembered briefly.

Counts as somebody: a token of a *user* that carries the scope to access this service. A service's token is nobody.
"""

from __future__ import annotations

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


class HubUnreachable(Exception):  # noqa: N818  # what happened, in the field's words
    """The hub did not answer, or with an error of its own."""


@dataclass(frozen=True)
class _Answer:
    login: str | None
    at: float


class Identity:
    """Asks the hub at ``hub_api`` who sent a token.

    Args:
        hub_api: ``settings.hub_api``.
        service: this service's name in the hub.
        clock: seconds that only grow.
        transport: for tests.
    """

    def __init__(
        self,
        hub_api: str,
        service: str = "exchange",
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = f"{hub_api}/user"
        self._scopes = {f"access:services!service={service}", "access:services"}
        self._clock = clock
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._http = httpx.AsyncClient(timeout=HUB_TIMEOUT_S, transport=transport, trust_env=False)

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
        known = self._answers.get(key)
        if known is not None and self._clock() - known.at < FRESH_S:
            self._answers.move_to_end(key)
            return known.login
        try:
            login = await self._ask(token)
        except HubUnreachable:
            if known is not None and self._clock() - known.at < STALE_S:
                return known.login
            raise
        self._answers[key] = _Answer(login, self._clock())
        self._answers.move_to_end(key)
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
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
