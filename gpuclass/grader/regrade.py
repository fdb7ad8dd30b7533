"""A re-grade tried out first: in a course folder of its own, with a copy of the gradebook and the corrected version.

``<course>/.regrade/<number>`` is a whole course folder, made once for each batch. Nothing in the class's own is
touched; manual points and late penalties are in the copy as they are in the original. It stays until the re-grade is
applied or cancelled, so what a teacher saw is what comes into force, whatever happens to ``source/`` meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpuclass.grader.course import Course, CourseError, Scores
from gpuclass.grader.inforce import CONTRACTS, READY, TRIALS, digest_of


@dataclass(frozen=True)
class Trial:
    """The copy of a course for one batch; ``corrected``: its version is not the one in force."""

    course: Course
    source: str
    corrected: bool


def folder(course_folder: Path, batch: int) -> Path:
    """Where a batch is tried out."""
    return course_folder / TRIALS / str(batch)


def trial(course: Course, assignment: str, batch: int) -> Trial:
    """The course folder to try a re-grade in; made if it is not there yet, whole or not at all.

    Args:
        course: the class's, with the assignment prepared.
        assignment: which.
        batch: the re-grade's number.

    Raises:
        CourseError: there is no source version, or the gradebook cannot take it; the text says why.
    """
    copy = Course(folder(course.folder, batch), course.name, course.language)
    ready = copy.folder / READY
    with copy.locked():
        if not ready.exists():
            _make(course, copy, assignment)
        known = json.loads(ready.read_text(encoding="ascii"))
    return Trial(copy, known["source"], known["source"] != known["base"])


def _make(course: Course, copy: Course, assignment: str) -> None:
    base = course.in_force.mark(assignment)
    source = course.folder / "source" / assignment
    if base is None or not any(source.glob("*.ipynb")):
        raise CourseError(f"there is no source version of {assignment!r}: {source} holds no notebook")
    for left in ("source", CONTRACTS, "gradebook.db", "gradebook.db-journal"):  # by one that was killed
        path = copy.folder / left
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copytree(source, copy.folder / "source" / assignment)
    contracts = course.folder / CONTRACTS / f"{assignment}.json"
    if contracts.exists():
        (copy.folder / CONTRACTS).mkdir()
        shutil.copy(contracts, copy.folder / CONTRACTS)
    course.copy_gradebook(copy)
    copy.put_in_force(copy.folder / "source" / assignment)
    part = copy.folder / f"{READY}.part"
    digest = digest_of(copy.folder / "source" / assignment)
    part.write_text(json.dumps({"source": digest, "base": base.source}), encoding="ascii")
    os.replace(part, copy.folder / READY)  # noqa: PTH105  # whole or not there


def compared(before: Scores | None, after: Scores) -> dict[str, Any]:
    """Both, as a job's result keeps them."""
    return {"before": before and asdict(before), "after": asdict(after)}


def remove(course_folder: Path, batch: int) -> None:
    """Remove what a batch needed."""
    shutil.rmtree(folder(course_folder, batch), ignore_errors=True)  # what is left is tried again later


def left(course_folder: Path) -> list[int]:
    """The batches of which a folder is there."""
    return sorted(int(path.name) for path in (course_folder / TRIALS).glob("*") if path.name.isdecimal())
