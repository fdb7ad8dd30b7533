"""The record of who did what."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from gpuclass.desk.audit import Audit
from gpuclass.desk.database import Database, DeskDatabaseError


def test_what_was_done_is_kept_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "desk" / "desk.sqlite"
    database = Database(path)
    Audit(database).note("teacher", "server-stop", "s001")
    Audit(database).note("teacher", "deadline", "01-pixels", student="s002")
    database.close()
    entries = Audit(Database(path)).newest()
    assert [(entry.act, entry.subject, entry.detail) for entry in entries] == [
        ("deadline", "01-pixels", {"student": "s002"}),
        ("server-stop", "s001", {}),
    ]
    assert entries[0].at.tzinfo is not None
    assert [entry.act for entry in Audit(Database(path)).newest(subject="s001")] == ["server-stop"]


def test_an_act_that_fails_leaves_no_entry(tmp_path: Path) -> None:
    database = Database(tmp_path / "desk.sqlite")
    audit = Audit(database)

    def fail() -> None:
        with database.writing() as session:
            audit.add(session, "teacher", "x", "s001")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert audit.newest() == []


def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "desk.sqlite"
    with Database(path).writing() as session:
        session.execute(text("PRAGMA user_version = 99"))
    with pytest.raises(DeskDatabaseError, match="version 99"):
        Database(path)
