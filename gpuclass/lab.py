"""What gpuclass adds to a user's server, inside the container: a Jupyter server extension.

Start-up is what eighty students wait for at once, so nothing here imports nbgrader, SQLAlchemy or the curriculum before
somebody asks for them. The figures behind that are in docs/explanation/images.md.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import os
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.paths import jupyter_path
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web
from traitlets import default, import_item

from gpuclass.exchange.client.background import Background
from gpuclass.exchange.client.following import Following
from gpuclass.following_desk import FollowingDesk
from gpuclass.noticeboard import NoticeBoard
from gpuclass.panel import PanelHandler
from gpuclass.reporting import wanted
from gpuclass.singleuser import INSTRUCTOR

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp
    from tornado.httputil import HTTPServerRequest

CURRICULUM = Path("/srv/curriculum.git")

LAZY_HANDLERS = {
    r"/assignments": "gpuclass.assignments.AssignmentListHandler",
    r"/assignments/(?P<action>fetch|submit|fetch_feedback)": "gpuclass.assignments.AssignmentActionHandler",
    r"/assignments/validate": "gpuclass.assignments.ValidateHandler",
    r"/courses": "gpuclass.assignments.CourseListHandler",
}
"""What nbgrader's extension in Lab calls for a student, when the Assignments tab or Validate is used."""


class LazyHandler(web.RequestHandler):
    """Stands for a handler that is expensive to import: the first request imports it."""

    def __new__(  # type: ignore[misc]  # noqa: D102 - not an instance of this class, so Python skips __init__
        cls, application: web.Application, request: HTTPServerRequest, *, target: str, server: ServerApp
    ) -> web.RequestHandler:
        handler = import_item(target)
        if "assignment_list_manager" not in application.settings:
            from nbgrader.server_extensions.assignment_list.handlers import AssignmentList

            manager = AssignmentList(parent=server)
            manager.root_dir = server.root_dir
            application.settings |= {"assignment_list_manager": manager, "root_dir": server.root_dir}
        return handler(application, request)  # type: ignore[no-any-return]  # import_item has no types


class VersionHandler(APIHandler):
    """nbgrader's front end asks at every page load whether it fits the server: answered without importing nbgrader."""

    @web.authenticated
    def get(self) -> None:
        """Compare the version in the query with the installed one."""
        from importlib.metadata import version

        asked, installed = self.get_argument("version"), version("nbgrader")
        fits = asked == installed
        self.finish({"success": fits, "message": "" if fits else f"Lab has nbgrader {asked}, the server {installed}."})


class KernelSpecs(KernelSpecManager):
    """Finds kernels where Jupyter looks for them, without importing IPython to ask where else there might be some."""

    @default("kernel_dirs")
    def _kernel_dirs_default(self) -> list[str]:
        return jupyter_path("kernels")


class Curriculum:
    """Merges released notebooks into the home, one merge at a time, and remembers what the last one said."""

    def __init__(self, repository: Path, home: Path, language: str) -> None:
        self.repository = repository
        self.home = home
        self.language = language
        self.last: dict[str, Any] | None = None
        self._turn = asyncio.Lock()

    def start(self) -> None:
        """Merge in the background."""
        self._background = asyncio.create_task(self.merge())  # kept, or it could be collected before it ends

    async def merge(self) -> dict[str, Any]:
        """Merge in a thread; the server goes on answering."""
        async with self._turn:
            self.last = await asyncio.to_thread(self._merge)
            return self.last

    def _merge(self) -> dict[str, Any]:
        from gpuclass.curriculum import merge

        result = merge(self.repository, self.home)
        return {**dataclasses.asdict(result), "text": result.text(self.language)}


class CurriculumHandler(APIHandler):
    """``gpuclass/curriculum``: GET what the last merge said (null before the first), POST to merge now."""

    def initialize(self, curriculum: Curriculum) -> None:
        """Take the server's one Curriculum."""
        self.curriculum = curriculum

    @web.authenticated
    def get(self) -> None:
        """Answer with the last result."""
        self.finish(json.dumps(self.curriculum.last))

    @web.authenticated
    async def post(self) -> None:
        """Merge and answer with the result."""
        await self.finish(json.dumps(await self.curriculum.merge()))


class SeatHandler(APIHandler):
    """``gpuclass/seat``: what Lab's status bar and notices show; asked for every few seconds."""

    _track_activity = False  # an open page is no sign of somebody at work: no seat would ever be idle

    def initialize(self, board: NoticeBoard) -> None:
        """Take the server's one board."""
        self.board = board

    @web.authenticated
    def get(self) -> None:
        """Answer with the seat and its notices as they are now."""
        self.finish(json.dumps(self.board.read()))

    def _log(self) -> None:
        """Only failures: a line every five seconds would push all others out of the container's small log."""
        if self.get_status() >= HTTPStatus.BAD_REQUEST:
            super()._log()


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "gpuclass.lab"}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """Register the handlers; Formgrader and the list of courses for instructors only."""
    settings = server.web_app.settings
    settings["gpuclass_curriculum"] = curriculum = Curriculum(
        CURRICULUM, Path(server.root_dir), os.environ.get("GPUCLASS_LANGUAGE", "ko")
    )
    settings["gpuclass_outbox"] = Background(Path.home())
    settings["gpuclass_following"] = Following(Path.home())
    url = os.environ.get("GPUCLASS_DESK_URL")
    desk = FollowingDesk(url, os.environ.get("JUPYTERHUB_API_TOKEN", "")) if url else None
    settings["gpuclass_desk"] = desk
    handlers: list[tuple[Any, ...]] = [
        (r"/nbgrader_version", VersionHandler),
        (r"/gpuclass/curriculum", CurriculumHandler, {"curriculum": curriculum}),
        (r"/gpuclass/seat", SeatHandler, {"board": NoticeBoard(desk=desk.notices if desk else tuple)}),
        (r"/gpuclass/panel(?:/(?P<path>[a-z/]*))?", PanelHandler),
    ]
    handlers += [(path, LazyHandler, {"target": target, "server": server}) for path, target in LAZY_HANDLERS.items()]
    server.web_app.add_handlers(  # type: ignore[no-untyped-call]  # tornado's lacks an annotation
        ".*$", [(url_path_join(settings["base_url"], path), *rest) for path, *rest in handlers]
    )

    if os.environ.get("GPUCLASS_ROLE") == INSTRUCTOR:
        from nbgrader.server_extensions import course_list, formgrader

        course_list.load_jupyter_server_extension(server)
        formgrader.load_jupyter_server_extension(server)


async def _start_jupyter_server_extension(server: ServerApp) -> None:
    """Called when the server answers: merge the curriculum and send what waits, without anybody waiting for it."""
    gc.enable()  # off since gpuclass.singleuser began
    gc.freeze()
    curriculum: Curriculum = server.web_app.settings["gpuclass_curriculum"]
    curriculum.start()
    outbox: Background = server.web_app.settings["gpuclass_outbox"]
    outbox.start()
    following: Following = server.web_app.settings["gpuclass_following"]
    following.start()
    desk: FollowingDesk | None = server.web_app.settings["gpuclass_desk"]
    if desk:
        desk.start()
    if wanted(os.environ):
        from gpuclass.reporting.posting import reporting

        settings = server.web_app.settings
        settings["gpuclass_reporting"] = reports = reporting(server, os.environ)
        if reports:
            reports.start()
