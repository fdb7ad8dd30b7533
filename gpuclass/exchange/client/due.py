"""Deadlines as instructors see and set them from their container, by the exchange's word.

``python -m gpuclass.exchange.client.due warm-up "2026-11-24 18:00" --student student1``; Formgrader uses the functions.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from gpuclass.errors import UsageError
from gpuclass.exchange.client.connection import Refused, from_environment
from gpuclass.exchange.messages import Language, say
from gpuclass.exchange.records import Deadline
from gpuclass.exchange.when import moment
from gpuclass.exchange.wire import read_time, show_time


class Exchange(Protocol):
    """The two requests that are made; a `Connection`, or a double in tests."""

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        """Answer to GET."""

    def put(self, *path: str, **fields: str) -> dict[str, Any]:
        """Answer to PUT."""


def deadlines(exchange: Exchange, course: str) -> dict[str, Deadline]:
    """The course's deadlines by assignment; one that never had a deadline is not in it.

    Raises:
        Refused: the exchange does not answer, or not this person.
    """
    answer = exchange.get("gpuclass", "v1", "deadlines", course)
    return {entry["assignment"]: _deadline(entry) for entry in answer["deadlines"]}


def put(exchange: Exchange, course: str, assignment: str, due: datetime | None, student: str = "") -> Deadline:
    """Set the class's deadline or, with ``student``, theirs; None takes it away. Returns the deadline as it is now.

    Raises:
        Refused: with status 404, an assignment that is not released yet, or a student who is not in the course.
    """
    path = ("gpuclass", "v1", "deadline", course, assignment, *([student] if student else []))
    return _deadline(exchange.put(*path, due=show_time(due) if due else ""))


def shown(due: datetime | None, zone: str, language: Language) -> str:
    """A deadline for people, in the class's zone and with its name."""
    if due is None:
        return say(language, "due.none")
    here = due.astimezone(ZoneInfo(zone))
    return f"{here:%Y-%m-%d %H:%M}{'' if here.second == 0 else f':{here:%S}'} ({zone})"


def _deadline(entry: Mapping[str, Any]) -> Deadline:
    extensions = {login: read_time(text) for login, text in entry["extensions"].items()}
    return Deadline(read_time(entry["due"]) if entry["due"] else None, extensions)


def run(arguments: list[str], exchange: Exchange, environ: Mapping[str, str], now: datetime) -> list[str]:
    """Show or set a deadline; the lines to print.

    Raises:
        Refused: the exchange said no.
        UsageError: what was typed is no time.
    """
    language: Language = "en" if environ.get("GPUCLASS_LANGUAGE") == "en" else "ko"
    zone = environ.get("GPUCLASS_TIMEZONE") or "UTC"
    given = _parser(language).parse_args(arguments)
    course = given.course or environ.get("GPUCLASS_COURSE", "")
    if given.when:
        try:
            due = moment(given.when, zone, now)
        except UsageError:
            raise UsageError(say(language, "due.when", text=given.when, zone=zone)) from None
        found = put(exchange, course, given.assignment, due, given.student)
    else:
        found = deadlines(exchange, course).get(given.assignment, Deadline())
    lines = [f"{given.assignment}: {shown(found.due, zone, language)}"]
    for login, extension in sorted(found.extensions.items()):
        if given.student in ("", login):
            effect = "" if found.of(login) == extension else " · " + say(language, "due.no_effect")
            lines.append(f"  {login}: {shown(extension, zone, language)}{effect}")
    return lines


def _parser(language: Language) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m gpuclass.exchange.client.due", description=say(language, "due.help"))
    parser.add_argument("assignment", help=say(language, "due.help_assignment"))
    parser.add_argument("when", nargs="?", default="", help=say(language, "due.help_when"))
    parser.add_argument("--student", metavar="LOGIN", default="", help=say(language, "due.help_student"))
    parser.add_argument("--course", default="", help=argparse.SUPPRESS)
    return parser


def main() -> int:
    """The command; 0 if it was done."""
    language: Language = "en" if os.environ.get("GPUCLASS_LANGUAGE") == "en" else "ko"
    try:
        connection = from_environment(language)
        print(*run(sys.argv[1:], connection, os.environ, datetime.now(UTC)), sep="\n")
    except (Refused, UsageError) as error:
        text = say(language, "due.not_released") if _not_released(error) else str(error)
        print(text, file=sys.stderr)
        return 1
    return 0


def _not_released(error: Exception) -> bool:
    return isinstance(error, Refused) and (error.status, error.message) == (404, "Assignment not found")


if __name__ == "__main__":
    sys.exit(main())
