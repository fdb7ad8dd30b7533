"""The hub's own REST API, for the queue inside the hub: only the hub's handlers start and stop as a student does."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import httpx

_RETRY_S = 0.1
_STOPPED = frozenset({httpx.codes.ACCEPTED, httpx.codes.NO_CONTENT, httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND})
"""Being stopped, stopped, not running, no such user."""


class HubRefusedError(Exception):
    """The hub did not do what was asked."""


class HubApi:
    """The hub that this process is, through its front door."""

    def __init__(self, url: str, token: str) -> None:
        """
        Args:
            url: ``settings.hub_api``.
            token: of the service that may start servers.
        """
        self._url = url
        self._headers = {"Authorization": f"token {token}"}

    async def answers(self) -> None:
        """Return when the hub answers requests: it has then found all its running servers."""
        async with httpx.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"{self._url}/")).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet
                await asyncio.sleep(_RETRY_S)

    async def start_server(self, user: str) -> bool:
        """Start a user's server with the options that they chose last.

        Returns:
            Whether the hub knows the user and starts the server, or has it running already.
        """
        async with httpx.AsyncClient(headers=self._headers, timeout=30) as client:
            try:
                answer = await client.post(f"{self._url}/users/{quote(user, safe='')}/server")
            except httpx.TransportError:
                return True  # nobody knows; the place is kept for a while
        return answer.status_code not in (httpx.codes.NOT_FOUND, httpx.codes.FORBIDDEN)

    async def stop_server(self, user: str) -> None:
        """Stop a user's server; one that does not run is no error.

        Raises:
            HubRefusedError: the hub does not stop it.
        """
        async with httpx.AsyncClient(headers=self._headers, timeout=30) as client:
            try:
                answer = await client.delete(f"{self._url}/users/{quote(user, safe='')}/server")
            except httpx.TransportError as error:
                raise HubRefusedError(f"the hub does not answer: {error}") from error
        if answer.status_code not in _STOPPED:
            raise HubRefusedError(f"the hub does not stop the server of {user}: HTTP {answer.status_code}")
