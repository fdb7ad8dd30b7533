"""The exchange's deadlines in nbgrader's gradebook. Imported in the instructor's container too: needs nbgrader only."""

from __future__ import annotations

from datetime import UTC, timedelta

from nbgrader.api import Gradebook, MissingEntry

from gpuclass.exchange.records import Deadline


def write_deadline(gradebook: Gradebook, assignment: str, deadline: Deadline) -> None:
    """Write a deadline where nbgrader's late penalty and pages look for it, if the assignment is in the gradebook.

    Everybody's extension is written: nbgrader counts them from the class's deadline, which may have moved, and fails on
    one where there is no deadline.
    """
    try:
        known = gradebook.find_assignment(assignment)
    except MissingEntry:
        return
    known.duedate = deadline.due and deadline.due.astimezone(UTC).replace(tzinfo=None)
    for submission in known.submissions:
        due = deadline.of(submission.student.id)
        longer = due - deadline.due if due and deadline.due else timedelta(0)
        submission.extension = longer or None
    gradebook.db.commit()
