"""nbgrader's own file exchange, driven by its own classes: what an export must satisfy and an import must take."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nbgrader.api import Gradebook
from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange.default import (
    ExchangeCollect,
    ExchangeFetchAssignment,
    ExchangeFetchFeedback,
    ExchangeList,
    ExchangeReleaseAssignment,
    ExchangeReleaseFeedback,
    ExchangeSubmit,
)
from traitlets.config import Config


@dataclass
class Stock:
    """nbgrader over one exchange folder, with a course folder and a student's home of its own."""

    root: Path
    course: str
    home: Path
    monkeypatch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.teaching = self.home / "course"
        self.teaching.mkdir(exist_ok=True)
        self.cache = self.home / "cache"
        bin_folder = str(Path(sys.executable).parent)
        self.monkeypatch.setenv("PATH", bin_folder, prepend=":")  # the gradebook starts alembic from there

    def run(self, command: type[Any], assignment: str = "", student: str = "*", **options: Any) -> Any:
        """Start one of nbgrader's commands, in the student's home; what it returns."""
        self.monkeypatch.chdir(self.home)
        config = Config()
        config.Exchange.root = str(self.root)
        config.Exchange.cache = str(self.cache)
        config.Exchange.assignment_dir = str(self.home)
        config.CourseDirectory.root = str(self.teaching)
        config.CourseDirectory.course_id = self.course
        config.CourseDirectory.assignment_id = assignment
        config.CourseDirectory.student_id = student
        config.ExchangeCollect.check_owner = False
        for name, value in options.items():
            config[command.__name__][name] = value
        coursedir = CourseDirectory(config=config)
        return command(coursedir=coursedir, authenticator=Authenticator(config=config), config=config).start()

    def list(self, **options: Any) -> Any:
        return self.run(ExchangeList, student="" if options.get("inbound") else "*", **options)

    def fetch(self, assignment: str) -> Path:
        self.run(ExchangeFetchAssignment, assignment)
        return self.home / assignment

    def release(self, assignment: str, files: dict[str, bytes]) -> None:
        write(self.teaching / "release" / assignment, files)
        self.run(ExchangeReleaseAssignment, assignment, student=".", force=True)

    def submit(self, assignment: str, student: str, files: dict[str, bytes]) -> None:
        write(self.home / assignment, files)
        self.run(ExchangeSubmit, assignment, student)

    def collect(self, assignment: str) -> Path:
        with Gradebook(f"sqlite:///{self.teaching}/gradebook.db", self.course):
            pass
        self.run(ExchangeCollect, assignment, update=True)
        return self.teaching / "submitted"

    def release_feedback(self, assignment: str, student: str, pages: dict[str, bytes]) -> None:
        """As after generate_feedback: the submission's time and secret lie beside the page."""
        submitted = self.teaching / "submitted" / student / assignment
        own = {name: (submitted / name).read_bytes() for name in ("timestamp.txt", "submission_secret.txt")}
        write(self.teaching / "feedback" / student / assignment, {**pages, **own})
        self.run(ExchangeReleaseFeedback, assignment, student)

    def fetch_feedback(self, assignment: str, student: str) -> dict[str, bytes]:
        """What a student gets who has their own submissions in nbgrader's cache."""
        self.run(ExchangeFetchFeedback, assignment, student)
        return {path.name: path.read_bytes() for path in (self.home / assignment / "feedback").glob("*/*.html")}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
