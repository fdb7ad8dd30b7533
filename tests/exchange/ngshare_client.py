"""ngshare_exchange's classes in nbgrader, and its course management, for one person. A program, not a module of tests.

    PYTHONPATH=<ngshare's folder> JUPYTERHUB_USER=… JUPYTERHUB_API_TOKEN=… python -m tests.exchange.ngshare_client URL

Works in the current folder. Reads one JSON list a line, ``[WHAT, COURSE, ASSIGNMENT, OPTIONS]`` for a class of
nbgrader's exchange or ``["manage", ARGUMENT, …]``, and answers each with a line of JSON: what ``start()`` returned, or
what was printed; and what was logged as an error.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange import ExchangeFactory
from traitlets.config import Config

CLASSES = {
    "exchange": "Exchange",
    "fetch_assignment": "ExchangeFetchAssignment",
    "fetch_feedback": "ExchangeFetchFeedback",
    "release_assignment": "ExchangeReleaseAssignment",
    "release_feedback": "ExchangeReleaseFeedback",
    "list": "ExchangeList",
    "submit": "ExchangeSubmit",
    "collect": "ExchangeCollect",
}


def press(url: str, what: str, course: str, assignment: str, options: dict[str, Any], log: logging.Logger) -> Any:
    """Do what nbgrader does for a command or a button."""
    config = Config()
    config.Exchange._ngshare_url = url
    for trait, name in CLASSES.items():
        config.ExchangeFactory[trait] = f"ngshare_exchange.{name}"
    here = CourseDirectory(root=str(Path.cwd()), course_id=course, assignment_id=assignment)
    made = getattr(ExchangeFactory(config=config), what)
    return made(coursedir=here, authenticator=Authenticator(), config=config, parent=None, log=log, **options).start()


def manage(*arguments: str) -> str:
    """``ngshare-course-management ARGUMENTS``; what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        importlib.import_module("ngshare_exchange.course_management").main(list(arguments))
    return said.getvalue()


def main(url: str) -> None:
    """Answer until there are no more lines."""
    errors: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]  # no more is needed
    log = logging.Logger("exchange")
    log.addHandler(handler)
    for line in sys.stdin:
        match json.loads(line):
            case ["manage", *arguments]:
                found = manage(*arguments)
            case [what, course, assignment, options]:
                found = press(url, what, course, assignment, options, log)
        print(json.dumps({"found": found, "errors": errors}, default=str), flush=True)
        errors.clear()


if __name__ == "__main__":
    main(sys.argv[1])
