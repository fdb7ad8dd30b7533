"""Follows in the user's server what the class desk has to tell its owner: messages, and that a helper comes.

One request waits at the desk until there is news, so that it arrives within a moment and costs next to nothing while
there is none. A desk that is away is asked less and less often; what was told last stays as long as it was to stand.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

ANSWER_S = 40.0  # the desk holds a request for 25 s
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0
NOT_MODIFIED = 304


class FollowingDesk:
    """What the desk told last.

    Args:
        url: of the desk.
        token: of this server.
        client: for tests.
    """

    def __init__(self, url: str, token: str, client: Any = None) -> None:
        self._url = f"{url}/own/state"
        self._token = token
        self._client = client
        self._mark = ""
        self._notices: list[Mapping[str, Any]] = []

    def notices(self) -> list[Mapping[str, Any]]:
        """Notices in the form of gpuclass.noticeboard.holding."""
        return self._notices

    def start(self) -> None:
        """Follow in the background, as long as the server runs."""
        self._following = asyncio.create_task(self._follow())  # kept, or it could be collected

    async def _follow(self) -> None:
        wait = FIRST_WAIT_S
        await asyncio.sleep(random.uniform(0, FIRST_WAIT_S))  # noqa: S311  # eighty servers start at once
        while True:
            if await self.ask():
                wait = FIRST_WAIT_S
                await asyncio.sleep(0.2)  # a desk that answers at once all the time is not asked all the time
            else:
                await asyncio.sleep(wait * random.uniform(0.75, 1.25))  # noqa: S311
                wait = min(2 * wait, LONGEST_WAIT_S)

    async def ask(self) -> bool:
        """Ask once and wait for news; whether the desk answered."""
        headers = {"Authorization": f"token {self._token}", "If-None-Match": self._mark}
        request = HTTPRequest(self._url, headers=headers, request_timeout=ANSWER_S, follow_redirects=False)
        try:
            answer = await (self._client or AsyncHTTPClient()).fetch(request)
            self._notices = list(json.loads(answer.body)["notices"])
            self._mark = answer.headers.get("ETag", "")
        except HTTPClientError as error:
            return error.code == NOT_MODIFIED
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True
