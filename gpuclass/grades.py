"""Everybody's grades: the roster beside nbgrader's gradebook and the exchange, as a table or as JSON.

Only looks: nothing in the gradebook or the exchange is made or changed. Who has submitted nothing has no score, which
is not the same as 0.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import Literal

from nbgrader.api import Assignment, BaseCell, Grade, SubmittedAssignment, SubmittedNotebook
from sqlalchemy import func, or_, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from gpuclass.accounts import Account
from gpuclass.errors import PlainError, UsageError
from gpuclass.exchange.operating.looking import Look, reading_only
from gpuclass.exchange.store.schema import AssignmentRow, JobRow, SubmissionRow
from gpuclass.roster import Person, Role
from gpuclass.settings import Language
from gpuclass.spreadsheet import Value, as_csv

SCHEMA = 1  # of the JSON; rises when a key changes its meaning or goes
State = Literal["none", "waiting", "failed", "graded"]


class GradesError(PlainError):
    """The gradebook cannot be read; the text says why and what to do."""


@dataclass(frozen=True)
class Mark:
    """What one student has for one assignment.

    Attributes:
        state: ``none`` without a submission; ``waiting`` and ``failed`` are states of a grading before which there was
            none; else ``graded``.
        score: after the late penalty, as nbgrader counts it; None unless graded.
        seconds_late: how late the graded submission was.
        needs_manual: a teacher still has something to grade by hand.
        put_aside: why grading put notebooks aside, one sentence each.
        newer: a newer submission than the graded one waits or is being graded.
    """

    state: State = "none"
    score: float | None = None
    seconds_late: float = 0.0
    needs_manual: bool = False
    put_aside: tuple[str, ...] = ()
    newer: bool = False


@dataclass(frozen=True)
class Student:
    """A row. ``in_class`` is False for somebody who has left; ``role`` is None for somebody who never was in it."""

    login: str
    name: str
    team: str
    role: str | None
    in_class: bool
    marks: Mapping[str, Mark] = field(default_factory=dict)

    @property
    def total(self) -> float | None:
        """The sum of what is graded; None while nothing is."""
        scores = [mark.score for mark in self.marks.values() if mark.score is not None]
        return sum(scores) if scores else None


@dataclass(frozen=True)
class Grades:
    """The whole table; ``assignments`` are maximum scores by name, None where that is not known before a grading."""

    course: str
    assignments: Mapping[str, float | None]
    students: Sequence[Student]

    @property
    def maximum(self) -> float:
        """What everybody could have."""
        return sum(score or 0.0 for score in self.assignments.values())

    def without_submission(self, assignment: str) -> list[str]:
        """Logins of students of the class who have submitted nothing."""
        return [each.login for each in self.students if each.in_class and each.marks[assignment].state == "none"]


def gather(
    course: str, folder: Path, exchange: Path, accounts: Mapping[str, Account], only: str | None = None
) -> Grades:
    """All grades of a course as they are now.

    Args:
        course: its name in the exchange.
        folder: nbgrader's course folder.
        exchange: the exchange's folder.
        accounts: the roster as imported last, and who was in it before, in the order of the roster.
        only: the one assignment that is wanted.

    Raises:
        GradesError: the gradebook cannot be read.
        UsageError: there is no such course or assignment.
    """
    maxima, graded = _gradebook(folder)
    released, sent = _exchange(exchange, course)
    if not maxima and not released and not folder.is_dir():
        raise UsageError(f"There is no course {course!r}; `gpuclass exchange status` shows those there are.")
    known = {name: maxima.get(name) for name in sorted({*maxima, *released})}
    if only is not None and only not in known:
        raise UsageError(f"No assignment {only!r} in {course}. There are: {', '.join(known) or 'none yet'}.")
    assignments = {name: score for name, score in known.items() if only in (None, name)}
    students = [
        Student(
            person.login,
            person.name,
            person.team,
            person.role.value if login in accounts else None,
            login in accounts and accounts[login].active,
            {
                name: _mark(graded.get((name, login)), sent.get((name, login)), folder / "autograded" / login / name)
                for name in assignments
            },
        )
        for login, person in _people(accounts, {login for name, login in (*graded, *sent) if name in assignments})
    ]
    return Grades(course, assignments, students)


def _people(accounts: Mapping[str, Account], with_work: Collection[str]) -> Iterator[tuple[str, Person]]:
    """The class's students, then everybody else with work: who left, tries by teachers, names nobody knows."""
    others = []
    for login, account in accounts.items():
        if account.active and account.person.role is Role.STUDENT:
            yield login, account.person
        elif login in with_work:
            others.append((login, account.person))
    yield from others
    yield from ((login, Person(login, "", Role.STUDENT)) for login in sorted(set(with_work) - set(accounts)))


@dataclass(frozen=True)
class _Graded:
    """A row of the gradebook."""

    score: float
    seconds_late: float
    needs_manual: bool


def _mark(graded: _Graded | None, job: str | None, autograded: Path) -> Mark:
    pending = job in ("waiting", "running")
    if graded is None:
        if job is None:
            return Mark()
        return Mark("waiting" if pending else "failed")
    return Mark(
        "graded",
        graded.score,
        graded.seconds_late,
        graded.needs_manual,
        tuple(_put_aside(autograded)),
        newer=pending,
    )


def _put_aside(autograded: Path) -> Iterator[str]:
    """Reasons that grading left in a submission's notebooks, as `sanitise.withheld` writes them there."""
    for path in sorted(autograded.glob("*.ipynb")):
        try:
            reason = json.loads(path.read_bytes())["metadata"]["gpuclass"]["withheld"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # nothing was put aside
        yield str(reason)


def _gradebook(folder: Path) -> tuple[dict[str, float], dict[tuple[str, str], _Graded]]:
    """Maximum scores by assignment; what is graded by assignment and login."""
    path = folder / "gradebook.db"
    if not path.is_file():
        return {}, {}
    engine = reading_only(path)
    touched = or_(Grade.auto_score.is_not(None), Grade.manual_score.is_not(None), Grade.needs_manual_grade.is_(True))
    # A submission is in the gradebook, with empty grades, from the moment its grading begins.
    begun = (
        select(Grade.id)
        .join(SubmittedNotebook, Grade.notebook_id == SubmittedNotebook.id)
        .join(BaseCell, Grade.cell_id == BaseCell.id)
        .where(SubmittedNotebook.assignment_id == SubmittedAssignment.id, touched)
        .exists()
    )
    try:
        with Session(engine) as session:
            maxima = {
                name: float(most or 0) for name, most in session.execute(select(Assignment.name, Assignment.max_score))
            }
            rows = session.scalars(select(SubmittedAssignment).where(begun))
            return maxima, {
                (row.name, row.student_id): _Graded(
                    max(0.0, float(row.score) - float(row.late_submission_penalty or 0)),
                    float(row.total_seconds_late),
                    bool(row.needs_manual_grade),
                )
                for row in rows
            }
    except DatabaseError as error:
        raise GradesError(
            f"{path} cannot be read: {error.orig}. Call this as root or as the service user; after a power cut, let "
            "the class run for a moment first (`gpuclass up`), and what grading had begun is put in order."
        ) from error
    finally:
        engine.dispose()


def _exchange(folder: Path, course: str) -> tuple[set[str], dict[tuple[str, str], str | None]]:
    """Released assignments; the state of the newest grading of the last submission, by assignment and login."""
    if not (folder / "exchange.db").is_file():
        return set(), {}
    newest = (
        select(func.max(SubmissionRow.id).label("id"))
        .where(SubmissionRow.course == course)
        .group_by(SubmissionRow.assignment, SubmissionRow.student)
        .subquery()
    )
    job = select(JobRow.submission, func.max(JobRow.id).label("id")).group_by(JobRow.submission).subquery()
    with Look(folder) as look, look.reading() as session:
        released = set(
            session.scalars(
                select(AssignmentRow.name).where(AssignmentRow.course == course, AssignmentRow.hidden.is_(None))
            )
        )
        rows = session.execute(
            select(SubmissionRow.assignment, SubmissionRow.student, JobRow.state)
            .join(newest, newest.c.id == SubmissionRow.id)
            .outerjoin(job, job.c.submission == SubmissionRow.id)
            .outerjoin(JobRow, JobRow.id == job.c.id)
        )
        return released, {(assignment, student): state or "waiting" for assignment, student, state in rows}


# As a table and as JSON

_HEADS = {
    "ko": ("아이디", "이름", "팀", "비고", "합계", "합계 만점"),
    "en": ("login", "name", "team", "note", "total", "total max"),
}
_COLUMNS = {"ko": ("점수", "만점", "표시"), "en": ("score", "max", "marks")}
_WORDS = {
    "left": ("명단에서 빠짐", "no longer in the roster"),
    "unknown": ("명단에 없음", "not in the roster"),
    "none": ("제출 안 함", "not submitted"),
    "waiting": ("채점 기다리는 중", "waiting for grading"),
    "failed": ("채점 실패", "grading failed"),
    "late": ("늦음 {span}", "late by {span}"),
    "manual": ("선생님 채점 필요", "to be graded by a teacher"),
    "aside": ("보류: {reason}", "put aside: {reason}"),
    "newer": ("더 새로운 제출물이 채점을 기다림", "a newer submission waits for grading"),
}


def table(grades: Grades, language: Language) -> bytes:
    """CSV for a spreadsheet: a row a student, three columns an assignment, then the total."""
    login, name, team, note, total, most = _HEADS[language]
    columns = [f"{each} {column}" for each in grades.assignments for column in _COLUMNS[language]]
    return as_csv(
        [login, name, team, note, *columns, total, most], (_row(grades, each, language) for each in grades.students)
    )


def _row(grades: Grades, student: Student, language: Language) -> list[Value]:
    note = ""
    if student.role is None:
        note = _say(language, "unknown")
    elif not student.in_class:
        note = _say(language, "left")
    elif student.role != Role.STUDENT:
        note = student.role
    cells: list[Value] = [student.login, student.name, student.team, note]
    for name, maximum in grades.assignments.items():
        mark = student.marks[name]
        cells += [mark.score, maximum, "; ".join(_remarks(mark, language))]
    return [*cells, student.total, grades.maximum]


def _remarks(mark: Mark, language: Language) -> Iterator[str]:
    if mark.state != "graded":
        yield _say(language, mark.state)
    if mark.seconds_late:
        yield _say(language, "late", span=_span(mark.seconds_late, language))
    if mark.needs_manual:
        yield _say(language, "manual")
    for reason in mark.put_aside:
        yield _say(language, "aside", reason=reason)
    if mark.newer:
        yield _say(language, "newer")


def _span(seconds: float, language: Language) -> str:
    """In whole units, the largest of which there are at least two, rounded up: a second late is not "0 min"."""
    for step, korean, english in ((86400, "일", " days"), (3600, "시간", " h"), (60, "분", " min")):
        if seconds >= 2 * step:
            return f"{ceil(seconds / step)}{korean if language == 'ko' else english}"
    return f"{ceil(seconds)}{'초' if language == 'ko' else ' s'}"


def _say(language: Language, key: str, **details: str) -> str:
    korean, english = _WORDS[key]
    return (korean if language == "ko" else english).format(**details)


def as_json(grades: Grades) -> str:
    """For programs; the keys are described in docs/howto/grades.md. Numbers are numbers, what is not there is null."""
    students = [
        {
            "login": each.login,
            "name": each.name,
            "team": each.team,
            "role": each.role,
            "in_class": each.in_class,
            "assignments": {
                name: {**asdict(mark), "max_score": grades.assignments[name], "late": mark.seconds_late > 0}
                for name, mark in each.marks.items()
            },
            "total": each.total,
            "total_max": grades.maximum,
        }
        for each in grades.students
    ]
    assignments = [{"name": name, "max_score": most} for name, most in grades.assignments.items()]
    whole = {"schema": SCHEMA, "course": grades.course, "assignments": assignments, "students": students}
    return json.dumps(whole, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
