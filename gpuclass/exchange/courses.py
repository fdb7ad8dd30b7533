"""Who belongs to which course: the imported roster, and over it what the API said.

Operators are ngshare's admins. A mentor takes part like a student. An API call overrides the roster for that person
and course until another takes it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from gpuclass.exchange.names import identifier
from gpuclass.exchange.schema import CourseRow, MemberRow
from gpuclass.exchange.store import AlreadyThere, NotFound, Store
from gpuclass.roster import Role, Roster

Part = Literal["instructor", "student"]
REMOVED = "removed"

PARTS: dict[Role, Part] = {
    Role.STUDENT: "student",
    Role.MENTOR: "student",  # may fetch and try what the students at the table work on
    Role.INSTRUCTOR: "instructor",
}


@dataclass(frozen=True)
class Member:
    """Somebody in a course; what nobody filled in is None."""

    login: str
    part: Part
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None


class Courses:
    """The courses in the store and their people.

    Args:
        store: where courses and changes by API are kept.
        course: the class's own course, which the roster fills.
        people: who is in the class now, by the roster as it was imported last: what the hub goes by, too.
    """

    def __init__(self, store: Store, course: str, people: Callable[[], Roster]) -> None:
        self._store = store
        self._course = course
        self._people = people
        with store.writing() as session:
            if session.get(CourseRow, course) is None:
                session.add(CourseRow(name=course, created=store.clock()))

    def is_admin(self, login: str) -> bool:
        """Whether ``login`` is an operator."""
        person = self._people().get(login)
        return person is not None and person.role is Role.OPERATOR

    def all(self) -> list[str]:
        """Every course, sorted."""
        with self._store.reading() as session:
            return list(
                session.scalars(select(CourseRow.name).where(CourseRow.hidden.is_(None)).order_by(CourseRow.name))
            )

    def of(self, login: str) -> list[str]:
        """The courses somebody takes or teaches, sorted."""
        return [course for course in self.all() if login in self.members(course)]

    def create(self, course: str, instructors: list[str]) -> None:
        """Make a course, or let a deleted one appear again.

        Raises:
            UnsafeName: its name.
            AlreadyThere: there is one.
        """
        course = identifier(course)
        with self._store.writing() as session:
            row = session.get(CourseRow, course)
            if row is not None and row.hidden is None:
                raise AlreadyThere
            if row is None:
                session.add(CourseRow(name=course, created=self._store.clock()))
                session.flush()
            else:
                row.hidden = None
            for login in map(identifier, instructors):
                _change(session, course, login, role="instructor")

    def hide(self, course: str) -> None:
        """Let a course disappear; nothing in it is erased."""
        with self._store.writing() as session:
            _visible(session, course).hidden = self._store.clock()

    def members(self, course: str) -> dict[str, Member]:
        """Everybody in a course, by login.

        Raises:
            NotFound: the course.
        """
        people = {}
        if course == self._course:
            people = {
                person.login: Member(person.login, PARTS[person.role], first_name=person.name)
                for person in self._people().people
                if person.role in PARTS
            }
        with self._store.reading() as session:
            _visible(session, course)
            for row in session.scalars(select(MemberRow).where(MemberRow.course == course)):
                _lay_over(people, row)
        return people

    def put(self, course: str, member: Member) -> None:
        """Add somebody, or change their names or part."""
        known = self.members(course).get(member.login)
        role = None if known is not None and known.part == member.part else member.part
        with self._store.writing() as session:
            _visible(session, course)
            _change(
                session,
                course,
                member.login,
                role=role,
                first_name=member.first_name,
                last_name=member.last_name,
                email=member.email,
            )

    def remove(self, course: str, login: str) -> None:
        """Take somebody out of a course; what they submitted stays."""
        with self._store.writing() as session:
            _visible(session, course)
            _change(session, course, login, role=REMOVED)


def _lay_over(people: dict[str, Member], row: MemberRow) -> None:
    known = people.pop(row.login, None)
    if row.role == REMOVED:
        return
    if row.role is not None:
        part = cast("Part", row.role)
        known = replace(known or Member(row.login, part), part=part)
    if known is not None:  # without a role of its own, somebody who left the roster is gone
        people[row.login] = replace(
            known,
            first_name=row.first_name or known.first_name,
            last_name=row.last_name or known.last_name,
            email=row.email or known.email,
        )


def _change(session: Session, course: str, login: str, *, role: str | None, **names: str | None) -> None:
    """Note what the API said; no role leaves the one there is."""
    row = session.get(MemberRow, (course, login))
    if row is None:
        row = MemberRow(course=course, login=login)
        session.add(row)
    if role is not None:
        row.role = role
    for key, value in names.items():
        setattr(row, key, value)


def _visible(session: Session, course: str) -> CourseRow:
    row = session.get(CourseRow, course)
    if row is None or row.hidden is not None:
        raise NotFound("course")
    return row
