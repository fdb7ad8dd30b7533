"""py:percent sources to clean notebooks: no outputs, stable cell ids, the same bytes each time. Never runs a cell."""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from gpuclass import ROOT
from gpuclass.curriculum.errors import SourceError

LECTURES = ROOT / "notebooks"
EXERCISES = ROOT / "exercises"

FORMAT = "py:percent"
HEADER = re.compile(r"^# ---\n# jupyter:$", re.MULTILINE)  # how jupytext opens a notebook; other .py files are helpers
STAY_HERE = ("mutants", "variants", "__pycache__")  # an exercise's tests of itself
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}
ID_CHARACTERS = 12


def sources(folder: Path) -> list[Path]:
    """The py:percent sources directly in a session's folder, in order of their names."""
    return [path for path in sorted(folder.glob("*.py")) if HEADER.match(path.read_text(encoding="utf-8"))]


def read_source(source: Path) -> NotebookNode:
    """The notebook of one source, without outputs.

    Raises:
        SourceError: the file is not a py:percent source.
    """
    text = source.read_text(encoding="utf-8")
    if not HEADER.match(text):
        raise SourceError(f"{source}: not a py:percent source; its first two lines must be `# ---` and `# jupyter:`")
    try:
        made: NotebookNode = jupytext.reads(text, fmt=FORMAT)
    except (ValueError, SyntaxError, nbformat.ValidationError) as error:
        raise SourceError(f"{source}: jupytext cannot read it: {error}") from error
    made.nbformat, made.nbformat_minor = 4, 5
    metadata = {"kernelspec": KERNEL, "language_info": LANGUAGE}
    made.metadata = nbformat.from_dict(metadata)
    taken: set[str] = set()
    for cell in made.cells:
        cell["id"] = _cell_id(cell, taken)
        taken.add(cell["id"])
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.validate(made)
    return made


def _cell_id(cell: NotebookNode, taken: set[str]) -> str:
    """An id that depends on the cell alone, so that moving or adding cells changes no other cell's id.

    A cell may name its own (``# %% id="grid"``); a graded one has nbgrader's; else it is a hash of the text.
    """
    given = cell.metadata.pop("id", None) or cell.metadata.get("nbgrader", {}).get("grade_id")
    if given and given not in taken:
        return str(given)
    texts = (f"{cell.cell_type}\n{cell.source}\n{copy or ''}" for copy in itertools.count())
    candidates = (hashlib.sha256(text.encode()).hexdigest()[:ID_CHARACTERS] for text in texts)
    return next(candidate for candidate in candidates if candidate not in taken)


def notebook_bytes(source: Path) -> bytes:
    """The .ipynb file of one source: the same bytes for the same text."""
    text: str = nbformat.writes(read_source(source), version=4)
    return (text.rstrip("\n") + "\n").encode()


def session_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What one session's folder becomes: path in the built folder and content, in order of paths.

    Sources become notebooks; other files (pictures, tables, helper modules) are taken as they are. An
    exercise's ``mutants/`` and ``variants/`` and what starts with a dot stay behind.
    """
    as_notebook = set(sources(folder))
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or any(part in STAY_HERE or part.startswith(".") for part in inside.parts):
            continue
        if path in as_notebook:
            yield inside.with_suffix(".ipynb").as_posix(), notebook_bytes(path)
        else:
            yield inside.as_posix(), path.read_bytes()


def lecture_files(sessions: tuple[str, ...], lectures: Path = LECTURES) -> dict[str, bytes]:
    """The released notebooks of these sessions: path below ``~/notebooks`` and content.

    Raises:
        SourceError: a session has no folder, or a source in it is at fault.
    """
    return _folders(sessions, lectures)


def exercise_files(sessions: tuple[str, ...], exercises: Path = EXERCISES) -> dict[str, bytes]:
    """The instructor's versions of these sessions' exercises: path below nbgrader's ``source/`` and content.

    A session without an exercise is left out.
    """
    return _folders(tuple(name for name in sessions if (exercises / name).is_dir()), exercises)


def _folders(names: tuple[str, ...], below: Path) -> dict[str, bytes]:
    files = {}
    for name in names:
        folder = below / name
        if not folder.is_dir():
            known = ", ".join(sorted(path.name for path in below.iterdir() if path.is_dir())) or "none"
            raise SourceError(f"{folder} does not exist; curriculum.sessions names it. Folders there: {known}")
        files.update({f"{name}/{path}": content for path, content in session_files(folder)})
    return files


def session_names(*places: Path) -> tuple[str, ...]:
    """Every session that has a folder in one of the places."""
    found = {path.name for place in places if place.is_dir() for path in place.iterdir() if path.is_dir()}
    return tuple(sorted(name for name in found if not name.startswith((".", "_"))))


def build(out: Path, *, lectures: Path = LECTURES, exercises: Path = EXERCISES) -> list[Path]:
    """Build everything into ``out/notebooks`` and ``out/exercises``, replacing what was built there; the files made."""
    made: list[Path] = []
    for name, files in (
        ("notebooks", lecture_files(session_names(lectures), lectures)),
        ("exercises", exercise_files(session_names(exercises), exercises)),
    ):
        shutil.rmtree(out / name, ignore_errors=True)
        made += write_files(files, out / name)
    return made


def write_files(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write the files below a folder, making folders as needed; their paths."""
    written = []
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append(path)
    return written
