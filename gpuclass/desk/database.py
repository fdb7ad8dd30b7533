"""Transactions on desk.sqlite, safe in threads and beside other processes that read it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.orm import Session

from gpuclass.desk.schema import VERSION, Base
from gpuclass.errors import PlainError
from gpuclass.exchange.store.database import utc_now

BUSY_WAIT_S = 5.0


class DeskDatabaseError(PlainError):
    """desk.sqlite is of another version; the text says what to do."""


class Database:
    """The desk's SQLite file, opened.

    Args:
        path: made, with its folder, when it is not there.
        clock: aware times; the server's.

    Raises:
        DeskDatabaseError: another version of gpuclass made it.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.clock = clock
        self._engine = _engine(path)
        self._writing = threading.Lock()
        with self._engine.begin() as connection:
            found = connection.execute(text("PRAGMA user_version")).scalar_one()
            if found not in (0, VERSION):
                raise DeskDatabaseError(
                    f"{path} has version {found}, and this gpuclass knows {VERSION}. Use the gpuclass that made it, "
                    "or move the file away: hands, messages and the record of who did what begin anew."
                )
            if found == 0:
                Base.metadata.create_all(connection)
                connection.execute(text(f"PRAGMA user_version = {VERSION}"))

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
        """A transaction that is on disk when it ends without an error."""
        with self._writing, Session(self._engine, expire_on_commit=False) as session, session.begin():
            session.execute(text("BEGIN IMMEDIATE"))
            yield session


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_WAIT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _set(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun here, not by the driver
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # an audit entry survives a power cut

    return engine
