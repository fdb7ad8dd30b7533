"""Assignments to be checked before their release, in line. The grading worker takes them before anything else."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import select, update

from gpuclass.exchange.records import Check, NotFound, State
from gpuclass.exchange.store.database import Database
from gpuclass.exchange.store.schema import CheckRow

CHECK_TRIES = 2  # of a check that was cut short; one that kills the worker must not do so for ever


class Checks(Database):
    """The checks in the database: waiting, running, done or failed."""

    def request_check(self, course: str, assignment: str, requested_by: str) -> int:
        """Have an assignment checked; the check's number, that of one which waits already if there is one."""
        with self.writing() as session:
            waiting = session.scalar(
                select(CheckRow.id).where(
                    CheckRow.course == course, CheckRow.assignment == assignment, CheckRow.state == "waiting"
                )
            )
            if waiting is not None:
                return waiting
            row = CheckRow(
                course=course, assignment=assignment, requested_by=requested_by, state="waiting", made=self.clock()
            )
            session.add(row)
            session.flush()
            return row.id

    def claim_check(self) -> Check | None:
        """The check that waited longest, now running; None when there is none.

        No two run for one assignment at the same time: they share its files.
        """
        if not self._any_check():
            return None  # nearly always: without the write lock
        with self.writing() as session:
            running = select(CheckRow.course, CheckRow.assignment).where(CheckRow.state == "running")
            at_work = {(course, assignment) for course, assignment in session.execute(running)}
            for row in session.scalars(select(CheckRow).where(CheckRow.state == "waiting").order_by(CheckRow.id)):
                if (row.course, row.assignment) not in at_work:
                    row.state, row.started, row.attempts = "running", self.clock(), row.attempts + 1
                    return _check(row)
            return None

    def finish_check(self, check_id: int, report: dict[str, Any], *, failed: bool = False) -> None:
        """Keep what a check found; ``failed``: it could not be made, and the report says why.

        Raises:
            NotFound: there is no such check.
        """
        with self.writing() as session:
            row = session.get(CheckRow, check_id)
            if row is None:
                raise NotFound("check")
            row.state, row.report, row.finished = ("failed" if failed else "done"), report, self.clock()

    def check(self, check_id: int) -> Check:
        """One check by its number.

        Raises:
            NotFound: there is none.
        """
        with self.reading() as session:
            row = session.get(CheckRow, check_id)
            if row is None:
                raise NotFound("check")
            return _check(row)

    def requeue_checks(self) -> None:
        """Put back the checks that a killed worker left running; one begun ``CHECK_TRIES`` times has failed."""
        running = update(CheckRow).where(CheckRow.state == "running")
        report = {"error": f"the grading worker ended {CHECK_TRIES} times while it made this check"}
        with self.writing() as session:
            session.execute(
                running.where(CheckRow.attempts >= CHECK_TRIES).values(
                    state="failed", report=report, finished=self.clock()
                )
            )
            session.execute(running.values(state="waiting"))

    def _any_check(self) -> bool:
        with self.reading() as session:
            return session.scalar(select(CheckRow.id).where(CheckRow.state == "waiting").limit(1)) is not None


def _check(row: CheckRow) -> Check:
    return Check(row.id, row.course, row.assignment, row.requested_by, cast("State", row.state), row.report)
