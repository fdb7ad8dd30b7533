"""nbgrader's exchange for instructors: release, release feedback, collect. Works on the course folder."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from nbgrader.exchange import abc

from gpuclass.exchange import folder
from gpuclass.exchange.connection import Refused
from gpuclass.exchange.folder import NotAFolder
from gpuclass.exchange.plugin import TIMESTAMP_FILE, Exchange, files_in, notebooks_of
from gpuclass.exchange.wire import encode_tree, read_time


class ExchangeReleaseAssignment(Exchange, abc.ExchangeReleaseAssignment):  # type: ignore[misc]  # nbgrader: no types
    """Release an assignment from the course folder; ``--force`` makes a new version and keeps every submission."""

    def copy_files(self) -> None:
        """Release."""
        assignment = self.assignment
        source = Path(self.coursedir.format_path(self.coursedir.release_directory, ".", assignment))
        files = self.read_folder(source)
        if self.force:
            answer = self.connection.put(
                "gpuclass", "v1", "assignment", self.course, assignment, files=encode_tree(files)
            )
            version = answer["version"]
        else:
            version = 1
            try:
                self.connection.post("api", "assignment", self.course, assignment, files=encode_tree(files))
            except Refused as refusal:
                if refusal.status == 409:
                    self.fail(self.say("client.already_released", assignment=assignment))
                raise
        self.log.info(self.say("client.released", assignment=assignment, version=version))


class ExchangeReleaseFeedback(Exchange, abc.ExchangeReleaseFeedback):  # type: ignore[misc]  # nbgrader has no types
    """Release feedback from the course folder: ``<known notebook>.html`` of each student, with the score."""

    def copy_files(self) -> None:
        """Release."""
        assignment = self.assignment
        pages = {f"{name}.html" for name in notebooks_of(self.known(assignment))}
        excluded = set(self.coursedir.student_id_exclude.split(","))
        for student, place in sorted(self._folders(assignment).items()):
            if student not in excluded:
                self._release(assignment, student, place, pages)

    def _folders(self, assignment: str) -> dict[str, Path]:
        """Feedback folders by student."""
        wanted = self.coursedir.student_id or "*"
        if wanted != "*":
            place = Path(self.coursedir.format_path(self.coursedir.feedback_directory, wanted, assignment))
            return {wanted: place} if place.is_dir() else {}
        found = {}
        for answer in self.connection.get("api", "students", self.course)["students"]:
            login = answer["username"]
            place = Path(self.coursedir.format_path(self.coursedir.feedback_directory, login, assignment))
            if place.is_dir():
                found[login] = place
        return found

    def _release(self, assignment: str, student: str, place: Path, pages: set[str]) -> None:
        # No limit but the service's: what was written by nbgrader is what shall be sent.
        found = folder.read(place, ignore=[], file_limit=2**40, files_limit=10**6)
        chosen = {path: content for path, content in found.files.items() if path in pages}
        stamp = found.files.get(TIMESTAMP_FILE, b"").decode("utf-8", "replace").strip()
        if not chosen or not stamp:
            self.log.warning(self.say("client.no_feedback", assignment=f"{assignment} {student}"))
            return
        self.connection.post(
            "api",
            "feedback",
            self.course,
            assignment,
            student,
            timestamp=stamp,
            files=encode_tree(chosen),
            **self._points(assignment, student),
        )
        self.log.info(self.say("client.feedback_released", assignment=assignment, student=student, time=stamp))

    def _points(self, assignment: str, student: str) -> dict[str, str]:
        """The score in the gradebook, manual grades included; nothing if there is none."""
        from nbgrader.api import Gradebook, MissingEntry  # here: students' servers never need it

        with Gradebook(self.coursedir.db_url, self.course) as gradebook:
            try:
                graded = gradebook.find_submission(assignment, student)
            except MissingEntry:
                return {}
            return {"score": str(graded.score), "max_score": str(graded.max_score)}


class ExchangeCollect(Exchange, abc.ExchangeCollect):  # type: ignore[misc]  # nbgrader has no types
    """Put submissions into the course folder: of each student the latest, or the last before the deadline."""

    def copy_files(self) -> None:
        """Collect."""
        assignment = self.assignment
        due = self._due(assignment) if self.before_duedate else None
        latest: dict[str, list[str]] = {}
        wanted = self.coursedir.student_id or "*"
        for entry in self.connection.get("api", "submissions", self.course, assignment)["submissions"]:
            if wanted in ("*", entry["student_id"]):
                latest.setdefault(entry["student_id"], []).append(entry["timestamp"])
        for student, stamps in latest.items():
            in_time = [stamp for stamp in stamps if due is None or read_time(stamp) <= due]
            self._collect(assignment, student, (in_time or stamps)[-1])

    def _due(self, assignment: str) -> datetime | None:
        from nbgrader.api import Gradebook, MissingEntry  # here: students' servers never need it

        with Gradebook(self.coursedir.db_url, self.course) as gradebook:
            try:
                due: datetime | None = gradebook.find_assignment(assignment).duedate
            except MissingEntry:
                return None
            return due and due.replace(tzinfo=UTC)

    def _collect(self, assignment: str, student: str, stamp: str) -> None:
        place = Path(self.coursedir.format_path(self.coursedir.submitted_directory, student, assignment))
        if place.is_symlink():
            raise NotAFolder(place)
        if place.exists():
            existing = self.coursedir.get_existing_timestamp(str(place))
            new = read_time(stamp).replace(tzinfo=None)
            newer = self.update and (existing is None or new > existing)
            if not (newer or (self.before_duedate and existing != new)):
                self.log.info(self.say("client.collected", assignment=assignment, student=student, time=existing))
                return
        answer = self.connection.get("api", "submission", self.course, assignment, student, timestamp=stamp)
        files = {**files_in(answer), TIMESTAMP_FILE: stamp.encode()}
        if place.exists():
            former = place.with_name(f".{place.name}.former")
            shutil.rmtree(former, ignore_errors=True)
            place.rename(former)
            folder.write_new(place, files)
            shutil.rmtree(former)
        else:
            folder.write_new(place, files)
        self.log.info(self.say("client.collected", assignment=assignment, student=student, time=stamp))
