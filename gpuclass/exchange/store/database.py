"""Transactions on the exchange's database, in threads and in several processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.orm import Session

from gpuclass.exchange.store.schema import connect


def utc_now() -> datetime:
    """The server's clock."""
    return datetime.now(UTC)


class Database:
    """The SQLite file at ``path``, opened.

    Args:
        path: made when it is not there.
        clock: aware times; the server's.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self.clock = clock
        self._engine = connect(path)
        self._writing = threading.Lock()  # in line here, instead of SQLite's polling for its lock

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state of the database."""
        with Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that holds the write lock and is on disk when it ends without an error."""
        with (
            self._writing,
            Session(self._engine.execution_options(writes=True), expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session
