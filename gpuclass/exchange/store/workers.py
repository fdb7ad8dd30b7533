"""Signs of life of the grading worker, which has no port that anybody could ask."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from gpuclass.exchange.store.database import Database
from gpuclass.exchange.store.schema import WorkerRow

BEAT_S = 5.0  # from one sign of life to the next
SILENT = timedelta(seconds=6 * BEAT_S)  # a worker that was silent for so long is gone, or its machine is


@dataclass(frozen=True)
class Life:
    """Whether a worker is at work, and when one was seen last."""

    alive: bool
    seen: datetime | None


class Workers:
    """The runs of the grading worker.

    Args:
        database: the exchange's store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self) -> int:
        """A worker has begun, this process; the number of its run."""
        now = self._database.clock()
        with self._database.writing() as session:
            row = WorkerRow(host=socket.gethostname(), pid=os.getpid(), started=now, seen=now)
            session.add(row)
            session.flush()
            return row.id

    def beat(self, run: int) -> None:
        """It lives."""
        with self._database.writing() as session:
            session.get_one(WorkerRow, run).seen = self._database.clock()

    def end(self, run: int) -> None:
        """It ends by itself."""
        with self._database.writing() as session:
            row = session.get_one(WorkerRow, run)
            row.seen = row.stopped = self._database.clock()

    def life(self) -> Life:
        """Of the run that began last: only one is at work at a time."""
        with self._database.reading() as session:
            row = session.scalar(select(WorkerRow).order_by(WorkerRow.id.desc()).limit(1))
            if row is None:
                return Life(alive=False, seen=None)
            return Life(row.stopped is None and self._database.clock() - row.seen < SILENT, row.seen)
