"""nbgrader's exchange for instructors: release, release feedback, collect. Works on the course folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from nbgrader.exchange import abc
from traitlets import Bool

from gpuclass.exchange.client import checking, due, folder
from gpuclass.exchange.client.connection import Refused
from gpuclass.exchange.client.folder import NotAFolder
from gpuclass.exchange.client.inbound import remarks
from gpuclass.exchange.client.plugin import TIMESTAMP_FILE, Exchange, files_in, notebooks_of
from gpuclass.exchange.records import Deadline
from gpuclass.exchange.wire import FEEDBACK_MARK, encode_tree, read_time

if TYPE_CHECKING:
    from nbgrader.api import Gradebook


class Teaching(Exchange):
    """What these share: the gradebook."""

    @contextmanager
    def gradebook(self) -> Iterator[Gradebook | None]:
        """The course's gradebook; None while there is none: to look into it shall not make one."""
        from nbgrader.api import Gradebook  # here: students' servers never need it

        url = self.coursedir.db_url
        if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
            yield None
            return
        with Gradebook(url, self.course) as gradebook:
            yield gradebook

    def show(self, moment: datetime | None) -> str:
        """A deadline for people."""
        return due.shown(moment, self.timezone, self.spoken)


class ExchangeReleaseAssignment(Teaching, abc.ExchangeReleaseAssignment):  # type: ignore[misc]  # nbgrader: no types
    """Release an assignment from the course folder; ``--force`` makes a new version and keeps every submission.

    The gradebook's due date goes along, unless the exchange has a deadline already: students were told that one.
    """

    check = Bool(
        True,
        help="Whether the grading service tries the assignment first, and what has to be mended stops the release.",
    ).tag(config=True)

    def copy_files(self) -> None:
        """Release."""
        assignment = self.assignment
        source = Path(self.coursedir.format_path(self.coursedir.release_directory, ".", assignment))
        files = self.read_folder(source)
        planned = self._planned(assignment, files)
        self._try(assignment)
        if self.force:
            self.connection.put("gpuclass", "v1", "assignment", self.course, assignment, files=encode_tree(files))
        else:
            try:
                self.connection.post("api", "assignment", self.course, assignment, files=encode_tree(files))
            except Refused as refusal:
                if refusal.status == 409:
                    self.fail(self.say("client.already_released", assignment=assignment))
                raise
        answer = self.connection.get("gpuclass", "v1", "submissions", self.course, assignment)
        self.log.info(self.say("client.released", assignment=assignment, version=answer["version"]))
        earlier = [entry["student_id"] for entry in answer["submissions"] if entry["version"] < answer["version"]]
        if earlier:
            self.log.info(self.say("teach.earlier", count=len(earlier), students=len(set(earlier))))
        self._put_due(assignment, planned)

    def _try(self, assignment: str) -> None:
        """Have the grading service try it, unless that was done a moment ago or shall not be done."""
        if not self.check or checking.is_tried():
            return
        verdict = checking.check(self.connection, self.course, assignment, self.spoken, self.log.info)
        tell = self.log.info if verdict.state == "in order" else self.log.warning
        for line in verdict.lines:
            tell(line)
        if verdict.state == "refused":
            self.fail(self.say("teach.not_in_order", assignment=assignment))

    def not_sent(self, key: str, **values: object) -> NoReturn:
        """Stop, telling why nothing was released."""
        self.fail(self.say("teach.not_released", reason=self.say(key, **values)))

    def _planned(self, assignment: str, files: Mapping[str, bytes]) -> datetime | None:
        """The due date in the gradebook, once it is sure that feedback will show no more than is released."""
        from nbgrader.api import MissingEntry

        with self.gradebook() as gradebook:
            try:
                known = gradebook and gradebook.find_assignment(assignment)
            except MissingEntry:
                return None
            if not known:
                return None
            unlike = [cell for notebook in known.notebooks for cell in _unlike(notebook, files)]
            if unlike:
                self.fail(self.say("teach.hidden_tests", cells=", ".join(unlike)))
            return cast("datetime", known.duedate.replace(tzinfo=UTC)) if known.duedate else None

    def _put_due(self, assignment: str, planned: datetime | None) -> None:
        try:
            there = due.deadlines(self.connection, self.course).get(assignment, Deadline()).due
            if there is None and planned is not None:
                there = due.put(self.connection, self.course, assignment, planned).due
        except Refused as refusal:
            self.fail(self.say("teach.due_failed", assignment=assignment, reason=refusal))
        if there is not None:
            self.log.info(self.say("teach.due", assignment=assignment, due=self.show(there)))
        if planned is not None and planned != there:
            shown = {"gradebook": self.show(planned), "exchange": self.show(there)}
            self.log.warning(self.say("teach.due_differs", assignment=assignment, **shown))


def _unlike(notebook: Any, files: Mapping[str, bytes]) -> Iterator[str]:
    """Cells whose released text is not what grading takes for their visible part; ids as teachers know them.

    That happens when hidden lines are marked by delimiters of the course's own, or were taken out by hand: grading,
    which runs nothing from the course folder and so cannot know, would show them.
    """
    import nbformat

    from gpuclass.grader.visible import without_hidden, without_marking_scheme

    try:
        cells = nbformat.reads(files[f"{notebook.name}.ipynb"].decode(), as_version=4).cells
    except (KeyError, ValueError):
        return  # nothing is released under this name that a page could go beyond
    released = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source for cell in cells}
    for cell in notebook.source_cells:
        try:
            visible = without_marking_scheme(without_hidden(cell.source))
        except RuntimeError:  # a delimiter without its other half
            visible = None
        if released.get(cell.name, visible) != visible:
            yield f"{notebook.name}/{cell.name}"


class ExchangeReleaseFeedback(Teaching, abc.ExchangeReleaseFeedback):  # type: ignore[misc]  # nbgrader has no types
    """Release feedback from the course folder: ``<known notebook>.html`` of each student, with the score."""

    def copy_files(self) -> None:
        """Release."""
        assignment = self.assignment
        pages = {f"{name}.html" for name in notebooks_of(self.known(assignment))}
        excluded = set(self.coursedir.student_id_exclude.split(","))
        failed = {}
        for student, place in sorted(self._folders(assignment).items()):
            if student in excluded:
                continue
            try:
                self._release(assignment, student, place, pages)
            except Refused as refusal:
                if refusal.passes:  # nobody's feedback gets there just now
                    raise
                failed[student] = str(refusal)
        if failed:
            reasons = "; ".join(f"{student}: {reason}" for student, reason in failed.items())
            self.fail(self.say("teach.feedback_refused", count=len(failed), reasons=reasons))

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
        for page in [page for page, content in chosen.items() if FEEDBACK_MARK.encode() not in content]:
            self.log.error(self.say("teach.strange_page", page=place / page))
            del chosen[page]
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
        """The score in the gradebook, manual grades and late penalty included; nothing if there is none."""
        from nbgrader.api import MissingEntry  # here: students' servers never need it

        with self.gradebook() as gradebook:
            try:
                graded = gradebook and gradebook.find_submission(assignment, student)
            except MissingEntry:
                return {}
            if not graded:
                return {}
            score = graded.score - (graded.late_submission_penalty or 0)
            return {"score": str(score), "max_score": str(graded.max_score)}


class ExchangeCollect(Teaching, abc.ExchangeCollect):  # type: ignore[misc]  # nbgrader has no types
    """Put submissions into the course folder: of each student the latest, or the last that is in time.

    In time is what the exchange says, with its deadline and extensions; the gradebook's are not asked.
    """

    def copy_files(self) -> None:
        """Collect."""
        assignment = self.assignment
        answer = self.connection.get("gpuclass", "v1", "submissions", self.course, assignment)
        by_student: dict[str, list[dict[str, Any]]] = {}
        wanted = self.coursedir.student_id or "*"
        for entry in answer["submissions"]:
            if wanted in ("*", entry["student_id"]):
                by_student.setdefault(entry["student_id"], []).append(entry)
        for student, entries in by_student.items():
            in_time = [entry for entry in entries if not (self.before_duedate and entry["late"])]
            chosen = (in_time or entries)[-1]
            self._collect(assignment, student, chosen["timestamp"])
            for remark in remarks(self, chosen, answer["version"]):
                self.log.warning(f"{assignment} · {student}: {remark}")

    def _collect(self, assignment: str, student: str, stamp: str) -> None:
        place = Path(self.coursedir.format_path(self.coursedir.submitted_directory, student, assignment))
        if place.is_symlink():
            raise NotAFolder(place)
        if place.exists():
            existing = self.coursedir.get_existing_timestamp(str(place))
            new = read_time(stamp).replace(tzinfo=None)
            if existing == new or not (self.update or self.before_duedate):  # the server's clock may have been set back
                self.log.info(self.say("client.collected", assignment=assignment, student=student, time=existing))
                return
        answer = self.connection.get("api", "submission", self.course, assignment, student, timestamp=stamp)
        sent = files_in(answer)
        files = {path: content for path, content in sent.items() if path.split("/")[0] != TIMESTAMP_FILE}
        files[TIMESTAMP_FILE] = stamp.encode()
        if place.exists():
            former = place.with_name(f".{place.name}.former")
            shutil.rmtree(former, ignore_errors=True)
            place.rename(former)
            folder.write_new(place, files)
            shutil.rmtree(former)
        else:
            folder.write_new(place, files)
        self.log.info(self.say("client.collected", assignment=assignment, student=student, time=stamp))
