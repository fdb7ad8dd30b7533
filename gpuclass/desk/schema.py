"""The desk's own tables: what was done by whom, hands that are up, messages. SQLite."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Index, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gpuclass.exchange.store.schema import UtcDateTime

VERSION = 1  # PRAGMA user_version; database.py refuses any other


class Base(DeclarativeBase):
    """What all tables have in common."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime, dict[str, Any]: JSON}


class AuditRow(Base):
    """One thing that somebody did to somebody else or to the class; never changed, never deleted."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(64))
    act: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100))
    detail: Mapped[dict[str, Any]]


class HandRow(Base):
    """One time that somebody raised a hand; ``ended`` is null while it is up."""

    __tablename__ = "hand"

    id: Mapped[int] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column(String(64))
    raised: Mapped[datetime]
    taken_by: Mapped[str | None] = mapped_column(String(64))
    taken: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    ended_by: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (Index("one_hand_each", "login", unique=True, sqlite_where=text("ended IS NULL")),)


class MessageRow(Base):
    """A message from a teacher to the class, a team or one person."""

    __tablename__ = "message"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(64))
    audience: Mapped[str] = mapped_column(String(10))  # class, team, person
    name: Mapped[str] = mapped_column(String(64))  # of the team or the login; empty for the class
    text: Mapped[str] = mapped_column(String(1000))
    until: Mapped[datetime]

    __table_args__ = (Index("message_until", "until"),)
