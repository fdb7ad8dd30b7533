"""The first tables: courses, members, files, releases, submissions, feedback and jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "courses",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("hidden", sa.DateTime()),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "members",
        sa.Column("course", sa.String(), nullable=False),
        sa.Column("login", sa.String(), nullable=False),
        sa.Column("role", sa.String()),
        sa.Column("first_name", sa.String()),
        sa.Column("last_name", sa.String()),
        sa.Column("email", sa.String()),
        sa.ForeignKeyConstraint(["course"], ["courses.name"]),
        sa.PrimaryKeyConstraint("course", "login"),
    )
    op.create_table(
        "trees",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_table(
        "assignments",
        sa.Column("course", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hidden", sa.DateTime()),
        sa.ForeignKeyConstraint(["course"], ["courses.name"]),
        sa.PrimaryKeyConstraint("course", "name"),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("course", sa.String(), nullable=False),
        sa.Column("assignment", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("released", sa.DateTime(), nullable=False),
        sa.Column("released_by", sa.String(), nullable=False),
        sa.Column("tree", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["course", "assignment"], ["assignments.course", "assignments.name"]),
        sa.ForeignKeyConstraint(["tree"], ["trees.sha256"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("course", "assignment", "version"),
    )
    op.create_table(
        "submissions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("course", sa.String(), nullable=False),
        sa.Column("assignment", sa.String(), nullable=False),
        sa.Column("student", sa.String(), nullable=False),
        sa.Column("received", sa.DateTime(), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("tree", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("space", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["course", "assignment"], ["assignments.course", "assignments.name"]),
        sa.ForeignKeyConstraint(["release"], ["releases.id"]),
        sa.ForeignKeyConstraint(["tree"], ["trees.sha256"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("course", "assignment", "student", "received"),
    )
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("submission", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("tree", sa.String(), nullable=False),
        sa.Column("score", sa.Double()),
        sa.Column("max_score", sa.Double()),
        sa.ForeignKeyConstraint(["submission"], ["submissions.id"]),
        sa.ForeignKeyConstraint(["tree"], ["trees.sha256"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_feedback_submission", "feedback", ["submission"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("submission", sa.Integer(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("queued", sa.DateTime(), nullable=False),
        sa.Column("started", sa.DateTime()),
        sa.Column("finished", sa.DateTime()),
        sa.ForeignKeyConstraint(["submission"], ["submissions.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_jobs_submission", "jobs", ["submission"])
    op.create_index("jobs_by_state", "jobs", ["state", "id"])
