"""Answers out of the exchange: the last submission of everybody, taken apart in a process with limits.

What students sent may be anything. It is parsed in a child that has limits of time, memory and output and writes no
file; what comes back is text.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gpuclass.errors import UsageError
from gpuclass.exchange.operating.looking import Look
from gpuclass.exchange.store.schema import AssignmentRow, ReleaseRow, SubmissionRow, TreeRow
from gpuclass.grader.sanitise import FILE_LIMIT, Quarantined, notebook_name, rebuild
from gpuclass.grader.template import SourceCell, Template
from gpuclass.settings import Language
from gpuclass.similar.code import form, lines
from gpuclass.similar.pairs import Own, Work
from gpuclass.units import show_size

TOKENS = 20_000  # of one student; thirty times a long exercise
SECONDS = 20  # for one submission
MEMORY = 2 * 2**30  # bytes that the child may have on top of what it has at its start
ANSWER = 64 * 2**20  # bytes that it may say


@dataclass(frozen=True)
class Assignment:
    """What the releases say.

    Attributes:
        templates: of the newest, by notebook; what `rebuild` needs to recognise cells.
        answers: grade_ids of answer cells with code by notebook, of all versions.
        explained: forms of all lines of code that any version, or a lecture, has.
    """

    templates: Mapping[str, Template]
    answers: Mapping[str, frozenset[str]]
    explained: frozenset[str]


@dataclass(frozen=True)
class Unreadable:
    """A submission that could not be taken apart, and why."""

    login: str
    reason: str


@dataclass(frozen=True)
class Sent:
    """The notebooks of the last submission of one student, or why they cannot be had."""

    login: str
    notebooks: Mapping[str, bytes]
    trouble: str = ""


def read(folder: Path, course: str, name: str, lectures: Iterable[bytes] = ()) -> tuple[Assignment, list[Sent]]:
    """An assignment's releases and everybody's last submission to it; ``lectures`` are notebooks that all were given.

    Raises:
        UsageError: there is no such assignment.
        CannotLook: the exchange's folder cannot be read.
    """
    with Look(folder) as look, look.reading() as session:
        versions = session.scalars(
            select(ReleaseRow)
            .where(ReleaseRow.course == course, ReleaseRow.assignment == name)
            .order_by(ReleaseRow.version.desc())
        ).all()
        if not versions:
            there = session.scalars(select(AssignmentRow.name).where(AssignmentRow.course == course)).all()
            raise UsageError(
                f"No assignment {name!r} is released in {course}. Released: {', '.join(there) or 'none yet'}."
            )
        released = [_notebooks(look, session, version.tree) for version in versions]
        assignment = _assignment(released, lectures)
        newest = (
            select(func.max(SubmissionRow.id))
            .where(SubmissionRow.course == course, SubmissionRow.assignment == name)
            .group_by(SubmissionRow.student)
        )
        rows = session.scalars(
            select(SubmissionRow).where(SubmissionRow.id.in_(newest)).order_by(SubmissionRow.student)
        )
        return assignment, [_sent(look, session, row, assignment) for row in rows]


def works(
    assignment: Assignment, sent: list[Sent], team: Callable[[str], str], language: Language
) -> Iterator[Work | Unreadable]:
    """Each student's answers as tokens, or why there are none."""
    for each in sent:
        try:
            found: dict[str, Any] = {"reason": each.trouble} if each.trouble else _apart(assignment, each, language)
        except _TooMuch as error:
            found = {"reason": str(error)}
        if "reason" in found:
            yield Unreadable(each.login, found["reason"])
        else:
            own = [Own(*token) for token in found["own"]]
            yield Work(each.login, team(each.login), found["cells"], own, found["cut"])


def take_apart(assignment: Assignment, notebooks: Mapping[str, bytes], language: Language) -> dict[str, Any]:
    """The answers in values that JSON carries: ``cells`` as written, ``own`` tokens, ``cut``; or a ``reason``."""
    cells: dict[str, str] = {}
    own: list[tuple[str, int, int, int]] = []
    for name, template in assignment.templates.items():
        if name not in notebooks:
            continue
        try:
            made, _ = rebuild(notebooks[name], template, f"{name}.ipynb", language)
        except Quarantined as error:
            return {"reason": error.reason(language)}
        for cell in made.cells:
            grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
            if cell.cell_type != "code" or grade_id not in assignment.answers.get(name, ()):
                continue
            for line in lines(cell.source, TOKENS):
                if form(line) not in assignment.explained:
                    own += [(token.text, len(cells), token.start, token.end) for token in line]
                if len(own) > TOKENS:
                    break
            cells[f"{name}/{grade_id}"] = cell.source
    return {"cells": cells, "own": own[:TOKENS], "cut": len(own) > TOKENS}


class _TooMuch(Exception):  # noqa: N818  # it is the submission's fault, not the program's
    """A submission went beyond a limit; the text says which."""


def _apart(assignment: Assignment, sent: Sent, language: Language) -> dict[str, Any]:
    """`take_apart` in a child that is gone when this returns."""
    # A fork: nothing is running beside this in the command, and a fresh Python would take a second a student.
    context = multiprocessing.get_context("fork")
    answer, other = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(other, assignment, sent, language), daemon=True)
    child.start()
    other.close()
    try:
        if not answer.poll(SECONDS):
            raise _TooMuch(f"not read within {SECONDS} s")
        found: dict[str, Any] = json.loads(answer.recv_bytes(ANSWER))
    except (EOFError, OSError):
        raise _TooMuch("takes too much time or memory to read") from None
    else:
        return found
    finally:
        child.kill()
        child.join()
        answer.close()


def _in_child(to: Connection, assignment: Assignment, sent: Sent, language: Language) -> None:
    with open("/proc/self/statm", encoding="ascii") as pages:  # noqa: PTH123  # one number of a pseudo file
        used = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    for never in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):  # it writes no file
        resource.setrlimit(never, (0, 0))
    try:
        to.send_bytes(json.dumps(take_apart(assignment, sent.notebooks, language)).encode())
    except MemoryError:
        os._exit(1)


def _assignment(released: list[dict[str, bytes]], lectures: Iterable[bytes]) -> Assignment:
    templates: dict[str, Template] = {}
    answers: dict[str, set[str]] = {}
    explained: set[str] = set()
    for notebooks in released:  # the newest first
        for name, data in notebooks.items():
            known = _template(json.loads(data))
            templates.setdefault(name, known)
            answers.setdefault(name, set()).update(
                cell.grade_id for cell in known.cells if cell.solution and cell.cell_type == "code"
            )
    for data in (*lectures, *(data for notebooks in released for data in notebooks.values())):
        for cell in json.loads(data)["cells"]:
            if cell["cell_type"] == "code":
                explained.update(form(line) for line in lines("".join(cell["source"])))
    return Assignment(templates, {name: frozenset(ids) for name, ids in answers.items()}, frozenset(explained))


def _template(notebook: dict[str, Any]) -> Template:
    cells: list[SourceCell] = []
    plain: set[tuple[str, str]] = set()
    for cell in notebook["cells"]:
        known = cell.get("metadata", {}).get("nbgrader") or {}
        kind, source = cell["cell_type"], "".join(cell["source"])
        if not known.get("grade_id"):
            plain.add((kind, source))
            continue
        locked, grade, solution, task = (bool(known.get(role)) for role in ("locked", "grade", "solution", "task"))
        points = float(known.get("points") or 0)
        cells.append(SourceCell(known["grade_id"], kind, source, locked, grade, solution, task, points, checksum=None))
    return Template(tuple(cells), plain=frozenset(plain))


def _notebooks(look: Look, session: Session, tree: str) -> dict[str, bytes]:
    files = session.get_one(TreeRow, tree).files
    return {
        Path(path).stem: look.path(sha256).read_bytes()
        for path, sha256, _, _ in files
        if path.endswith(".ipynb") and "/" not in path
    }


def _sent(look: Look, session: Session, row: SubmissionRow, assignment: Assignment) -> Sent:
    notebooks: dict[str, bytes] = {}
    for path, sha256, _, size in session.get_one(TreeRow, row.tree).files:
        name = notebook_name(Path(path), assignment.templates)
        if name is None:
            continue
        if size > FILE_LIMIT:
            return Sent(row.student, {}, trouble=f"{name}.ipynb: larger than {show_size(FILE_LIMIT)}")
        try:
            notebooks[name] = look.path(sha256).read_bytes()
        except OSError as error:
            trouble = f"{error.strerror}; `gpuclass exchange verify` says what is damaged"
            return Sent(row.student, {}, trouble=trouble)
    return Sent(row.student, notebooks)
