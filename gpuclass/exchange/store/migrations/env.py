"""What Alembic runs the steps in: the transaction of ``bring_up``, which ends whole or not at all."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
