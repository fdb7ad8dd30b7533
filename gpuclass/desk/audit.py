"""Who did what to whom: every act of a teacher, mentor or operator at the desk, append-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from gpuclass.desk.database import Database
from gpuclass.desk.schema import AuditRow


@dataclass(frozen=True)
class Entry:
    """One act.

    Attributes:
        at: when.
        who: login of whoever did it.
        act: what, as a word of the desk: ``"server-stop"``.
        subject: to whom or what: a login, a team, an assignment; ``"class"`` for everybody.
        detail: what else matters, never a password or a text of a student's.
    """

    at: datetime
    who: str
    act: str
    subject: str
    detail: dict[str, Any]


class Audit:
    """The record in the desk's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, who: str, act: str, subject: str, **detail: Any) -> None:
        """Write one act down; on disk when this returns."""
        with self._database.writing() as session:
            self.add(session, who, act, subject, **detail)

    def add(self, session: Session, who: str, act: str, subject: str, **detail: Any) -> None:
        """Write one act down within a transaction that does something else too."""
        session.add(AuditRow(at=self._database.clock(), who=who, act=act, subject=subject, detail=detail))

    def newest(self, limit: int = 200, subject: str | None = None) -> list[Entry]:
        """The newest acts first, of all or with one subject."""
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if subject is not None:
            query = query.where(AuditRow.subject == subject)
        with self._database.reading() as session:
            rows = session.scalars(query)
            return [Entry(row.at, row.who, row.act, row.subject, row.detail) for row in rows]
