"""What notebooks report: parsed from a student's container, so bounded and trusted for nothing but that student's tile.

Whoever runs code in a container can post anything with its token, but only as themselves. Nothing here is written to
disk: a report is what is true now, and is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

BODY_LIMIT = 4096  # bytes of one report
COUNT_LIMIT = 1_000_000
CLASSES_LIMIT = 5
KEPT = timedelta(hours=12)  # a day's lessons
LATE = timedelta(seconds=90)  # three reports missed: what it says about now no longer holds
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

Kind = Literal["lecture", "exercise", ""]


class BadReportError(ValueError):
    """A body that is no report; the text says why, without quoting it."""


@dataclass(frozen=True)
class ErrorCount:
    """How often errors of one class ended a cell."""

    name: str
    count: int


@dataclass(frozen=True)
class Report:
    """The newest state of one student's notebooks.

    Attributes:
        session: the class's session or assignment in which a cell ran last; empty for another notebook, or none.
        kind: whether that is a lecture or an exercise; empty where session is.
        cells: run there since the server started.
        errors: there since the server started, the most frequent first.
        repeated: how often in a row the same cell failed with the same class; 0 when it succeeded since.
        busy: whether a cell runs.
        at: when the desk got it.
    """

    session: str = ""
    kind: Kind = ""
    cells: int = 0
    errors: tuple[ErrorCount, ...] = ()
    repeated: int = 0
    busy: bool = False
    at: datetime = NEVER

    def late(self, now: datetime) -> bool:
        """Whether the server has been silent since: off, or cut off."""
        return now - self.at > LATE

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        errors = [{"class": error.name, "count": error.count} for error in self.errors]
        return asdict(self) | {"errors": errors, "at": self.at.isoformat(timespec="seconds")}

    def told(self, language: str, *, late: bool = False) -> str:
        """All that teachers are told, line by line, for the student whose it is.

        Args:
            language: "ko" or "en".
            late: whether the server has been silent since.
        """
        words = WORDS.get(language, WORDS["en"])
        errors = ", ".join(words["error"].format(name=error.name, count=error.count) for error in self.errors)
        lines = [
            words[self.kind or "no session"].format(session=self.session),
            words["cells"].format(count=self.cells),
            words["errors"].format(errors=errors) if errors else words["no errors"],
            words["repeated"].format(count=self.repeated) if self.repeated > 1 else "",
            words["late" if late else "busy" if self.busy else "idle"],
            words["never"],
        ]
        return "\n".join(line for line in lines if line)


def _clamped(value: object) -> object:
    return min(max(value, 0), COUNT_LIMIT) if type(value) is int else value


Count = Annotated[int, BeforeValidator(_clamped)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Error(_Strict):
    name: str = Field(alias="class", max_length=60, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    count: Count


class _Body(_Strict):
    session: str = ""
    kind: Kind = ""
    cells: Count
    errors: tuple[_Error, ...] = Field((), strict=False, max_length=100)
    repeated: Count
    busy: bool


def parse(body: bytes, known: Container[str], now: datetime) -> Report:
    """A report from what a container posted.

    Args:
        body: as it came; more than BODY_LIMIT bytes need not be read to the end.
        known: names of the class's sessions and assignments; any other name is forgotten here.
        now: the desk's own time. What the container says about time is not looked at.

    Raises:
        BadReportError: it is none.
    """
    if len(body) > BODY_LIMIT:
        raise BadReportError(f"a report has at most {BODY_LIMIT} bytes")
    try:
        found = _Body.model_validate_json(body)
    except ValidationError as error:
        # Numbers and fixed words only: a key of the container's own would be its text.
        raise BadReportError(f"not a report: {error.error_count()} fields are missing or wrong") from None
    is_known = found.session in known and bool(found.kind)
    counts: dict[str, int] = {}
    for each in found.errors:
        counts[each.name] = min(counts.get(each.name, 0) + each.count, COUNT_LIMIT)
    ranked = sorted((ErrorCount(*pair) for pair in counts.items() if pair[1]), key=lambda each: -each.count)
    return Report(
        session=found.session if is_known else "",
        kind=found.kind if is_known else "",
        cells=found.cells,
        errors=tuple(ranked[:CLASSES_LIMIT]),
        repeated=found.repeated,
        busy=found.busy,
        at=now,
    )


class Reports:
    """The newest report of each login, in memory. Routes ask from several threads.

    Args:
        known: names of the class's sessions and assignments.
        now: the desk's time.
    """

    def __init__(self, known: Container[str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._known = known
        self._now = now
        self._reports: dict[str, Report] = {}
        self._turn = threading.Lock()

    def take(self, login: str, body: bytes) -> Report:
        """Keep a report in place of the login's last one.

        Raises:
            BadReportError: it is none; the last one stays.
        """
        report = parse(body, self._known, self._now())
        with self._turn:
            self._reports.pop(login, None)
            self._reports[login] = report
        return report

    def get(self, login: str) -> Report | None:
        """The login's report; None if there is none, or it is forgotten."""
        return self.all().get(login)

    def all(self) -> Mapping[str, Report]:
        """Login → report. A copy: it stays as it is while somebody goes through it."""
        with self._turn:
            self._forget()
            return dict(self._reports)

    def drop(self, login: str) -> None:
        """Forget a login's report, because the person has left the class."""
        with self._turn:
            self._reports.pop(login, None)

    def _forget(self) -> None:
        """Forget what is old. Reports lie in the order in which they came, so the old ones are first."""
        oldest = self._now() - KEPT
        while self._reports and (first := next(iter(self._reports.items())))[1].at < oldest:
            del self._reports[first[0]]


WORDS = {
    "ko": {
        "lecture": "열어 둔 수업: {session} (강의 노트북)",
        "exercise": "열어 둔 수업: {session} (과제)",
        "no session": "열어 둔 수업: 없음. 다른 노트북을 쓰고 있어도 선생님께 그 이름은 보이지 않아요.",
        "cells": "서버를 켠 뒤 여기에서 실행한 셀: {count}번",
        "error": "{name} {count}번",
        "errors": "여기에서 난 오류의 종류: {errors}",
        "no errors": "여기에서 난 오류: 없음",
        "repeated": "같은 셀에서 같은 오류가 이어서 {count}번 났어요.",
        "busy": "지금 셀이 실행되고 있어요.",
        "idle": "지금 실행되고 있는 셀은 없어요.",
        "late": "그 뒤로는 서버에서 소식이 없어요.",
        "never": "선생님께 보이는 것은 이것뿐이에요. 코드, 출력, 글, 파일 내용은 전하지 않아요.",
    },
    "en": {
        "lecture": "Open session: {session} (lecture)",
        "exercise": "Open session: {session} (exercise)",
        "no session": "Open session: none. If you use another notebook, teachers do not see its name.",
        "cells": "Cells run here since your server started: {count}",
        "error": "{name} × {count}",
        "errors": "Kinds of errors here: {errors}",
        "no errors": "Errors here: none",
        "repeated": "The same cell has failed with the same error {count} times in a row.",
        "busy": "A cell is running now.",
        "idle": "No cell is running now.",
        "late": "Nothing has been heard of your server since.",
        "never": "That is all that teachers see. Code, output, text and the content of files are not told.",
    },
}
