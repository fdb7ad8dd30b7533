"""Until when an assignment can be handed in: for the class, and longer for single students.

The time of a submission is when its request's headers arrived, by the server's clock. A late one is taken like any
other and marked; what that costs is nbgrader's late penalty. Every deadline that was ever set is kept with who set it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from gpuclass.exchange.names import identifier
from gpuclass.exchange.records import Deadline, NotFound
from gpuclass.exchange.store.schema import AssignmentRow, DeadlineRow
from gpuclass.exchange.store.store import Store

__all__ = ["Deadline", "Deadlines"]


class Deadlines:
    """The deadlines in the exchange's store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, course: str, assignment: str, due: datetime | None, *, by: str, student: str | None = None) -> None:
        """Set the class's deadline or, with ``student``, theirs; None takes it away.

        Raises:
            NotFound: the assignment.
            UnsafeName: the student.
        """
        with self._store.writing() as session:
            if session.get(AssignmentRow, (course, assignment)) is None:
                raise NotFound("assignment")
            session.add(
                DeadlineRow(
                    course=course,
                    assignment=assignment,
                    student=None if student is None else identifier(student),
                    due=due,
                    made=self._store.clock(),
                    made_by=by,
                )
            )

    def of(self, course: str, assignment: str) -> Deadline:
        """One assignment's deadline."""
        return self.all(course).get(assignment, Deadline())

    def all(self, course: str) -> dict[str, Deadline]:
        """The deadlines of a course by assignment; an assignment that never had one is not in it."""
        with self._store.reading() as session:
            return deadlines_of(session, course)


def deadlines_of(session: Session, course: str) -> dict[str, Deadline]:
    """The deadlines of a course by assignment, as one state of the database has them."""
    due: dict[str, datetime | None] = {}
    extensions: dict[str, dict[str, datetime]] = {}
    for row in session.execute(_NEWEST, {"course": course}):
        if row.student is None:
            due[row.assignment] = row.due
        elif row.due is not None:
            extensions.setdefault(row.assignment, {})[row.student] = row.due
    return {name: Deadline(due.get(name), extensions.get(name, {})) for name in due.keys() | extensions.keys()}


# Made once: every submission asks, and putting the statement together takes longer than running it.
_NEWEST = select(DeadlineRow.assignment, DeadlineRow.student, DeadlineRow.due).where(
    DeadlineRow.id.in_(
        select(func.max(DeadlineRow.id))
        .where(DeadlineRow.course == bindparam("course"))
        .group_by(DeadlineRow.assignment, DeadlineRow.student)
    )
)
