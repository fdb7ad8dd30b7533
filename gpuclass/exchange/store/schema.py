"""Tables of the exchange's database. Rows are added and marked, never deleted; files are in ``blobs``.

Whoever changes a table adds a step to ``migrations``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.pool import ConnectionPoolEntry

from gpuclass.exchange.store.migrations import bring_up

BUSY_S = 30.0  # how long a write waits for another process's write; each takes milliseconds
CONNECTIONS = 40  # as many as the service has threads


class UtcDateTime(TypeDecorator[datetime]):
    """Aware times in Python, UTC in the database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Python to database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Database to Python."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Common to all tables."""

    # none_as_null: no answer yet is NULL, not the JSON of it
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's way to declare it
        datetime: UtcDateTime,
        list[Any]: JSON,
        dict[str, Any]: JSON(none_as_null=True),
    }


class CourseRow(Base):
    """A course; hidden when deleted."""

    __tablename__ = "courses"
    name: Mapped[str] = mapped_column(primary_key=True)
    created: Mapped[datetime]
    hidden: Mapped[datetime | None]


class MemberRow(Base):
    """What the API said of somebody in a course; laid over the roster. No role: the roster's stands."""

    __tablename__ = "members"
    course: Mapped[str] = mapped_column(ForeignKey("courses.name"), primary_key=True)
    login: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str | None]
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    email: Mapped[str | None]


class TreeRow(Base):
    """The files of one folder, by the SHA-256 of their list; ``files`` is ``[[path, sha256, md5, size], …]``."""

    __tablename__ = "trees"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    files: Mapped[list[Any]]


class AssignmentRow(Base):
    """An assignment; hidden when deleted. Its files are in its releases."""

    __tablename__ = "assignments"
    course: Mapped[str] = mapped_column(ForeignKey("courses.name"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    hidden: Mapped[datetime | None]


class ReleaseRow(Base):
    """One version of an assignment; the newest is the one that is fetched."""

    __tablename__ = "releases"
    __table_args__ = (
        ForeignKeyConstraint(["course", "assignment"], ["assignments.course", "assignments.name"]),
        UniqueConstraint("course", "assignment", "version"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    course: Mapped[str]
    assignment: Mapped[str]
    version: Mapped[int]
    released: Mapped[datetime]
    released_by: Mapped[str]
    tree: Mapped[str] = mapped_column(ForeignKey("trees.sha256"))


class SubmissionRow(Base):
    """One submission. Never changed. ``release`` is the version it answers, ``key`` the sender's for this press."""

    __tablename__ = "submissions"
    __table_args__ = (
        ForeignKeyConstraint(["course", "assignment"], ["assignments.course", "assignments.name"]),
        UniqueConstraint("course", "assignment", "student", "received"),
        Index("submissions_by_key", "course", "assignment", "student", "key", unique=True),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    course: Mapped[str]
    assignment: Mapped[str]
    student: Mapped[str]
    received: Mapped[datetime]
    release: Mapped[int] = mapped_column(ForeignKey("releases.id"))
    tree: Mapped[str] = mapped_column(ForeignKey("trees.sha256"))
    size: Mapped[int]
    space: Mapped[int]
    key: Mapped[str | None]
    queued: Mapped[datetime | None]
    answered: Mapped[ReleaseRow] = relationship(lazy="joined", innerjoin=True)


class DeadlineRow(Base):
    """A deadline as somebody set it, for the class or for one student; the newest of each counts."""

    __tablename__ = "deadlines"
    __table_args__ = (
        ForeignKeyConstraint(["course", "assignment"], ["assignments.course", "assignments.name"]),
        Index("deadlines_by_assignment", "course", "assignment", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    course: Mapped[str]
    assignment: Mapped[str]
    student: Mapped[str | None]
    due: Mapped[datetime | None]
    made: Mapped[datetime]
    made_by: Mapped[str]


class FeedbackRow(Base):
    """Feedback on a submission; the newest counts."""

    __tablename__ = "feedback"
    id: Mapped[int] = mapped_column(primary_key=True)
    submission: Mapped[int] = mapped_column(ForeignKey("submissions.id"), index=True)
    created: Mapped[datetime]
    released: Mapped[bool]
    tree: Mapped[str] = mapped_column(ForeignKey("trees.sha256"))
    score: Mapped[float | None]
    max_score: Mapped[float | None]


class BatchRow(Base):
    """Many submissions to be graded again: previewed first, then applied, or cancelled; of one student's if said so.

    ``source`` is the SHA-256 of the instructor's version that the preview was graded with.
    """

    __tablename__ = "batches"
    __table_args__ = (ForeignKeyConstraint(["course", "assignment"], ["assignments.course", "assignments.name"]),)
    id: Mapped[int] = mapped_column(primary_key=True)
    course: Mapped[str]
    assignment: Mapped[str]
    student: Mapped[str | None]
    requested_by: Mapped[str]
    state: Mapped[str]
    source: Mapped[str | None]
    made: Mapped[datetime]
    changed: Mapped[datetime]


class JobRow(Base):
    """A submission to be graded, or to be tried in a copy of the gradebook: waiting, running, done or failed.

    ``status`` and ``result`` are what came of it, ``not_before`` until when it waits whatever else there is to do.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_by_state", "state", "id"), Index("jobs_by_batch", "batch", "id"))
    id: Mapped[int] = mapped_column(primary_key=True)
    submission: Mapped[int] = mapped_column(ForeignKey("submissions.id"), index=True)
    requested_by: Mapped[str]
    state: Mapped[str]
    error: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    queued: Mapped[datetime]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    priority: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    kind: Mapped[str] = mapped_column(default="grade", server_default=text("'grade'"))
    batch: Mapped[int | None] = mapped_column(ForeignKey("batches.id"))
    not_before: Mapped[datetime | None]
    status: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]


class CheckRow(Base):
    """An assignment to be checked before it is released: waiting, running, done or failed.

    No foreign key: what is checked need not be released.
    """

    __tablename__ = "checks"
    __table_args__ = (Index("checks_by_state", "state", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    course: Mapped[str]
    assignment: Mapped[str]
    requested_by: Mapped[str]
    state: Mapped[str]
    report: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(default=0)
    made: Mapped[datetime]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]


class WorkerRow(Base):
    """A run of the grading worker; ``seen`` is its last sign of life, ``stopped`` when it ended by itself."""

    __tablename__ = "workers"
    id: Mapped[int] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    started: Mapped[datetime]
    seen: Mapped[datetime]
    stopped: Mapped[datetime | None]


def connect(path: Path) -> Engine:
    """The database at ``path``, made if there is none, and brought up to what is said here.

    A commit is on disk when it returns (``synchronous=FULL``), and readers never wait for a writer (WAL). A transaction
    of an engine with the execution option ``writes`` takes the write lock at its start, so that what it read first
    still holds when it writes.

    Raises:
        NewerDatabase: it was made by a newer gpuclass.
    """
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": BUSY_S}, pool_size=CONNECTIONS, max_overflow=CONNECTIONS
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # sqlite3's own: transactions begin below only
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    with _alone(path.parent):
        bring_up(engine)
        _sync_log(path)
    return engine


def _sync_log(path: Path) -> None:
    """Put on disk what a killed process had written to the log but not synced: it counts as committed from now on."""
    with suppress(FileNotFoundError):
        handle = os.open(path.with_name(f"{path.name}-wal"), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other process opens it: SQLite does not wait when two switch a new database to WAL at once."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
