"""Runs the ``.sql`` file of a revision, whole: several statements, comments and all."""

from __future__ import annotations

from importlib.resources import files

from alembic import op


def run(file: str) -> None:
    """Execute ``versions/<file>`` in the revision's transaction."""
    sql = files("infra.postgres.migrations.versions").joinpath(file).read_text(encoding="utf-8")
    bind = op.get_bind()
    # The adapter begins its transaction with its first statement, and what goes past it must be within.
    bind.exec_driver_sql("SELECT 1")
    adapted = bind.connection.dbapi_connection
    adapted.run_async(lambda connection: connection.execute(sql))  # type: ignore[union-attr]
