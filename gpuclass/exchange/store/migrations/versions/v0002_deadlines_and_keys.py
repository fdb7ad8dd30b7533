"""Deadlines; a submission's idempotency key, and when it was pressed if it came later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add to what is there; no table is copied."""
    op.add_column("submissions", sa.Column("key", sa.String()))
    op.add_column("submissions", sa.Column("queued", sa.DateTime()))
    op.create_index("submissions_by_key", "submissions", ["course", "assignment", "student", "key"], unique=True)
    op.create_table(
        "deadlines",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("course", sa.String(), nullable=False),
        sa.Column("assignment", sa.String(), nullable=False),
        sa.Column("student", sa.String()),
        sa.Column("due", sa.DateTime()),
        sa.Column("made", sa.DateTime(), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["course", "assignment"], ["assignments.course", "assignments.name"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("deadlines_by_assignment", "deadlines", ["course", "assignment", "id"])
