"""What is wrong in the curriculum's sources, by file and line. Reads only; runs no cell."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from gpuclass.curriculum.answers import answered, points, read_answer
from gpuclass.curriculum.building import EXERCISES, LECTURES, read_source, session_names, sources
from gpuclass.curriculum.errors import SourceError

MINUTES = re.compile(r"⏱\s*\d+분")
SECTION_MINUTES = re.compile(r"\(\d+분\)$")
OBJECTIVES = "이 시간이 끝나면"
REMEMBER = "기억할 것"
TITLE = re.compile(r"^# \d\d .*[가-힣].* / .*[A-Za-z]")
CELL_LINES = 40  # a code cell that a student reads should fit on a screen; set-up cells are collapsed
ABSOLUTE_PATH = re.compile(r"""["'](?:/home/|/root/|/work/|/mnt/|[A-Z]:\\)""")
NETWORK = re.compile(r"\b(?:urllib\.request|requests\.|urlopen|wget |curl |download\s*=\s*True|pip install|apt-get )")
MAGIC = re.compile(r"^\s*[%!]")
MINIMUM_MUTANTS = 3
SCHEMA = 3


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to mend."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class _Source:
    """A source with the line on which each cell opens."""

    path: Path
    notebook: NotebookNode
    starts: tuple[int, ...]

    @classmethod
    def read(cls, path: Path) -> _Source:
        text = path.read_text(encoding="utf-8")
        starts = tuple(number for number, line in enumerate(text.splitlines(), 1) if line.startswith("# %%"))
        notebook = read_source(path)
        if len(starts) != len(notebook.cells):
            raise SourceError(f"{path}:1: {len(starts)} cell markers, {len(notebook.cells)} cells: text stands outside")
        return cls(path, notebook, starts)

    def cells(self, kind: str | None = None) -> Iterator[tuple[int, NotebookNode]]:
        """Each cell (of one kind) with the line of its marker."""
        for line, cell in zip(self.starts, self.notebook.cells, strict=True):
            if kind in (None, cell.cell_type):
                yield line, cell


def check(lectures: Path = LECTURES, exercises: Path = EXERCISES) -> list[Problem]:
    """Everything wrong in all sessions, in order of files and lines."""
    found: list[Problem] = []
    for name in session_names(lectures):
        found += _folder(lectures / name, _lecture)
    for name in session_names(exercises):
        found += _folder(exercises / name, _exercise)
    return sorted(found)


def _folder(folder: Path, rules: Callable[[_Source], Iterator[Problem]]) -> Iterator[Problem]:
    paths = sources(folder)
    if not paths:
        yield Problem(folder, 1, "holds no py:percent source; a session's folder has one or more")
    for path in paths:
        try:
            source = _Source.read(path)
        except SourceError as error:
            yield _problem(path, error)
        else:
            yield from _any_notebook(source)
            yield from rules(source)


def _problem(path: Path, error: SourceError) -> Problem:
    """An error that may open with ``path:line:`` as a problem."""
    where = re.match(rf"{re.escape(str(path))}:(?:(\d+):)? ?", str(error))
    return Problem(path, int(where[1] or 1) if where else 1, str(error)[where.end() if where else 0 :])


def _any_notebook(source: _Source) -> Iterator[Problem]:
    for start, cell in source.cells("code"):
        for offset, text in enumerate(cell.source.splitlines(), 1):
            if ABSOLUTE_PATH.search(text):
                yield Problem(source.path, start + offset, "absolute path; a notebook runs in any home")
            if NETWORK.search(text):
                yield Problem(source.path, start + offset, "reaches for the network; a class has none")
        try:
            ast.parse("\n".join("pass" if MAGIC.match(line) else line for line in cell.source.splitlines()))
        except SyntaxError as error:
            yield Problem(source.path, start + (error.lineno or 1), f"not Python: {error.msg}")


def _lecture(source: _Source) -> Iterator[Problem]:
    prose = list(source.cells("markdown"))
    first = prose[0][1].source if prose else ""
    top = source.starts[0] if source.starts else 1
    if not TITLE.match(first):
        yield Problem(source.path, top, "the first cell opens with `# NN 제목 / Title`, in both languages")
    if not MINUTES.search(first):
        yield Problem(source.path, top, "the first cell says how long the session takes: `⏱ 20분`")
    if OBJECTIVES not in first:
        yield Problem(source.path, top, f"the first cell says what students will be able to do: `{OBJECTIVES}`")
    if not any(f"## {REMEMBER}" in cell.source for _, cell in prose):
        yield Problem(source.path, source.starts[-1] if source.starts else 1, f"no section `## {REMEMBER}`")
    for start, cell in prose:
        for offset, text in enumerate(cell.source.splitlines(), 1):
            if re.match(r"## \d", text) and not SECTION_MINUTES.search(text):
                yield Problem(source.path, start + offset, "a section's heading ends with its time: `(5분)`")
    for start, cell in source.cells("code"):
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden")
        if not hidden and len(cell.source.splitlines()) > CELL_LINES:
            yield Problem(source.path, start, f"more than {CELL_LINES} lines in a cell that students read")


def _exercise(source: _Source) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for start, cell in source.cells():
        nbgrader = cell.metadata.get("nbgrader")
        if nbgrader is None:
            yield Problem(source.path, start, "a cell without nbgrader metadata can be lost from a submission: lock it")
            continue
        if nbgrader.get("schema_version") != SCHEMA:
            yield Problem(source.path, start, f"nbgrader schema_version must be {SCHEMA}")
        grade_id = nbgrader.get("grade_id", "")
        if not grade_id:
            yield Problem(source.path, start, "no grade_id")
        elif grade_id in seen:
            yield Problem(source.path, start, f"grade_id {grade_id!r} is taken by line {seen[grade_id]}")
        seen[grade_id] = start
        for mark, key in (("SOLUTION", "solution"), ("HIDDEN TESTS", "grade")):
            opened, closed = (cell.source.count(f"### {side} {mark}") for side in ("BEGIN", "END"))
            if opened != closed:
                yield Problem(source.path, start, f"### BEGIN {mark} and ### END {mark} do not pair")
            if opened and not nbgrader.get(key):
                yield Problem(source.path, start, f"### BEGIN {mark} in a cell whose nbgrader key {key} is not true")
        if nbgrader.get("solution") and cell.cell_type == "code" and "### BEGIN SOLUTION" not in cell.source:
            yield Problem(source.path, start, "a solution cell without ### BEGIN SOLUTION is emptied in the release")
        if nbgrader.get("grade") and not nbgrader.get("points", 0) > 0:
            yield Problem(source.path, start, "a graded cell is worth more than 0 points")
    yield from _answers(source)


def _answers(source: _Source) -> Iterator[Problem]:
    """Mutants and variants belong to the folder's one notebook; that they score as they say is for the tests."""
    best = sum(points(source.notebook).values())
    mutants = 0
    folder = source.path.parent
    for path in sorted([*folder.glob("mutants/*.py"), *folder.glob("variants/*.py")]):
        try:
            answer = read_answer(path)
            answered(source.notebook, answer.cells)
        except SourceError as error:
            yield _problem(path, error)
            continue
        mutants += answer.points is not None
        if answer.points and answer.points[1] >= best:
            yield Problem(path, 3, f"a mutant must stay below the full {best:g} points")
    if mutants < MINIMUM_MUTANTS:
        yield Problem(
            source.path, 1, f"{mutants} mutants; {MINIMUM_MUTANTS} or more plausible wrong answers are wanted"
        )
