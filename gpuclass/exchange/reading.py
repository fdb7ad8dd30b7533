"""What the exchange's pages and clients read, each in a handful of SQL statements however much there is."""

from __future__ import annotations

from sqlalchemy import select

from gpuclass.exchange.schema import AssignmentRow, CourseRow
from gpuclass.exchange.store import Store


def has_assignment(store: Store, course: str, assignment: str) -> bool:
    """Whether something can be handed in there."""
    there = (
        select(AssignmentRow.name)
        .join(CourseRow, CourseRow.name == AssignmentRow.course)
        .where(
            AssignmentRow.course == course,
            AssignmentRow.name == assignment,
            AssignmentRow.hidden.is_(None),
            CourseRow.hidden.is_(None),
        )
    )
    with store.reading() as session:
        return session.scalar(there) is not None
