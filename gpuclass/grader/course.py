"""nbgrader's course folder: an assignment into the gradebook, a cleaned submission through Autograde, its feedback.

nbgrader's converters change the working directory and the environment: use this in a process of its own (`child`).
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import logging
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.api import Grade, Gradebook, MissingEntry
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
from gpuclass.grader.inforce import READY, TRIALS, InForce, Mark, digest_of
from gpuclass.grader.makingroom import ByHand, make_room
from gpuclass.grader.pair import OpenPair
from gpuclass.grader.sandbox import Limits
from gpuclass.grader.template import SourceCell, Template
from gpuclass.grader.visible import without_hidden, without_marking_scheme
from gpuclass.settings import Language

CONFIGURATION = ROOT / "grading" / "nbgrader_config.py"
LOCK_FILE = ".grading.lock"
GENERATING = ".generating"  # holds a file for each assignment that is being brought into the gradebook
_RAISED = re.compile(r"[\w.]+: ")  # the line of a traceback that says what was raised; a long message follows it


log = logging.getLogger("gpuclass.grading")


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
        self.in_force = InForce(folder)
        self._source = folder / "source"
        _find_own_programs()
        self.gradebook_url = f"sqlite:///{folder / 'gradebook.db'}"

    def gradebook(self) -> Gradebook:
        """The gradebook; made, one process at a time, if there is none."""
        with self.locked():
            return Gradebook(self.gradebook_url, self.name)

    def prepare(self, assignment: str, *, release: int = 0, batch: int = 0) -> None:
        """See to it that the gradebook has the version that is in force, and grade with that (`inforce`).

        Args:
            assignment: its name.
            release: number of the newest release; 0 if that is not known.
            batch: the newest re-grade that was applied.

        Raises:
            CourseError: no source version, or nbgrader refuses it.
        """
        source = self.folder / "source" / assignment
        with self.locked():
            mark = self.in_force.mark(assignment)
            if mark is None and not any(source.glob("*.ipynb")):
                raise CourseError(f"there is no source version of {assignment!r}: {source} holds no notebook")
            begun = self.folder / GENERATING / assignment
            if begun.exists() or not self._is_prepared(assignment):  # killed between two notebooks, it has the first
                begun.parent.mkdir(exist_ok=True)
                begun.touch()
                self._convert(GenerateAssignment, assignment, force=True)
                begun.unlink()
                mark = None
            if mark is not None and mark.changing:  # by one that was killed
                self.put_in_force(self.folder / mark.changing, release=mark.release, batch=mark.batch)
                mark = self.in_force.mark(assignment)
            if mark is None or (mark.gradebook != self._known(assignment) and any(source.glob("*.ipynb"))):
                mark = self._keep(source, release=release, batch=mark.batch if mark else 0)
            if batch > mark.batch:
                mark = self._apply(mark, assignment, batch)
            if release > mark.release:
                mark = self._follow(mark, source, release)
            self._source = self.in_force.source(mark)

    def put_in_force(self, source: Path, *, release: int = 0, batch: int = 0) -> None:
        """Have an instructor's version in force: its cells, points and texts in the gradebook. Only with `locked`.

        May be called again after a kill. Scores of submissions stay what they are until these are graded again, except
        that a cell which is gone has none.

        Args:
            source: a folder that is called as the assignment.
            release: as in `prepare`.
            batch: as in `prepare`.

        Raises:
            CourseError: nbgrader refuses it, or somebody's manual points would be lost. Try it in a copy first.
        """
        assignment, mark = source.name, self.in_force.mark(source.name)
        notebooks = {path.stem: upgraded(nbformat.read(path, as_version=4)) for path in source.glob("*.ipynb")}
        if mark is not None:
            place = str(source.relative_to(self.folder))
            self.in_force.put(assignment, replace(mark, release=release, batch=batch, changing=place))
        with Gradebook(self.gradebook_url, self.name) as gradebook:
            try:
                make_room(gradebook, assignment, notebooks)
            except ByHand as error:
                raise CourseError(str(error)) from None
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".generated-") as released:
            folders = {"source_directory": str(source.parent), "release_directory": released}
            self._convert(GenerateAssignment, assignment, extra=Config({"CourseDirectory": folders}), force=True)
        self._keep(source, release=release, batch=batch)

    def copy_gradebook(self, copy: Course) -> None:
        """Give another course folder the gradebook as it is at this moment; whoever writes to it goes on."""
        with (
            closing(sqlite3.connect(self.folder / "gradebook.db")) as original,
            closing(sqlite3.connect(copy.folder / "gradebook.db")) as copied,
        ):
            original.backup(copied)

    def _keep(self, source: Path, *, release: int, batch: int) -> Mark:
        mark = Mark(self.in_force.keep(source), self._known(source.name), release, batch)
        self.in_force.put(source.name, mark)
        return mark

    def _apply(self, mark: Mark, assignment: str, batch: int) -> Mark:
        """Have the version of a re-grade in force, unless a newer one came meanwhile."""
        folder = self.folder / TRIALS / str(batch)
        try:
            known = json.loads((folder / READY).read_text(encoding="ascii"))
        except FileNotFoundError:
            raise CourseError(f"the version of re-grade {batch} is gone from {folder}: ask for it again") from None
        if known["base"] == mark.source != known["source"]:
            self.put_in_force(folder / "source" / assignment, release=mark.release, batch=batch)
        else:
            self.in_force.put(assignment, replace(mark, batch=batch))
        return self.in_force.mark(assignment) or mark

    def _follow(self, mark: Mark, source: Path, release: int) -> Mark:
        """Have ``source/`` in force because a new version was released; where it cannot be, the old one stays."""
        if any(source.glob("*.ipynb")) and digest_of(source) != mark.source:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    copy = Course(Path(folder), self.name, self.language)
                    self.copy_gradebook(copy)
                    copy.put_in_force(source)
            except CourseError as error:
                log.warning("%s is graded with the version before: %s", source.name, error)
            else:
                self.put_in_force(source, release=release, batch=mark.batch)
        mark = self.in_force.mark(source.name) or mark
        self.in_force.put(source.name, replace(mark, release=release))
        return replace(mark, release=release)

    def _known(self, assignment: str) -> str:
        """Digest of what the gradebook knows of an assignment."""
        digest = hashlib.sha256()
        with Gradebook(self.gradebook_url, self.name) as gradebook:
            for notebook in gradebook.find_assignment(assignment).notebooks:
                cells = sorted(
                    (cell.name, cell.cell_type, bool(cell.locked), cell.source) for cell in notebook.source_cells
                )
                points = sorted((cell.name, cell.max_score) for cell in (*notebook.grade_cells, *notebook.task_cells))
                digest.update(json.dumps([notebook.name, cells, points]).encode())
        return digest.hexdigest()

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
        folder = self._source / assignment
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def _template(self, notebook: GradebookNotebook, assignment: str) -> Template:
        path = self._source / assignment / f"{notebook.name}.ipynb"
        order: list[str] = []
        metadata: dict[str, Any] = {}
        plain: frozenset[tuple[str, str]] = frozenset()
        if path.exists():
            source = nbformat.read(path, as_version=4)
            order = [str(cell.metadata.get("nbgrader", {}).get("grade_id", "")) for cell in source.cells]
            others = [cell for cell, grade_id in zip(source.cells, order, strict=True) if not grade_id]
            plain = frozenset((cell.cell_type, without_marking_scheme(cell.source)) for cell in others)
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
                released=without_marking_scheme(without_hidden(cell.source)),
            )
            for cell in sorted(notebook.source_cells, key=lambda cell: (place.get(cell.name, len(place)), cell.name))
        ]
        return Template(tuple(cells), metadata, plain)

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
            "source": str(self._source),
            "limits": limits,
            "language": self.language,
        }
        folders = {"submitted_directory": str(cleaned), "source_directory": str(self._source)}
        extra = Config({"CourseDirectory": folders, "SandboxedExecute": execute})
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

    def scores_if_any(self, assignment: str, student: str) -> Scores | None:
        """`scores`, or None when this student was never graded."""
        try:
            return self.scores(assignment, student)
        except MissingEntry:
            return None

    def reviewed(self, assignment: str, student: str, received: datetime | None) -> dict[str, float | None]:
        """Cells of this very submission that somebody has graded by hand, and their automatic points then; by id."""
        with self.gradebook() as gradebook:
            try:
                submission = gradebook.find_submission(assignment, student)
            except MissingEntry:
                return {}
            known = submission.timestamp and submission.timestamp.replace(tzinfo=UTC)
            if known != received:
                return {}  # of another submission: the answer may be another, too
            grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
            return {
                grade.id: grade.auto_score
                for grade in grades
                if grade.manual_score is not None and not grade.needs_manual_grade
            }

    def still_reviewed(self, reviewed: Mapping[str, float | None]) -> None:
        """Take back nbgrader's wish to see these cells again, where the automatic points are what they were."""
        with self.gradebook() as gradebook:
            for grade in gradebook.db.query(Grade).filter(Grade.id.in_(reviewed)):
                grade.needs_manual_grade = grade.auto_score != reviewed[grade.id]
            gradebook.db.commit()

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
    def locked(self) -> Iterator[None]:
        """One process at a time: for making the gradebook and an assignment in it. Not twice by the same."""
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
