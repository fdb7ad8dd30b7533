"""The exchange's folder, opened only to look: nothing in it is made, changed, or taken over to a newer format."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from gpuclass.errors import PlainError

DATABASE = "exchange.db"
OBJECTS = "objects"
WHO = "Call this as root or as the service user."
OLDER = "If a table or a column is missing, it is of an older format: `gpuclass exchange serve` takes it over."


class CannotLook(PlainError):  # noqa: N818  # what happened
    """The folder or its database cannot be read; the text says why and what to do."""


class Look:
    """The exchange's folder. The service may run, and write, at the same time.

    Raises:
        CannotLook: there is no database, or not one that can be opened.
    """

    def __init__(self, folder: Path, database: str = DATABASE) -> None:
        self.folder = folder
        path = folder / database
        try:
            known = path.is_file()
        except OSError as error:
            raise CannotLook(
                f"{path} cannot be read: {error.strerror}. Call it as root or as the service user."
            ) from None
        if not known:
            raise CannotLook(f"There is no {path}: the exchange has not kept anything yet.")
        self._engine = reading_only(path)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state of the database.

        Raises:
            CannotLook: the database is damaged, of another version, or not readable for who calls.
        """
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except OperationalError as error:
            raise CannotLook(f"{self.folder / DATABASE} cannot be read: {error.orig}. {WHO} {OLDER}") from error
        except DatabaseError as error:
            raise CannotLook(
                f"{self.folder / DATABASE} is damaged: {error.orig}. `gpuclass exchange verify` looks closer; "
                "docs/howto/exchange.md says how to restore it."
            ) from error

    def path(self, sha256: str) -> Path:
        """Where the file with this hash lies."""
        return self.folder / OBJECTS / sha256[:2] / sha256


def copy_database(folder: Path, target: Path) -> None:
    """Copy the database as it is at one moment to ``target``, a new file; the service may write meanwhile.

    Raises:
        CannotLook: there is none, or it cannot be read.
        OSError: there is no room.
    """
    path = folder / DATABASE
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole; whoever opens it to write sets its own
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname == "SQLITE_FULL":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        raise CannotLook(f"{path} cannot be copied: {error}. {WHO}") from error
    except sqlite3.DatabaseError as error:
        raise CannotLook(f"{path} is damaged: {error}. `gpuclass exchange verify` looks closer.") from error


def reading_only(path: Path) -> Engine:
    """An SQLite file, opened so that nothing in it can change and none is made."""
    engine = create_engine(f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin below only

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
