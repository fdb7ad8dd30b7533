"""What an assignment is tried with before its release: its solution, the untouched release, answers right and wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import ClearSolutions

from gpuclass.curriculum.answers import Answer, answered, answers, read_answer, solutions
from gpuclass.curriculum.building import EXERCISES, exercise_files, session_files, sources, write_files
from gpuclass.errors import UsageError
from gpuclass.grader.cells import Cell, code_cells, grade_id, is_locked, is_test
from gpuclass.settings import Settings

FOLDER = "mutants"  # in the course folder; an assignment's answers lie in a folder of its name
Kind = Literal["solution", "blank", "mutant", "variant"]


@dataclass(frozen=True)
class Candidate:
    """One version of a notebook, as its code cells would be graded.

    Attributes:
        name: "solution", "blank" or the answer's file name.
        kind: what it is.
        cells: with the instructor's tests.
        least, most: points that it must get.
        says: what is wrong with it, or how it is right.
    """

    name: str
    kind: Kind
    cells: tuple[Cell, ...]
    least: float
    most: float
    says: str = ""


def candidates(source: NotebookNode, given: Sequence[Answer] = ()) -> Iterator[Candidate]:
    """The solution and the untouched release first, then the given answers that answer a cell of this notebook.

    Raises:
        RuntimeError: ``### BEGIN SOLUTION`` without its other half.
    """
    full = sum(cell.points for cell in _cells(source, source))
    yield Candidate("solution", "solution", _cells(source, source), full, full)
    blank, _ = ClearSolutions().preprocess(nbformat.from_dict(source), {})
    yield Candidate("blank", "blank", _cells(blank, source), 0, 0)
    for answer in given:
        if set(answer.cells) <= set(solutions(source)):
            cells = _cells(answered(source, answer.cells), source)
            least, most = answer.points or (full, full)
            kind: Kind = "variant" if answer.points is None else "mutant"
            yield Candidate(answer.name, kind, cells, least, most, answer.says)


def _cells(notebook: NotebookNode, source: NotebookNode) -> tuple[Cell, ...]:
    originals = [cell.source for cell in code_cells(source)]
    return tuple(
        Cell(
            source=cell.source,
            test=is_test(cell),
            points=float(cell.metadata.nbgrader.points) if is_test(cell) else 0.0,
            original=None if is_test(cell) else original,
            locked=is_locked(cell),
            grade_id=grade_id(cell),
        )
        for cell, original in zip(code_cells(notebook), originals, strict=True)
    )


def answers_of(course: Path, assignment: str, exercises: Path = EXERCISES) -> tuple[Answer, ...]:
    """Answers that an assignment of the course is tried with.

    Those in ``mutants/<assignment>/`` of the course folder; without such a folder those of the curriculum's exercise of
    that name, as long as nobody has edited it in the course.

    Raises:
        SourceError: one cannot be read.
    """
    own = course / FOLDER / assignment
    if own.is_dir():
        return tuple(read_answer(path) for path in sorted(own.glob("*.py")))
    if not (exercises / assignment).is_dir():
        return ()
    built = exercise_files((assignment,), exercises)
    there = {name: _bytes(course / "source" / name) for name in built}
    return tuple(answers(exercises / assignment)) if there == built else ()


def located(named: str, settings: Settings | None, scratch: Path) -> tuple[Path, str, tuple[Answer, ...] | None]:
    """What ``gpuclass check`` was asked for: course folder, assignment, and its answers if it brings some along.

    Args:
        named: an assignment of the course, or a folder: an exercise of the curriculum or a source version.
        settings: the class's, if there is one.
        scratch: an empty folder for the course that a folder is tried in.

    Raises:
        UsageError: there is nothing of that name.
        SourceError: it cannot be read.
    """
    folder = Path(named)
    if folder.is_dir() and (sources(folder) or any(folder.glob("*.ipynb"))):
        name = folder.resolve().name
        write_files(dict(session_files(folder)), scratch / "source" / name)
        return scratch, name, tuple(answers(folder))
    if settings is None:
        kind = "holds no notebook" if folder.is_dir() else "is not a folder"
        raise UsageError(f"{named} {kind}, and without class.toml there is no course to look it up in.")
    source = settings.course_folder / "source"
    if not any((source / named).glob("*.ipynb")):
        known = sorted(path.name for path in source.glob("*") if any(path.glob("*.ipynb")))
        raise UsageError(
            f"There is no assignment {named!r} in the course, nor a folder of that name with notebooks. "
            f"Known: {', '.join(known) or 'none yet'}."
        )
    return settings.course_folder, named, None


def notebooks_of(folder: Path) -> Mapping[str, NotebookNode]:
    """The notebooks of a source version by name, their nbgrader metadata brought to the current schema.

    Raises:
        ValueError: one is no notebook.
    """
    from gpuclass.grader.course import upgraded

    return {path.stem: upgraded(nbformat.read(path, as_version=4)) for path in sorted(folder.glob("*.ipynb"))}


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
