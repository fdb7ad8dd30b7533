"""The grading service on Formgrader's pages: how far it is, who waits for a person, and a re-grade before it counts.

The page asks this server, and this server asks the exchange with the instructor's token: the page never has it. What
changes scores is a POST, which Jupyter takes with its XSRF token only.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from nbgrader.server_extensions.formgrader import apihandlers, base, handlers
from tornado import web

from gpuclass.exchange.client.connection import Connection, Refused, from_environment
from gpuclass.grader.words import Language, pattern

SCRIPT = Path(__file__).with_suffix(".js")
WORDS = (
    *("graded-of", "waiting", "running", "delayed", "failed", "quarantined", "worker-gone"),
    *("list-quarantined", "list-failing", "regrade", "student", "total", "parts", "apply", "cancel", "not-queued"),
    *("batch-previewing", "batch-ready", "batch-same", "batch-applying", "batch-applied", "batch-cancelled"),
    "batch-failed",
)

PANEL = """
{%- extends "NAME" -%}
{%- block messages -%}
<div id="gpuclass-grading"></div>
{%- if not gpuclass_grading.assignment -%}
{{ super() }} {#- those of one assignment's page are for a terminal with Docker, which is not here -#}
{%- endif -%}
{%- endblock -%}
{%- block script -%}
{{ super() }}
<script>
var gpuclassGrading = {{ gpuclass_grading | tojson }};
{{ gpuclass_script | safe }}
</script>
{%- endblock -%}
"""
"""Formgrader's template ``NAME`` with the desk above its instructions."""


class Exchange(Protocol):
    """The two requests that are made; a `Connection`, or a double in tests."""

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        """Answer to GET."""

    def post(self, *path: str, **fields: str) -> dict[str, Any]:
        """Answer to POST."""


def language() -> Language:
    """The class's language, as the container was told."""
    return "en" if os.environ.get("GPUCLASS_LANGUAGE") == "en" else "ko"


def connect() -> Connection:
    """The exchange of the class."""
    return from_environment(language())


def words(spoken: Language) -> dict[str, str]:
    """What the page says, with its places for numbers left as they are."""
    return {key: pattern(spoken, f"desk-{key}") for key in WORDS}


def panel(spoken: Language, assignment: str = "") -> dict[str, Any]:
    """What `PANEL` needs beside the values of Formgrader's own template; without an assignment it shows all."""
    return {
        "gpuclass_grading": {"words": words(spoken), "assignment": assignment},
        "gpuclass_script": SCRIPT.read_text(encoding="utf-8"),
    }


def template(name: str) -> str:
    """Formgrader's template ``name``, with the desk."""
    return PANEL.replace("NAME", name)


def progress(exchange: Exchange, course: str) -> dict[str, Any]:
    """How far grading is, as the exchange says it."""
    return exchange.get("gpuclass", "v1", "grading", course)


def begin(exchange: Exchange, course: str, assignment: str) -> dict[str, Any]:
    """Have a re-grade of everybody previewed; nothing counts yet."""
    return exchange.post("gpuclass", "v1", "regrade", course, assignment, student="")


def batch(exchange: Exchange, course: str, assignment: str, number: str) -> dict[str, Any]:
    """What a re-grade would change, and how far it is."""
    return exchange.get("gpuclass", "v1", "regrade", course, assignment, number)


def decide(exchange: Exchange, course: str, assignment: str, number: str, what: str) -> dict[str, Any]:
    """``apply`` a previewed re-grade or ``cancel`` it."""
    return exchange.post("gpuclass", "v1", "regrade", course, assignment, number, what)


class Handler(base.BaseApiHandler):  # type: ignore[misc]  # nbgrader has no types
    """Answers with what the exchange says, or with why it refused, in one sentence."""

    async def ask(self, question: Callable[..., dict[str, Any]], *details: str) -> None:
        """Put a question to the exchange in a thread: this server has only one for everything else."""
        exchange = connect()
        try:
            found = await asyncio.to_thread(question, exchange, self.coursedir.course_id, *details)
        except Refused as refused:
            self.set_status(refused.status if refused.status in (403, 404, 409) else 503)
            found = {"message": str(refused)}
        finally:
            exchange.close()
        await self.finish(json.dumps(found))


class ProgressHandler(Handler):
    """GET: how far grading is."""

    @web.authenticated
    @apihandlers.check_xsrf  # type: ignore[untyped-decorator]  # nbgrader has no types
    async def get(self) -> None:
        """Answer."""
        await self.ask(progress)


class RegradeHandler(Handler):
    """POST: begin the preview of a re-grade of an assignment."""

    @web.authenticated
    @apihandlers.check_xsrf  # type: ignore[untyped-decorator]  # as above
    async def post(self, assignment: str) -> None:
        """Answer with its number."""
        await self.ask(begin, assignment)


class BatchHandler(Handler):
    """GET: a re-grade, and what it changes."""

    @web.authenticated
    @apihandlers.check_xsrf  # type: ignore[untyped-decorator]  # as above
    async def get(self, assignment: str, number: str) -> None:
        """Answer."""
        await self.ask(batch, assignment, number)


class DecisionHandler(Handler):
    """POST: apply or cancel a re-grade."""

    @web.authenticated
    @apihandlers.check_xsrf  # type: ignore[untyped-decorator]  # as above
    async def post(self, assignment: str, number: str, what: str) -> None:
        """Answer."""
        await self.ask(decide, assignment, number, what)


class ManageSubmissionsHandler(handlers.ManageSubmissionsHandler):  # type: ignore[misc]  # as above
    """The page of one assignment's submissions, with the desk."""

    def render(self, name: str, **values: Any) -> str:
        """The page, or an error's."""
        if name != "manage_submissions.tpl":
            return str(super().render(name, **values))
        made = self.settings["nbgrader_jinja2_env"].from_string(template(name))
        return str(made.render(**values, **panel(language(), values["assignment_id"])))


HANDLERS = [
    (r"/formgrader/api/grading", ProgressHandler),
    (r"/formgrader/api/regrade/([^/]+)", RegradeHandler),
    (r"/formgrader/api/regrade/([^/]+)/(\d+)", BatchHandler),
    (r"/formgrader/api/regrade/([^/]+)/(\d+)/(apply|cancel)", DecisionHandler),
]
