"""The hub's own REST API, for the queue inside the hub: only the hub's handlers start a server as a student does."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import httpx

_RETRY_S = 0.1


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
