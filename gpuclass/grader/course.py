"""nbgrader's course folder: an assignment into the gradebook, a cleaned submission through Autograde, its feedback.

nbgrader's converters change the working directory and the environment: use this in a process of its own (`child`).
"""

from __future__ import annotations

import fcntl
import glob
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.api import Notebook as GradebookNotebook
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.converters.base import BaseConverter, NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.nbgraderformat import MetadataValidator
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from gpuclass import ROOT
from gpuclass.exchange.records import Deadline
from gpuclass.grader.gradebook import write_deadline
from gpuclass.grader.pair import OpenPair
from gpuclass.grader.sandbox import Limits
from gpuclass.grader.sanitise import SourceCell, Template
from gpuclass.grader.visible import without_hidden, without_marking_scheme
from gpuclass.settings import Language

CONFIGURATION = ROOT / "grading" / "nbgrader_config.py"
LOCK_FILE = ".grading.lock"
_RAISED = re.compile(r"[\w.]+: ")  # the line of a traceback that says what was raised; a long message follows it


class CourseError(Exception):
    """nbgrader could not do what was asked; the text is what it said."""


@dataclass(frozen=True)
class Scores:
    """What the gradebook holds for one submission. Cells by grade_id, or notebook/grade_id where two share one."""

    score: float
    max_score: float
    cells: dict[str, float]


class Course:
    """One nbgrader course folder."""

    def __init__(self, folder: Path, name: str, language: Language) -> None:
        self.folder = folder
        self.name = name
        self.language = language
        _find_own_programs()
        self.gradebook_url = f"sqlite:///{folder / 'gradebook.db'}"

    def gradebook(self) -> Gradebook:
        """The gradebook; made, one process at a time, if there is none."""
        with self._locked():
            return Gradebook(self.gradebook_url, self.name)

    def prepare(self, assignment: str) -> None:
        """Bring ``source/<assignment>`` into the gradebook unless it is there already.

        Raises:
            CourseError: no source version, or nbgrader refuses it.
        """
        source = self.folder / "source" / assignment
        if not any(source.glob("*.ipynb")):
            raise CourseError(f"there is no source version of {assignment!r}: {source} holds no notebook")
        with self._locked():
            if not self._is_prepared(assignment):
                self._convert(GenerateAssignment, assignment, force=True)

    def _is_prepared(self, assignment: str) -> bool:
        with Gradebook(self.gradebook_url, self.name) as gradebook:
            try:
                return bool(gradebook.find_assignment(assignment).notebooks)
            except MissingEntry:
                return False

    def put_deadline(self, assignment: str, student: str, deadline: Deadline) -> None:
        """Write the exchange's deadline into the gradebook; ``student`` gets a row there if there is none yet."""
        with self.gradebook() as gradebook:
            gradebook.update_or_create_student(student)
            gradebook.update_or_create_submission(assignment, student)
            write_deadline(gradebook, assignment, deadline)

    def templates(self, assignment: str) -> dict[str, Template]:
        """The assignment's notebooks as the gradebook knows them, cells in the order of the source version."""
        with self.gradebook() as gradebook:
            notebooks = gradebook.find_assignment(assignment).notebooks
            return {each.name: self._template(each, assignment) for each in notebooks}

    def given(self, assignment: str) -> list[str]:
        """Paths of the files in the source version, which nbgrader copies over a submission's."""
        folder = self.folder / "source" / assignment
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def _template(self, notebook: GradebookNotebook, assignment: str) -> Template:
        path = self.folder / "source" / assignment / f"{notebook.name}.ipynb"
        order: list[str] = []
        metadata: dict[str, Any] = {}
        if path.exists():
            source = nbformat.read(path, as_version=4)
            order = [str(cell.metadata.get("nbgrader", {}).get("grade_id", "")) for cell in source.cells]
            metadata = {key: source.metadata[key] for key in ("kernelspec", "language_info") if key in source.metadata}
        place = {grade_id: number for number, grade_id in enumerate(order)}
        graded = {cell.name: cell for cell in notebook.grade_cells}
        tasks = {cell.name: cell for cell in notebook.task_cells}
        solutions = {cell.name for cell in notebook.solution_cells}
        cells = [
            SourceCell(
                grade_id=cell.name,
                cell_type=cell.cell_type,
                source=cell.source if cell.locked else without_marking_scheme(without_hidden(cell.source)),
                locked=bool(cell.locked),
                grade=cell.name in graded,
                solution=cell.name in solutions,
                task=cell.name in tasks,
                points=float({**graded, **tasks}[cell.name].max_score) if cell.name in {**graded, **tasks} else 0.0,
                checksum=cell.checksum,
            )
            for cell in sorted(notebook.source_cells, key=lambda cell: (place.get(cell.name, len(place)), cell.name))
        ]
        return Template(tuple(cells), metadata)

    def grade(self, assignment: str, student: str, cleaned: Path, open_pair: OpenPair, limits: Limits) -> None:
        """Autograde one cleaned submission into ``autograded/`` and the gradebook.

        Args:
            assignment: its name in the gradebook.
            student: whose.
            cleaned: a folder that holds ``<student>/<assignment>/`` as `sanitise` made it.
            open_pair: gives a fresh pair.
            limits: the sandbox's.

        Raises:
            CourseError: nbgrader's errors.
        """
        execute = {
            "open_pair": open_pair,
            "source": str(self.folder / "source"),
            "limits": limits,
            "language": self.language,
        }
        extra = Config({"CourseDirectory": {"submitted_directory": str(cleaned)}, "SandboxedExecute": execute})
        self._convert(Autograde, assignment, student, extra, force=True)

    def feedback(self, assignment: str, student: str) -> dict[str, Path]:
        """Write feedback pages; returns them by file name, those of the assignment's notebooks only."""
        extra = Config({"FeedbackExporter": {"language": self.language}})
        self._convert(GenerateFeedback, assignment, student, extra, force=True)
        folder = self.folder / "feedback" / student / assignment
        names = [f"{name}.html" for name in self.templates(assignment)]
        return {name: folder / name for name in names if (folder / name).is_file()}

    def scores(self, assignment: str, student: str) -> Scores:
        """What the gradebook holds for one submission."""
        with self.gradebook() as gradebook:
            submission = gradebook.find_submission(assignment, student)
            pairs = [(nb.name, grade.name, float(grade.score)) for nb in submission.notebooks for grade in nb.grades]
            late = sum(nb.late_submission_penalty or 0 for nb in submission.notebooks)
            total, maximum = float(submission.score) - late, float(submission.max_score)
        ids = [grade_id for _, grade_id, _ in pairs]
        cells = {(gid if ids.count(gid) == 1 else f"{notebook}/{gid}"): score for notebook, gid, score in pairs}
        return Scores(total, maximum, cells)

    def wants_a_person(self, assignment: str, student: str, notebooks: list[str]) -> None:
        """Mark these notebooks for manual grading."""
        with self.gradebook() as gradebook:
            for name in notebooks:
                for grade in gradebook.find_submission_notebook(name, assignment, student).grades:
                    grade.needs_manual_grade = grade.manual_score is None
            gradebook.db.commit()

    def _convert(
        self,
        converter: type[BaseConverter],
        assignment: str,
        student: str = ".",
        extra: Config | None = None,
        *,
        force: bool,
    ) -> None:
        config = PyFileConfigLoader(CONFIGURATION.name, str(CONFIGURATION.parent)).load_config()
        config.merge(
            Config(
                {
                    "CourseDirectory": {
                        "root": str(self.folder),
                        "course_id": self.name,
                        "db_url": self.gradebook_url,
                        "assignment_id": assignment,
                        "student_id": glob.escape(student),
                    }
                }
            )
        )
        config.merge(extra or Config())
        made = converter(coursedir=CourseDirectory(config=config), config=config)
        made.force = force
        with _errors_of(made.log) as said:
            try:
                made.start()
            except (NbGraderException, OSError, ValueError) as error:
                raise CourseError(said[0] if said else str(error)) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time: for making the gradebook and an assignment in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK_FILE).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def upgraded(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A source notebook with nbgrader metadata of the current schema version."""
    current: nbformat.NotebookNode = MetadataValidator().upgrade_notebook_metadata(notebook)
    return current


def write_cleaned(
    folder: Path, notebooks: Mapping[str, nbformat.NotebookNode], others: Mapping[str, bytes], received: datetime | None
) -> None:
    """A cleaned submission in the form that Autograde reads; ``received`` is the server's time."""
    folder.mkdir(parents=True)
    for path, data in others.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    for name, notebook in notebooks.items():
        (folder / f"{name}.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
    if received:
        text = received.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
        (folder / "timestamp.txt").write_text(text, encoding="utf-8")


@contextmanager
def _errors_of(log: logging.Logger) -> Iterator[list[str]]:
    """What each error that ``log`` gets meanwhile says; nbgrader's own exception only points to the log."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines = record.getMessage().strip().splitlines()
            if lines and "error processing assignment" not in lines[0]:
                said.append(next((line for line in reversed(lines) if _RAISED.match(line)), lines[-1]))

    listener = Listener(level=logging.ERROR)
    log.addHandler(listener)
    try:
        yield said
    finally:
        log.removeHandler(listener)


def _find_own_programs() -> None:
    """nbgrader runs ``alembic`` by name: let it find the one installed beside this Python."""
    own, known = str(Path(sys.executable).parent), os.environ.get("PATH", "")
    if own not in known.split(os.pathsep):
        os.environ["PATH"] = f"{own}{os.pathsep}{known}"
