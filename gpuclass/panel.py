"""The class desk's panel in Lab: the user's server asks the desk with its own token, for its owner alone.

Lab itself cannot ask: the desk is on another domain, and its pages are never framed. What comes back stands in a frame
that runs no script (images/student/labextension).
"""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import Any, Literal

from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

TIMEOUT_S = 10.0
AWAY = {
    "ko": "선생님 화면 서버가 응답하지 않아요. 잠시 뒤에 다시 보여요.",
    "en": "The class desk does not answer. It comes back by itself.",
}
PATHS: dict[str, str] = {"": "GET", "hand": "POST", "hand/lower": "POST"}
"""What is handed on, below ``/own/`` of the desk; the panel itself is ``/own/panel``."""


class PanelHandler(APIHandler):
    """``gpuclass/panel``: GET the panel as HTML; POST ``/hand`` and ``/hand/lower`` for its owner."""

    _track_activity = False  # an open panel is no sign of somebody at work

    @web.authenticated
    async def get(self, path: str | None = None) -> None:
        """The panel."""
        await self._ask("GET", path or "")

    @web.authenticated
    async def post(self, path: str | None = None) -> None:
        """Raise the hand, or lower it. Whoever visits does not press for the owner."""
        if self._visits():
            raise web.HTTPError(HTTPStatus.FORBIDDEN)
        await self._ask("POST", path or "")

    def _visits(self) -> bool:
        user: Any = self.current_user
        return bool(getattr(user, "username", "") != os.environ.get("JUPYTERHUB_USER"))

    async def _ask(self, method: Literal["GET", "POST"], path: str) -> None:
        desk, token = os.environ.get("GPUCLASS_DESK_URL"), os.environ.get("JUPYTERHUB_API_TOKEN", "")
        if PATHS.get(path) != method or not desk:
            raise web.HTTPError(HTTPStatus.NOT_FOUND)
        request = HTTPRequest(
            f"{desk}/own/{path or 'panel'}",
            method,
            headers={"Authorization": f"token {token}", "Accept": "text/html"},
            body=b"" if method == "POST" else None,
            request_timeout=TIMEOUT_S,
            follow_redirects=False,
        )
        self.set_header("Content-Type", "text/html; charset=utf-8")
        try:
            answer = await AsyncHTTPClient().fetch(request)
        except (HTTPClientError, OSError):
            self.set_status(HTTPStatus.BAD_GATEWAY)
            await self.finish(AWAY["en" if os.environ.get("GPUCLASS_LANGUAGE") == "en" else "ko"])
            return
        self.set_status(answer.code)
        await self.finish(answer.body or None)  # a body, even an empty one, is an error with 204
