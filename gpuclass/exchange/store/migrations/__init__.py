"""How the exchange's database came to be what it is: one step for every change of ``schema``, made by Alembic.

A change of the tables is a file in ``versions`` and a new ``HEAD``; a test fails when the steps do not lead to what
``schema`` says. Steps add and never take away: what a receipt names stays.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, text

from gpuclass.errors import PlainError

FIRST = "0001"  # also of databases from before there were steps
HEAD = "0003"
FOLDER = Path(__file__).parent


class NewerDatabase(PlainError):  # noqa: N818  # what it is
    """The database was made by a newer gpuclass; this one must not write to it."""


def bring_up(engine: Engine) -> None:
    """Make the tables what ``schema`` says, in one transaction: a kill leaves the database as it was.

    Alembic is imported only when there is something to do: that takes longer than the rest of the start.

    Args:
        engine: of a database that no other process opens just now.

    Raises:
        NewerDatabase: it is none of ours to write to.
    """
    with engine.connect() as connection:
        version = _version(connection)
    if version != HEAD:
        with engine.execution_options(writes=True).begin() as connection:
            _upgrade(connection, version)


def _version(connection: Connection) -> str | None:
    """Up to which step the database is; None for an empty one."""
    tables = set(connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")))
    if "alembic_version" in tables:
        return str(connection.scalar(text("SELECT version_num FROM alembic_version")))
    return FIRST if tables else None


def _upgrade(connection: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER))
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise NewerDatabase(
            f"{connection.engine.url.database} was made by a newer gpuclass: it is at step {version}, and this "
            f"gpuclass knows steps up to {HEAD}. Nothing was changed. Install the newer gpuclass again, or put the "
            "class's backup from before the update in place."
        )
    if version is not None:
        command.stamp(config, version)
    command.upgrade(config, HEAD)
