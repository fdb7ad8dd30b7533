"""The exchange's database grows with gpuclass, and keeps everything while it does."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from gpuclass.exchange.store.migrations import FOLDER, HEAD, NewerDatabase
from gpuclass.exchange.store.schema import Base, connect
from gpuclass.exchange.store.store import Store

# The tables as the last gpuclass without steps made them, and one row of each.
BEFORE_STEPS = """
CREATE TABLE courses (name VARCHAR NOT NULL, created DATETIME NOT NULL, hidden DATETIME, PRIMARY KEY (name));
CREATE TABLE trees (sha256 VARCHAR NOT NULL, files JSON NOT NULL, PRIMARY KEY (sha256));
CREATE TABLE members (
    course VARCHAR NOT NULL, login VARCHAR NOT NULL, role VARCHAR, first_name VARCHAR, last_name VARCHAR, email VARCHAR,
    PRIMARY KEY (course, login), FOREIGN KEY(course) REFERENCES courses (name)
);
CREATE TABLE assignments (
    course VARCHAR NOT NULL, name VARCHAR NOT NULL, hidden DATETIME,
    PRIMARY KEY (course, name), FOREIGN KEY(course) REFERENCES courses (name)
);
CREATE TABLE releases (
    id INTEGER NOT NULL, course VARCHAR NOT NULL, assignment VARCHAR NOT NULL, version INTEGER NOT NULL,
    released DATETIME NOT NULL, released_by VARCHAR NOT NULL, tree VARCHAR NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(course, assignment) REFERENCES assignments (course, name),
    UNIQUE (course, assignment, version),
    FOREIGN KEY(tree) REFERENCES trees (sha256)
);
CREATE TABLE submissions (
    id INTEGER NOT NULL, course VARCHAR NOT NULL, assignment VARCHAR NOT NULL, student VARCHAR NOT NULL,
    received DATETIME NOT NULL, release INTEGER NOT NULL, tree VARCHAR NOT NULL, size INTEGER NOT NULL,
    space INTEGER NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(course, assignment) REFERENCES assignments (course, name),
    UNIQUE (course, assignment, student, received),
    FOREIGN KEY(release) REFERENCES releases (id),
    FOREIGN KEY(tree) REFERENCES trees (sha256)
);
CREATE TABLE feedback (
    id INTEGER NOT NULL, submission INTEGER NOT NULL, created DATETIME NOT NULL, released BOOLEAN NOT NULL,
    tree VARCHAR NOT NULL, score DOUBLE, max_score DOUBLE,
    PRIMARY KEY (id),
    FOREIGN KEY(submission) REFERENCES submissions (id),
    FOREIGN KEY(tree) REFERENCES trees (sha256)
);
CREATE INDEX ix_feedback_submission ON feedback (submission);
CREATE TABLE jobs (
    id INTEGER NOT NULL, submission INTEGER NOT NULL, requested_by VARCHAR NOT NULL, state VARCHAR NOT NULL,
    error VARCHAR, attempts INTEGER NOT NULL, queued DATETIME NOT NULL, started DATETIME, finished DATETIME,
    PRIMARY KEY (id), FOREIGN KEY(submission) REFERENCES submissions (id)
);
CREATE INDEX ix_jobs_submission ON jobs (submission);
CREATE INDEX jobs_by_state ON jobs (state, id);

INSERT INTO courses VALUES ('camp', '2026-11-23 00:00:00.000000', NULL);
INSERT INTO members VALUES ('camp', 'student9', 'student', '하늘', '김', 'k@example.org');
INSERT INTO trees VALUES ('aa', '[["warm-up.ipynb", "5e", "3f", 2]]');
INSERT INTO assignments VALUES ('camp', 'warm-up', NULL);
INSERT INTO releases VALUES (1, 'camp', 'warm-up', 1, '2026-11-23 00:00:00.000000', 'teacher', 'aa');
INSERT INTO submissions VALUES (7, 'camp', 'warm-up', 'student1', '2026-11-23 01:00:00.000000', 1, 'aa', 2, 4096);
INSERT INTO feedback VALUES (1, 7, '2026-11-23 02:00:00.000000', 1, 'aa', 3.0, 4.0);
INSERT INTO jobs VALUES (1, 7, 'student1', 'done', NULL, 1, '2026-11-23 01:00:00.000000', NULL, NULL);
"""
TABLES = ("courses", "members", "trees", "assignments", "releases", "submissions", "feedback", "jobs")
KILLED_AT_A_STATEMENT = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from gpuclass.exchange.store.store import Store

left = int(sys.argv[2])

@event.listens_for(Engine, "after_cursor_execute")
def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

Store(Path(sys.argv[1])).close()
"""
OPENED = """
import sys
from pathlib import Path
from gpuclass.exchange.store.store import Store
Store(Path(sys.argv[1])).close()
print("alembic" in sys.modules)
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An exchange's folder from before there were steps."""
    with sqlite3.connect(tmp_path / "exchange.db") as database:
        database.executescript("PRAGMA journal_mode=WAL;" + BEFORE_STEPS)
    database.close()
    return tmp_path


def rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of the tables that were there before there were steps."""
    database = sqlite3.connect(folder / "exchange.db")
    database.row_factory = sqlite3.Row
    try:
        return {
            table: [dict(row) for row in database.execute(f"SELECT * FROM {table}")]  # noqa: S608  # our own names
            for table in TABLES
        }
    finally:
        database.close()


def version(folder: Path) -> list[tuple[str]]:
    database = sqlite3.connect(folder / "exchange.db")
    try:
        return database.execute("SELECT version_num FROM alembic_version").fetchall()
    finally:
        database.close()


def open_and_close(folder: Path, at_once: Any) -> None:
    at_once.wait()
    Store(folder).close()


def test_the_steps_lead_to_what_the_code_says(tmp_path: Path) -> None:
    engine = connect(tmp_path / "exchange.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
    assert ScriptDirectory(str(FOLDER)).get_heads() == [HEAD]


def test_an_old_database_also_becomes_what_the_code_says(old: Path) -> None:
    engine = connect(old / "exchange.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    engine.dispose()


def test_an_old_database_keeps_every_row_and_takes_new_ones(old: Path) -> None:
    before = rows(old)
    assert all(before.values())
    with Store(old) as store:
        after = rows(old)
        for table in TABLES:
            assert [{key: row[key] for key in kept} for kept, row in zip(before[table], after[table], strict=True)] == (
                before[table]
            )
        submission = store.submission(7)
        assert (submission.received, submission.version) == (datetime(2026, 11, 23, 1, tzinfo=UTC), 1)
        assert (submission.key, submission.queued) == (None, None)
        later = store.submit("camp", "warm-up", "student1", {"warm-up.ipynb": b"{}"}, key="press-1")
        assert later == store.submit("camp", "warm-up", "student1", {"warm-up.ipynb": b"{}"}, key="press-1")
        assert [found.id for found in store.submissions("camp", "warm-up")] == [7, 8]


def test_a_newer_database_is_not_touched_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "exchange.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    before = "\n".join(database.iterdump())
    database.close()
    with pytest.raises(NewerDatabase, match=r"step 9999, and this gpuclass knows steps up to .* newer gpuclass again"):
        Store(tmp_path)
    database = sqlite3.connect(tmp_path / "exchange.db")
    assert "\n".join(database.iterdump()) == before
    database.close()


@pytest.mark.slow
def test_a_kill_at_any_statement_of_the_steps_leaves_the_old_database_or_the_new(old: Path) -> None:
    before = rows(old)
    for statement in range(1, 200):
        killed = subprocess.run([sys.executable, "-c", KILLED_AT_A_STATEMENT, old, str(statement)], check=False)
        if killed.returncode == 0:
            break
        assert rows(old) == before  # no table has a new column yet
    else:
        raise AssertionError("the steps never came to their end")
    assert statement > 10  # it was killed within the steps, not before
    assert version(old) == [(HEAD,)]
    with Store(old) as store:
        assert store.submission(7).student == "student1"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["old", "new"])
def test_processes_that_open_it_at_once_do_not_collide(old: Path, kind: str) -> None:
    folder = old if kind == "old" else old / "new"
    context = multiprocessing.get_context("spawn")
    at_once = context.Barrier(6)
    target: Callable[..., None] = open_and_close
    processes = [context.Process(target=target, args=(folder, at_once)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert version(folder) == [(HEAD,)]


def test_a_database_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    outputs = [
        subprocess.run([sys.executable, "-c", OPENED, tmp_path], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert outputs == ["True\n", "False\n"]
