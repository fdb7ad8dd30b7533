"""Takes what students' servers report; what is made of it is gpuclass.desk.reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gpuclass.desk.context import Owner, TheDesk
from gpuclass.desk.reports import BadReportError
from gpuclass.exchange.store.reading import releases
from gpuclass.exchange.store.store import Store
from gpuclass.roster import Role
from gpuclass.settings import Settings

PATH = "/own/report"
KNOWN_FOR_S = 10.0  # a new assignment is known so soon; 500 servers report every half minute

router = APIRouter()


class Known:
    """Names of the class's sessions and of the assignments that were released."""

    def __init__(self, settings: Settings, exchange: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions = frozenset(settings.curriculum.sessions)
        self._course = settings.course
        self._exchange = exchange
        self._clock = clock
        self._assignments: frozenset[str] = frozenset()
        self._read_at = -KNOWN_FOR_S

    def __contains__(self, name: object) -> bool:
        if name in self._sessions or name in self._assignments:
            return True
        if self._clock() - self._read_at >= KNOWN_FOR_S:
            self._read_at = self._clock()
            self._assignments = frozenset(each.assignment for each in releases(self._exchange, self._course))
        return name in self._assignments


def worth_a_line(record: logging.LogRecord) -> bool:
    """Whether a request is worth a line in the desk's log: not each of the reports that come every half minute."""
    match record.args:
        case (_, "POST", str() as path, _, 204):
            return not path.endswith(PATH)
    return True


@router.post(PATH)
async def report(request: Request, desk: TheDesk, person: Owner) -> Response:
    """Keep what the owner's notebooks report; nothing from servers that started before reports were turned off."""
    if not desk.settings.desk.reports:
        return Response(status_code=403)
    body = await request.body()  # bounded by the app
    if person.role is Role.STUDENT:  # nobody looks at how a mentor or teacher is getting on
        try:
            desk.reports.take(person.login, body)
        except BadReportError as error:
            return JSONResponse({"error": str(error)}, 422)
    return Response(status_code=204)
