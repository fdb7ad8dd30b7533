"""nbgrader's handlers for students, in threads. Inside the container; imported at the first request (it is expensive).

nbgrader does its work in the server's only thread: a self-check of a minute, or an exchange that does not answer, would
stop every kernel and every save of that student meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbgrader.server_extensions.assignment_list import handlers as listing
from nbgrader.server_extensions.validate_assignment import handlers as validation
from tornado import web

from gpuclass.exchange.client.outbox import waiting_line
from gpuclass.exchange.messages import Language, say


def plain(outcome: dict[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """An outcome with a failure in one sentence; nbgrader gives a traceback, or blames a folder that is not in use."""
    text = outcome.get("value", "")
    if outcome["success"]:
        return outcome
    if "ExchangeError: " in text:
        return {"success": False, "value": text.rpartition("ExchangeError: ")[2].strip()}
    if "exchange directory does not exist" in text:
        language: Language = "en" if environ.get("GPUCLASS_LANGUAGE") == "en" else "ko"
        waiting = waiting_line(language, Path(environ.get("HOME", "/")))
        return {"success": False, "value": " ".join(filter(None, [say(language, "client.list"), waiting]))}
    return outcome


def with_notes(outcome: dict[str, Any]) -> dict[str, Any]:
    """A list with each assignment's note, such as its deadline, under its name.

    nbgrader's tab shows nothing but a name there; it sends the name back when a button is pressed, see ``_act``. No
    name has a line break in it.
    """
    if outcome["success"]:
        for item in outcome["value"]:
            if isinstance(item, dict) and item.get("note"):
                item["assignment_id"] += f"\n{item['note']}"
    return outcome


class AssignmentListHandler(listing.AssignmentListHandler):  # type: ignore[misc]  # nbgrader has no types
    """GET ``assignments``: what is released, fetched and submitted."""

    @web.authenticated
    async def get(self) -> None:
        """List the assignments of the course in the query."""
        course = self.get_argument("course_id")
        found = await asyncio.to_thread(self.manager.list_assignments, course_id=course)
        await self.finish(json.dumps(with_notes(plain(found))))


class CourseListHandler(listing.CourseListHandler):  # type: ignore[misc]  # nbgrader has no types
    """GET ``courses``: the courses that have assignments."""

    @web.authenticated
    async def get(self) -> None:
        """List the courses."""
        await self.finish(json.dumps(plain(await asyncio.to_thread(self.manager.list_courses))))


class AssignmentActionHandler(listing.AssignmentActionHandler):  # type: ignore[misc]  # nbgrader has no types
    """POST ``assignments/fetch``, ``submit`` or ``fetch_feedback``."""

    @web.authenticated
    async def post(self, action: str) -> None:
        """Do it; answer with the new list, or with what went wrong."""
        body: dict[str, Any] = self.get_json_body()
        await self.finish(json.dumps(with_notes(plain(await asyncio.to_thread(self._act, action, **body)))))

    def _act(self, action: str, *, course_id: str, assignment_id: str) -> dict[str, Any]:
        assignment_id = assignment_id.partition("\n")[0]  # what stands below is a note
        do = {
            "fetch": self.manager.fetch_assignment,
            "submit": self.manager.submit_assignment,
            "fetch_feedback": self.manager.fetch_feedback,
        }[action]
        outcome: dict[str, Any] = do(course_id, assignment_id)
        return self.manager.list_assignments(course_id=course_id) if outcome["success"] else outcome


class ValidateHandler(validation.ValidateAssignmentHandler):  # type: ignore[misc]  # nbgrader has no types
    """POST ``assignments/validate``: the self-check, run in a kernel of its own."""

    @web.authenticated
    async def post(self) -> None:
        """Run the notebook and its visible tests."""
        path = self.get_json_body()["path"]
        await self.finish(json.dumps(await asyncio.to_thread(self.validate_notebook, path)))
