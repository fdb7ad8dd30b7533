"""Who belongs to which course: the imported roster, and over it what the API said.

Operators are ngshare's admins. A mentor takes part like a student. An API call overrides the roster for that person
and course until another takes it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from gpuclass.exchange.names import identifier
from gpuclass.exchange.store.schema import CourseRow, MemberRow
from gpuclass.exchange.store.store import AlreadyThere, NotFound, Store
from gpuclass.roster import Role, Roster

Part = Literal["instructor", "student"]
REMOVED = "removed"
_Change = Row[str, str | None, str | None, str | None, str | None]  # login, role, first and last name, e-mail

PARTS: dict[Role, Part] = {
    Role.STUDENT: "student",
    Role.MENTOR: "student",  # may fetch and try what the students at the table work on
    Role.INSTRUCTOR: "instructor",
}

# The course, if there is one to be seen, beside each change to it. Made once: every request asks.
_MEMBERS = (
    select(MemberRow.login, MemberRow.role, MemberRow.first_name, MemberRow.last_name, MemberRow.email)
    .select_from(CourseRow)
    .outerjoin(MemberRow, MemberRow.course == CourseRow.name)
    .where(CourseRow.name == bindparam("course"), CourseRow.hidden.is_(None))
)


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
        self._known: tuple[Roster, dict[str, Member]] | None = None
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

    def teaches(self, login: str) -> bool:
        """Whether somebody is an instructor of any course."""
        everybody = map(self.members, self.all())
        return any(login in people and people[login].part == "instructor" for people in everybody)

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
        with self._store.reading() as session:
            rows = session.execute(_MEMBERS, {"course": course}).all()
        if not rows:
            raise NotFound("course")
        people = dict(self._from_roster()) if course == self._course else {}
        for row in rows:
            if row.login is not None:
                _lay_over(people, row)
        return people

    def _from_roster(self) -> dict[str, Member]:
        """The class's own people, made anew only when the roster is another."""
        roster = self._people()
        known = self._known
        if known is None or known[0] is not roster:
            members = {
                person.login: Member(person.login, PARTS[person.role], first_name=person.name)
                for person in roster.people
                if person.role in PARTS
            }
            self._known = known = roster, members
        return known[1]

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


def _lay_over(people: dict[str, Member], row: _Change) -> None:
    known = people.pop(row.login, None)
    if row.role == REMOVED:
        return
    if row.role is not None:
        part = cast("Part", row.role)
        known = replace(known or Member(row.login, part), part=part)
    if known is not None:  # without a role of its own, somebody who left the roster is gone
        people[row.login] = replace(
            known,
            first_name=known.first_name if row.first_name is None else row.first_name,
            last_name=known.last_name if row.last_name is None else row.last_name,
            email=known.email if row.email is None else row.email,
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
