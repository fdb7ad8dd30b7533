"""Formgrader in the instructor's container: Autograde asks the grading service, due dates are the exchange's.

What its pages show of the grading service is `gradingdesk`.

There is no Docker in that container, and only one process may run nbgrader's Autograde. A due date is saved with the
exchange, which decides who is late, before it is written into the gradebook. Everything else in Formgrader works on the
course folder and the gradebook as it always did. A Jupyter server extension.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from nbgrader.api import Gradebook
from nbgrader.apps.api import NbGraderAPI
from nbgrader.server_extensions.formgrader import apihandlers, base, handlers
from nbgrader.utils import to_numeric_tz
from tornado import web
from traitlets import default

from gpuclass.exchange.client import checking, due
from gpuclass.exchange.client.connection import Refused
from gpuclass.exchange.messages import say as exchange_say
from gpuclass.exchange.records import Deadline
from gpuclass.grader import gradingdesk
from gpuclass.grader.gradebook import write_deadline
from gpuclass.grader.gradingdesk import Exchange, connect, language
from gpuclass.grader.words import Language, say

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def request_grading(
    exchange: Exchange, course: str, assignment: str, student: str, language: Language
) -> dict[str, Any]:
    """Put a student's latest submission in the queue; the page shows how far it is.

    Returns:
        What Formgrader's page expects: ``success``, ``log`` and, after a failure, ``error``.
    """
    try:
        number = exchange.post("gpuclass", "v1", "grading", course, assignment, student)["job"]
    except Refused as refused:
        return {"success": False, "log": "", "error": str(refused)}
    return {"success": True, "log": say(language, "queued", number=number)}


def due_of(form: Mapping[str, Any], zone: str) -> datetime | None:
    """The due date in what Formgrader's page sends; None for none.

    The page offers the zone's offset of today. Left as it is, or empty, it means the class's clocks on that day, which
    summer time may have changed.

    Args:
        form: ``duedate_notimezone`` and ``duedate_timezone``.
        zone: the class's.

    Raises:
        ValueError: it is no time, or the offset is none.
    """
    text, offset = form.get("duedate_notimezone"), str(form.get("duedate_timezone") or "").strip()
    if not text:
        return None
    here: tzinfo | None = ZoneInfo(zone)
    if offset.upper() in ("UTC", "GMT", "Z"):
        here = UTC
    elif offset not in ("", to_numeric_tz(zone)):
        here = datetime.strptime(offset, "%z").tzinfo
    return datetime.fromisoformat(str(text)).replace(tzinfo=here).astimezone(UTC)


def save_due(exchange: due.Exchange, course: str, assignment: str, moment: datetime | None) -> Deadline:
    """Give the exchange a due date; the deadline to be written into the gradebook.

    An assignment that is not released yet is none of the exchange's: its due date goes along with the release.

    Raises:
        Refused: the exchange did not take it.
    """
    try:
        return due.put(exchange, course, assignment, moment)
    except Refused as refused:
        if (refused.status, refused.message) != (404, "Assignment not found"):
            raise
        return Deadline(moment)


class ServiceAPI(NbGraderAPI):  # type: ignore[misc]  # nbgrader has no types
    """nbgrader's API: `autograde` by the grading service, times in the class's zone, due dates as the exchange's."""

    @default("timezone")
    def _timezone_default(self) -> str:
        return os.environ.get("GPUCLASS_TIMEZONE") or "UTC"

    def get_assignments(self) -> list[dict[str, Any]]:
        """All assignments; before that the gradebook gets the deadlines that were set elsewhere."""
        try:
            deadlines = due.deadlines(connect(), self.coursedir.course_id)
        except Refused as refused:
            self.log.warning("The gradebook's due dates may be out of date: %s", refused)
        else:
            with Gradebook(self.coursedir.db_url, self.coursedir.course_id) as gradebook:
                for assignment, deadline in deadlines.items():
                    write_deadline(gradebook, assignment, deadline)
        found: list[dict[str, Any]] = super().get_assignments()
        return found

    def autograde(self, assignment_id: str, student_id: str, force: bool = True, create: bool = True) -> dict[str, Any]:
        """Have one student's latest submission graded."""
        return request_grading(connect(), self.coursedir.course_id, assignment_id, student_id, language())


class AutogradeHandler(apihandlers.AutogradeHandler):  # type: ignore[misc]  # as above
    """The button's handler, in a thread: nbgrader's own stops the whole server meanwhile."""

    @web.authenticated
    @apihandlers.check_xsrf  # type: ignore[untyped-decorator]  # nbgrader has no types
    @apihandlers.check_notebook_dir  # type: ignore[untyped-decorator]  # as above
    async def post(self, assignment_id: str, student_id: str) -> None:
        """Put it in the queue, and answer."""
        outcome = await asyncio.to_thread(
            request_grading, connect(), self.coursedir.course_id, assignment_id, student_id, language()
        )
        await self.finish(json.dumps(outcome))


class ReleaseHandler(apihandlers.ReleaseHandler):  # type: ignore[misc]  # as above
    """The release button: the assignment is tried first, in a thread, for that takes longer than a server may stand."""

    @web.authenticated
    @apihandlers.check_xsrf  # type: ignore[untyped-decorator]  # as above
    @apihandlers.check_notebook_dir  # type: ignore[untyped-decorator]  # as above
    async def post(self, assignment_id: str) -> None:
        """Release and answer with the outcome, or with what has to be mended before."""
        assignment, course = assignment_id.strip(), self.coursedir.course_id
        try:
            verdict = await asyncio.to_thread(checking.check, connect(), course, assignment, language(), self.log.info)
        except Refused as refused:
            await self.finish(json.dumps({"success": False, "log": "", "error": str(refused)}))
            return
        report = "\n".join(verdict.lines)
        if verdict.state == "refused":
            words = exchange_say(language(), "teach.not_in_order", assignment=assignment)
            await self.finish(json.dumps({"success": False, "log": f"{report}\n\n{words}"}))
            return
        with checking.tried():
            outcome = self.api.release_assignment(assignment)
        outcome["log"] = f"{report}\n{outcome.get('log') or ''}"
        await self.finish(json.dumps(outcome))


async def refuse(handler: base.BaseApiHandler, status: int, message: str) -> None:
    """Answer with a reason that the page shows."""
    handler.set_status(status)
    await handler.finish(json.dumps({"message": message}))


class AssignmentHandler(apihandlers.AssignmentHandler):  # type: ignore[misc]  # as above
    """GET and PUT of one assignment; the due date is saved with the exchange first, and not at all if that fails."""

    @web.authenticated
    @apihandlers.check_xsrf  # type: ignore[untyped-decorator]  # as above
    @apihandlers.check_notebook_dir  # type: ignore[untyped-decorator]  # as above
    async def put(self, assignment_id: str) -> None:
        """Save what the dialog says; answer with the assignment, or with the reason why nothing was saved."""
        assignment, api = assignment_id.strip(), self.api
        try:
            moment = due_of(self.get_json_body(), api.timezone)
            deadline = await asyncio.to_thread(save_due, connect(), self.coursedir.course_id, assignment, moment)
        except ValueError:
            await refuse(self, 400, say(language(), "bad-due", zone=api.timezone))
        except Refused as refused:
            await refuse(self, 409, say(language(), "due-not-saved", reason=refused))
        else:
            self.gradebook.update_or_create_assignment(assignment)
            write_deadline(self.gradebook, assignment, deadline)
            source = self.coursedir.format_path(self.coursedir.source_directory, ".", assignment)
            os.makedirs(source, exist_ok=True)  # noqa: PTH103  # as nbgrader does for a new assignment
            await self.finish(json.dumps(api.get_assignment(assignment)))


# nbgrader's page waits at "Saving..." for ever when that fails: say why, and let it be tried again.
SHOW_REFUSAL = """
{%- block head -%}
{{ super() }}
<script>
$(document).ajaxError(function (event, answer, request) {
    if (request.type !== "PUT") { return; }
    var text = answer.statusText;
    try { text = JSON.parse(answer.responseText).message; } catch (error) { /* not ours: the status has to do */ }
    var said = $("<div/>").addClass("alert alert-danger not-saved").text(text);
    var dialog = $("#edit-assignment-modal");
    if (!dialog.length) { dialog = createModal("not-saved-modal", "Error", said); }
    dialog.find(".not-saved").remove();
    dialog.find(".modal-body").append(said);
    dialog.find("button.save").text("Save");
    dialog.off("hidden.bs.modal.not-saved").on("hidden.bs.modal.not-saved", function () { window.location.reload(); });
});
</script>
{%- endblock -%}
"""


class ManageAssignmentsHandler(handlers.ManageAssignmentsHandler):  # type: ignore[misc]  # as above
    """The page of all assignments, which says why a due date could not be saved."""

    def render(self, name: str, **values: Any) -> str:
        """The page, or an error's."""
        if name != "manage_assignments.tpl":
            return str(super().render(name, **values))
        made = self.settings["nbgrader_jinja2_env"].from_string(gradingdesk.template(name) + SHOW_REFUSAL)
        return str(made.render(**values, **gradingdesk.panel(language())))


OWN = {
    apihandlers.AutogradeHandler: AutogradeHandler,
    apihandlers.AssignmentHandler: AssignmentHandler,
    apihandlers.ReleaseHandler: ReleaseHandler,
    handlers.ManageAssignmentsHandler: ManageAssignmentsHandler,
    handlers.ManageSubmissionsHandler: gradingdesk.ManageSubmissionsHandler,
}


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "gpuclass.grader.formgrader"}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """Put ours in nbgrader's place. Extensions load in the order of their names: this one before nbgrader's."""
    base.NbGraderAPI = ServiceAPI
    for module in (apihandlers, handlers):
        module.default_handlers = [
            (path, OWN.get(handler, handler), *more) for path, handler, *more in module.default_handlers
        ]
    apihandlers.default_handlers += gradingdesk.HANDLERS
