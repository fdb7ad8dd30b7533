"""`gpuclass grade`: one assignment's submissions, in the class's course or plain folders, without a running hub.

Plain folders are graded in a course folder of their own that is gone afterwards; the class's gradebook is not touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbgrader.utils import parse_utc

from gpuclass.errors import UsageError
from gpuclass.grader.child import Child, ChildDied, Setup
from gpuclass.grader.course import Course, CourseError, upgraded
from gpuclass.grader.job import Graded, Task
from gpuclass.settings import Language, Settings

_SAFE_NAME = re.compile(r"[\w@-][\w.@-]*")
DEFAULT_LANGUAGE: Language = "ko"  # as in class.toml when it does not say
_SKIPPED = shutil.ignore_patterns(".*", "__pycache__")


@dataclass(frozen=True)
class Submission:
    """One student's folder; ``received`` is the server's time, known for those of the class."""

    student: str
    folder: Path
    received: datetime | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be graded where. ``assignment`` is its name in the gradebook, ``title`` what the user called it."""

    course: Course
    assignment: str
    title: str
    notebooks: tuple[str, ...]
    submissions: tuple[Submission, ...]


def plan(assignment: str, folders: Sequence[Path], settings: Settings | None, scratch: Path) -> Plan:
    """Find out what ``gpuclass grade`` was asked for.

    Args:
        assignment: a folder that holds a source version, or the name of an assignment of the course.
        folders: submissions; without any, those of the course.
        settings: the class's, if there is one; a folder needs none.
        scratch: an empty folder for the course that plain folders are graded in.

    Raises:
        UsageError: what was named cannot be graded.
    """
    source = Path(assignment)
    if source.is_dir() and any(source.glob("*.ipynb")):
        language = settings.class_.language if settings else DEFAULT_LANGUAGE
        return plan_folders(source, source.resolve().name, folders, scratch, language)
    if settings is None:
        kind = "holds no notebook" if source.is_dir() else "is not a folder"
        raise UsageError(f"{assignment} {kind}, and without class.toml there is no course to look it up in.")
    course = Course(settings.course_folder, settings.course, settings.class_.language)
    if not folders:
        return plan_course(course, assignment)
    source = course.folder / "source" / assignment
    if not any(source.glob("*.ipynb")):
        raise UsageError(_unknown(course, assignment))
    return plan_folders(source, assignment, folders, scratch, settings.class_.language)


def plan_folders(source: Path, title: str, folders: Sequence[Path], scratch: Path, language: Language) -> Plan:
    """Plain folders against a source version in a folder.

    Args:
        source: holds the notebooks of the source version, and data files beside them.
        title: what the assignment is called.
        folders: one per student, named after them; the notebooks directly inside or in a folder called ``title``.
        scratch: an empty folder for the course.
        language: of reasons and feedback.

    Raises:
        UsageError: something is not what it should be.
    """
    if not folders:
        raise UsageError("Name at least one folder with a submission; each is named after its student.")
    assignment = _safe(title)
    target = scratch / "source" / assignment
    notebooks = _copy_source(source, target)
    course = Course(scratch, "grade", language)
    try:
        course.prepare(assignment)
    except CourseError as error:
        raise UsageError(f"{source} is not a source version that nbgrader can use: {error}") from error
    return Plan(course, assignment, title, notebooks, tuple(_submissions(folders, title, notebooks)))


def plan_course(course: Course, assignment: str) -> Plan:
    """The class's own submissions, as collected in ``submitted/``.

    Raises:
        UsageError: the course has no such assignment, or nobody has submitted.
    """
    if not any((course.folder / "source" / assignment).glob("*.ipynb")):
        raise UsageError(_unknown(course, assignment))
    try:
        course.prepare(assignment)
    except CourseError as error:
        raise UsageError(f"{assignment} cannot be graded: {error}") from error
    give_to_owner(course.folder)
    found = sorted((course.folder / "submitted").glob(f"*/{assignment}"))
    submissions = tuple(Submission(path.parent.name, path, _timestamp(path)) for path in found)
    if not submissions:
        raise UsageError(f"Nobody has submitted {assignment} yet.")
    return Plan(course, assignment, assignment, tuple(course.templates(assignment)), submissions)


def run(plan: Plan, setup: Setup, workers: int) -> Iterator[tuple[Submission, Graded]]:
    """Grade with ``workers`` processes; outcomes come as they are ready."""
    waiting: queue.SimpleQueue[Submission] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Submission, Graded]] = queue.SimpleQueue()
    for submission in plan.submissions:
        waiting.put(submission)
    with ExitStack() as stack:
        for _ in range(min(workers, len(plan.submissions))):
            child = stack.enter_context(Child(setup))
            work = _worker(plan, child, waiting, done)
            threading.Thread(target=work, daemon=True).start()
        for _ in plan.submissions:
            yield done.get()
    give_to_owner(plan.course.folder)


def give_to_owner(folder: Path) -> None:
    """As root, let what is in ``folder`` belong to the folder's owner: the worker and the instructor write there."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    for path in folder.rglob("*"):
        if path.lstat().st_uid != owner.st_uid:
            os.lchown(path, owner.st_uid, owner.st_gid)


def row(plan: Plan, submission: Submission, graded: Graded) -> dict[str, object]:
    """The line that ``--json`` prints."""
    return {
        "student": submission.student,
        "assignment": plan.title,
        "status": graded.status,
        "score": graded.score,
        "max_score": graded.max_score,
        "cells": graded.cells,
        "seconds": round(graded.seconds, 2),
        "reason": graded.reason,
    }


def as_json(plan: Plan, submission: Submission, graded: Graded) -> str:
    """`row` as one line of ASCII: a folder's name need not be valid Unicode."""
    return json.dumps(row(plan, submission, graded))


def copy_feedback(submission: Submission, graded: Graded, folder: Path) -> None:
    """Feedback pages into ``folder/<student>/``."""
    target = folder / submission.student
    target.mkdir(parents=True, exist_ok=True)
    for name, path in graded.feedback.items():
        shutil.copyfile(path, target / name)


def _unknown(course: Course, assignment: str) -> str:
    known = sorted(path.name for path in (course.folder / "source").glob("*") if any(path.glob("*.ipynb")))
    return (
        f"There is no assignment {assignment!r} in the course, nor a folder of that name with notebooks. "
        f"Known: {', '.join(known) or 'none yet'}."
    )


def _worker(
    plan: Plan,
    child: Child,
    waiting: queue.SimpleQueue[Submission],
    done: queue.SimpleQueue[tuple[Submission, Graded]],
) -> Callable[[], None]:
    def work() -> None:
        while True:
            try:
                submission = waiting.get_nowait()
            except queue.Empty:
                return
            done.put((submission, _grade(plan, child, submission)))

    return work


def _grade(plan: Plan, child: Child, submission: Submission) -> Graded:
    task = Task(
        course_folder=str(plan.course.folder),
        course=plan.course.name,
        language=plan.course.language,
        assignment=plan.assignment,
        student=_safe(submission.student),
        submission=str(submission.folder),
        received=submission.received.isoformat() if submission.received else None,
    )
    try:
        return child.grade(task, notebooks=len(plan.notebooks))
    except ChildDied as error:
        return Graded("failed", str(error))


def _copy_source(source: Path, target: Path) -> tuple[str, ...]:
    """Copy a source version, its nbgrader metadata brought to the current schema; gives its notebooks' names."""
    shutil.copytree(source, target, ignore=_SKIPPED)
    notebooks = sorted(target.glob("*.ipynb"))
    graded = 0
    for path in notebooks:
        try:
            notebook = upgraded(nbformat.read(path, as_version=4))
        except (ValueError, KeyError, nbformat.ValidationError) as error:
            raise UsageError(f"{source / path.name} is not a notebook: {error}") from error
        graded += sum(bool(cell.metadata.get("nbgrader", {}).get("grade")) for cell in notebook.cells)
        nbformat.write(notebook, path)
    if not graded:
        raise UsageError(f"{source} holds no notebook with nbgrader's graded cells: it is not a source version.")
    return tuple(path.stem for path in notebooks)


def _submissions(folders: Sequence[Path], title: str, notebooks: Sequence[str]) -> Iterator[Submission]:
    seen: dict[str, Path] = {}
    for given in folders:
        folder = Path(os.path.abspath(given))  # noqa: PTH100  # resolve() would follow a link
        if not folder.is_dir():
            raise UsageError(f"{given} is not a folder. Name folders that hold one student's notebooks each.")
        if folder.name in seen:
            raise UsageError(f"{given} and {seen[folder.name]} are both called {folder.name!r}: whose is which?")
        seen[folder.name] = given
        below = folder / title
        direct = any((folder / f"{name}.ipynb").exists() for name in notebooks)
        nested = not direct and not folder.is_symlink() and below.is_dir()
        yield Submission(folder.name, below if nested else folder)


def _timestamp(folder: Path) -> datetime | None:
    try:
        moment = parse_utc((folder / "timestamp.txt").read_text(encoding="utf-8").strip())
    except (OSError, ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment else None


def _safe(name: str) -> str:
    """``name``, or a stand-in where nbgrader's folders, patterns or gradebook could not bear it."""
    if _SAFE_NAME.fullmatch(name):
        return name
    return "x" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
