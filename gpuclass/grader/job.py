"""One submission from files to points and feedback: sanitise, autograde, feedback. Runs in a child process."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from nbformat import NotebookNode

from gpuclass.errors import PlainError
from gpuclass.exchange.records import Deadline
from gpuclass.grader import regrade, sanitise
from gpuclass.grader.course import Course, CourseError, write_cleaned
from gpuclass.grader.pair import Pair
from gpuclass.grader.sandbox import EngineError, Limits
from gpuclass.grader.sanitise import Files, Quarantined
from gpuclass.grader.words import say
from gpuclass.settings import Language

Status = Literal["graded", "quarantined", "failed"]


@dataclass(frozen=True)
class Task:
    """What is to be graded, in values that JSON carries; times in ISO form with their zone.

    Attributes:
        kind: ``preview``: grade in a copy of the gradebook, with the version that is to come. ``check``: try the
            assignment itself before its release; ``student`` and ``submission`` mean nothing then.
        received: the server's time.
        due: the exchange's deadline for the class; None is none.
        extensions: until when single students have, by login. None: the exchange never had a deadline or was not
            asked, and the gradebook's own stays.
        version: of the assignment, which the submission answers; 0 if that is not known.
        newest: the version that is fetched now.
        batch: of a preview its re-grade; else the newest one that was applied.
        scratch: how the name of the folder for work in progress begins, so that who ends this process can remove it.
    """

    course_folder: str
    course: str
    language: Language
    assignment: str
    student: str
    submission: str
    received: str | None = None
    due: str | None = None
    extensions: dict[str, str] | None = None
    version: int = 0
    newest: int = 0
    scratch: str = "gpuclass-grading-"
    kind: Literal["grade", "preview", "check"] = "grade"
    batch: int = 0

    @property
    def deadline(self) -> Deadline | None:
        """The exchange's deadline; None to leave the gradebook's."""
        if self.extensions is None:
            return None
        due = datetime.fromisoformat(self.due) if self.due else None
        return Deadline(due, {login: datetime.fromisoformat(moment) for login, moment in self.extensions.items()})


@dataclass(frozen=True)
class Graded:
    """The outcome. ``feedback`` maps file names to paths; after ``engine_failed`` the same task may go well later.

    ``report`` is a check's or a preview's.
    """

    status: Status
    reason: str = ""
    score: float = 0.0
    max_score: float = 0.0
    cells: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    feedback: dict[str, str] = field(default_factory=dict)
    engine_failed: bool = False
    report: dict[str, Any] | None = None


def grade(task: Task, open_pair: Callable[[], Pair], limits: Limits) -> Graded:
    """Grade one submission. What the student did never raises: it is in the outcome."""
    begin = time.monotonic()
    if task.kind == "check":
        return _checked(task, open_pair, limits)
    course = Course(Path(task.course_folder), task.course, task.language)
    engine_errors: list[EngineError] = []

    @contextmanager
    def opened() -> Iterator[Pair]:
        try:
            with open_pair() as pair:
                yield pair
        except EngineError as error:
            engine_errors.append(error)  # nbgrader keeps only the text of what it catches
            raise

    work = Path(tempfile.mkdtemp(prefix=task.scratch))
    report = None
    try:
        course.prepare(task.assignment, release=task.newest, batch=0 if task.kind == "preview" else task.batch)
        if task.kind == "preview":
            before = course.scores_if_any(task.assignment, task.student)
            tried = regrade.trial(course, task.assignment, task.batch)
            course = tried.course
            course.prepare(task.assignment)
        if task.deadline is not None:
            course.put_deadline(task.assignment, task.student, task.deadline)
        notebooks, others, notes, quarantined = _cleaned(task, course)
        received = datetime.fromisoformat(task.received) if task.received else None
        reviewed = course.reviewed(task.assignment, task.student, received)
        write_cleaned(work / task.student / task.assignment, notebooks, others, received)
        course.grade(task.assignment, task.student, work, opened, limits)
        course.still_reviewed(reviewed)
        if quarantined:
            course.wants_a_person(task.assignment, task.student, quarantined)
        scores = course.scores(task.assignment, task.student)
        if task.kind == "preview":
            report = {**regrade.compared(before, scores), "source": tried.source, "corrected": tried.corrected}
        pages = {} if task.kind == "preview" else course.feedback(task.assignment, task.student)
    except CourseError as error:
        reason = str(engine_errors[0]) if engine_errors else str(error)
        return Graded("failed", reason, seconds=time.monotonic() - begin, engine_failed=bool(engine_errors))
    finally:
        shutil.rmtree(work)
    return Graded(
        status="quarantined" if quarantined else "graded",
        reason="; ".join(notes),
        score=scores.score,
        max_score=scores.max_score,
        cells=scores.cells,
        seconds=time.monotonic() - begin,
        feedback={name: str(path) for name, path in pages.items()},
        report=report,
    )


def _checked(task: Task, open_pair: Callable[[], Pair], limits: Limits) -> Graded:
    """Try the assignment before its release."""
    from gpuclass.grader import advice, check  # here: no student's submission needs the curriculum's tools

    try:
        report = check.check(Path(task.course_folder), task.assignment, open_pair, limits)
    except PlainError as error:
        return Graded("failed", str(error), engine_failed=isinstance(error, EngineError))
    lines = advice.lines(report, task.language)
    return Graded("graded", report={**report.as_dict(), "lines": lines}, seconds=report.seconds)


def _cleaned(task: Task, course: Course) -> tuple[dict[str, NotebookNode], dict[str, bytes], list[str], list[str]]:
    """Every notebook of the assignment, rebuilt or withheld; what goes beside them; remarks; who is quarantined."""
    templates = course.templates(task.assignment)
    notebooks: dict[str, NotebookNode] = {}
    notes: list[str] = []
    quarantined: list[str] = []
    try:
        files = sanitise.read(Path(task.submission), list(templates), course.given(task.assignment))
    except Quarantined as error:
        reason = error.reason(task.language)
        return (
            {name: sanitise.withheld(each, reason) for name, each in templates.items()},
            {},
            [reason],
            list(templates),
        )
    for name, template in templates.items():
        if name not in files.notebooks:
            reason = say(task.language, "missing-notebook", notebook=f"{name}.ipynb")
            notebooks[name] = sanitise.withheld(template, reason)
            notes.append(reason)
            continue
        try:
            notebooks[name], repairs = sanitise.rebuild(files.notebooks[name], template, f"{name}.ipynb", task.language)
            notes += repairs
        except Quarantined as error:
            reason = error.reason(task.language)
            notebooks[name] = sanitise.withheld(template, reason)
            notes.append(reason)
            quarantined.append(name)
    notes += _left_out(files, task.language)
    if task.version < task.newest:
        older = say(task.language, "older-version", version=task.version, newest=task.newest)
        for notebook in notebooks.values():
            sanitise.remark(notebook, older)
        notes.append(older)
    return notebooks, files.others, notes, quarantined


def _left_out(files: Files, language: Language) -> list[str]:
    return [say(language, "left-out", cells=", ".join(files.left_out[:10]))] if files.left_out else []
