"""Grading: whose turn it is and when, what came of it, batches of grading again, checks, and who works."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add to what is there; no table is copied."""
    op.create_table(
        "batches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("course", sa.String(), nullable=False),
        sa.Column("assignment", sa.String(), nullable=False),
        sa.Column("student", sa.String()),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("source", sa.String()),
        sa.Column("made", sa.DateTime(), nullable=False),
        sa.Column("changed", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["course", "assignment"], ["assignments.course", "assignments.name"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("jobs", sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("jobs", sa.Column("kind", sa.String(), server_default=sa.text("'grade'"), nullable=False))
    op.execute("ALTER TABLE jobs ADD COLUMN batch INTEGER REFERENCES batches (id)")  # Alembic would copy the table
    op.add_column("jobs", sa.Column("not_before", sa.DateTime()))
    op.add_column("jobs", sa.Column("status", sa.String()))
    op.add_column("jobs", sa.Column("result", sa.JSON()))
    op.create_index("jobs_by_batch", "jobs", ["batch", "id"])
    op.create_table(
        "checks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("course", sa.String(), nullable=False),
        sa.Column("assignment", sa.String(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("report", sa.JSON()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("made", sa.DateTime(), nullable=False),
        sa.Column("started", sa.DateTime()),
        sa.Column("finished", sa.DateTime()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("checks_by_state", "checks", ["state", "id"])
    op.create_table(
        "workers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started", sa.DateTime(), nullable=False),
        sa.Column("seen", sa.DateTime(), nullable=False),
        sa.Column("stopped", sa.DateTime()),
        sa.PrimaryKeyConstraint("id"),
    )
