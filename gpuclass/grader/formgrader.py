"""Formgrader's Autograde button in the instructor's container: it asks the grading service and waits for the score.

There is no Docker in that container, and only one process may run nbgrader's Autograde. Everything else in Formgrader
works on the course folder and the gradebook as it always did. A Jupyter server extension.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from nbgrader.apps.api import NbGraderAPI
from nbgrader.server_extensions.formgrader import apihandlers, base
from tornado import web

from gpuclass.exchange.connection import Connection, Refused, from_environment
from gpuclass.grader.words import Language, say

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 120.0  # then the button says "queued": a browser should not wait for a whole class


class Exchange(Protocol):
    """The two requests that are made; a `Connection`, or a double in tests."""

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        """Answer to GET."""

    def post(self, *path: str, **fields: str) -> dict[str, Any]:
        """Answer to POST."""


def request_grading(
    exchange: Exchange,
    course: str,
    assignment: str,
    student: str,
    language: Language,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, Any]:
    """Have a student's latest submission graded, and wait for it.

    Returns:
        What Formgrader's page expects: ``success``, ``log`` and, after a failure, ``error``.
    """
    grading = ("gpuclass", "v1", "grading")
    try:
        number = exchange.post(*grading, course, assignment, student)["job"]
        patience = clock() + PATIENCE_SECONDS
        while clock() < patience:
            job = exchange.get(*grading, "jobs", str(number))
            if job["state"] == "done":
                return {"success": True, "log": say(language, "graded", number=number)}
            if job["state"] == "failed":
                return {"success": False, "log": "", "error": job["error"]}
            sleep(POLL_SECONDS)
    except Refused as refused:
        return {"success": False, "log": "", "error": str(refused)}
    return {"success": True, "log": say(language, "queued", number=number)}


def language() -> Language:
    """The class's language, as the container was told."""
    return "en" if os.environ.get("GPUCLASS_LANGUAGE") == "en" else "ko"


def connect() -> Connection:
    """The exchange of the class."""
    return from_environment(language())


class ServiceAPI(NbGraderAPI):  # type: ignore[misc]  # nbgrader has no types
    """nbgrader's API with `autograde` done by the grading service."""

    def autograde(self, assignment_id: str, student_id: str, force: bool = True, create: bool = True) -> dict[str, Any]:
        """Grade one student's latest submission."""
        return request_grading(connect(), self.coursedir.course_id, assignment_id, student_id, language())


class AutogradeHandler(apihandlers.AutogradeHandler):  # type: ignore[misc]  # as above
    """The button's handler, in a thread: nbgrader's own stops the whole server meanwhile."""

    @web.authenticated
    @apihandlers.check_xsrf  # type: ignore[untyped-decorator]  # nbgrader has no types
    @apihandlers.check_notebook_dir  # type: ignore[untyped-decorator]  # as above
    async def post(self, assignment_id: str, student_id: str) -> None:
        """Grade and answer with the outcome."""
        outcome = await asyncio.to_thread(
            request_grading, connect(), self.coursedir.course_id, assignment_id, student_id, language()
        )
        await self.finish(json.dumps(outcome))


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "gpuclass.grader.formgrader"}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """Put the two in nbgrader's place. Extensions load in the order of their names: this one before nbgrader's."""
    base.NbGraderAPI = ServiceAPI
    apihandlers.default_handlers = [
        (path, AutogradeHandler if handler is apihandlers.AutogradeHandler else handler)
        for path, handler in apihandlers.default_handlers
    ]
