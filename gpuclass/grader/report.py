"""How `gpuclass grade` shows outcomes: lines of JSON as they come, or a table at the end."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gpuclass.grader.grade import Plan, Submission, as_json
from gpuclass.grader.job import Graded


class Report:
    """Counts what failed; the kinds below also show it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.failed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing was opened."""

    def add(self, submission: Submission, graded: Graded) -> None:
        """Take one outcome."""
        self.failed += graded.status == "failed"


class JsonReport(Report):
    """One object a line on standard output, written at once."""

    def add(self, submission: Submission, graded: Graded) -> None:
        """Print one outcome."""
        super().add(submission, graded)
        print(as_json(self.plan, submission, graded), flush=True)


class TableReport(Report):
    """A progress bar on standard error, then a table."""

    _STYLES = {"graded": "", "quarantined": "yellow", "failed": "red"}  # noqa: RUF012  # never changed

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._table = Table("student", "status", "score", "of", "seconds", "reason", title=plan.title)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(plan.title, total=len(plan.submissions))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show what came, also when the rest did not."""
        self._progress.stop()
        if self._table.row_count:
            Console(file=sys.stdout).print(self._table)

    def add(self, submission: Submission, graded: Graded) -> None:
        """Add a row."""
        super().add(submission, graded)
        figures = (f"{graded.score:g}", f"{graded.max_score:g}", f"{graded.seconds:.1f}")
        style = self._STYLES[graded.status]
        self._table.add_row(submission.student, graded.status, *figures, graded.reason, style=style)
        self._progress.advance(self._task)
