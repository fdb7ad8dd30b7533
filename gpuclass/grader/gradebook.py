"""The exchange's deadlines in nbgrader's gradebook. Imported in the instructor's container too: needs nbgrader only."""

from __future__ import annotations

from datetime import UTC, timedelta

from nbgrader.api import Gradebook, MissingEntry, SubmittedAssignment

from gpuclass.exchange.records import Deadline


def write_deadline(gradebook: Gradebook, assignment: str, deadline: Deadline) -> None:
    """Write a deadline where nbgrader's late penalty and pages look for it, if the assignment is in the gradebook.

    Everybody's extension is written: nbgrader counts them from the class's deadline, which may have moved, and fails on
    one where there is no deadline. What is right already is not written.
    """
    try:
        known = gradebook.find_assignment(assignment)
    except MissingEntry:
        return
    known.duedate = deadline.due and deadline.due.astimezone(UTC).replace(tzinfo=None)
    # Columns, not objects: nbgrader adds up all points of each submission that it loads.
    each = SubmittedAssignment
    of_this = gradebook.db.query(each.id, each.student_id, each.extension).filter(each.assignment_id == known.id)
    for number, student, there in of_this.all():
        due = deadline.of(student)
        longer = (due - deadline.due if due and deadline.due else timedelta(0)) or None
        if there != longer:
            gradebook.db.query(each).filter(each.id == number).update({"extension": longer})
    gradebook.db.commit()
