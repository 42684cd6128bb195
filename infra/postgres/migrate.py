"""Brings the reference application's tables to a revision: Alembic, over asyncpg."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra.postgres.pool import open_connection
from schemas.errors import FreshlineError

NEWEST = "head"
NOTHING = "base"
_VERSION_TABLE = "voiceassist_migration"
_LOCK = 7_012_301  # two migrations at once would both find the same work to do


class MigrationError(FreshlineError):
    """A revision could not be applied; it left nothing behind."""


async def migrate(arguments: Mapping[str, Any], revision: str = NEWEST, *, down: bool = False) -> tuple[str, str]:
    """Bring the tables to a revision, and say from which to which they came ('' is none).

    Args:
        arguments: where the server is and who asks, as ``PostgresSettings.connect_arguments`` gives them.
        revision: the revision to reach.
        down: take revisions back rather than apply them; what their tables hold is lost.

    Raises:
        StoreUnavailableError: the server does not answer or refuses us.
        MigrationError: a revision failed; those before it are in effect, it and those after it are not.
    """
    async with open_connection(arguments, application="freshline migrate") as lock:
        await lock.execute("SELECT pg_advisory_lock($1)", _LOCK)

        async def connect(*_: object, **__: object) -> asyncpg.Connection:
            return await asyncpg.connect(**arguments, server_settings={"application_name": "freshline migrate"})

        engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
        try:
            async with engine.connect() as connection:
                before = await connection.run_sync(_revision)
                await connection.run_sync(_run, revision, down)
                return before, await connection.run_sync(_revision)
        except (SQLAlchemyError, asyncpg.PostgresError) as error:
            raise MigrationError(
                f"A migration of database {arguments.get('database')!r} failed and was undone: {error}. "
                "Mend what it complains of and run `freshline db migrate` again."
            ) from error
        finally:
            await engine.dispose()


def _run(connection: Connection, revision: str, down: bool) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("infra.postgres").joinpath("migrations")))
    config.attributes["connection"] = connection
    (command.downgrade if down else command.upgrade)(config, revision)


def _revision(connection: Connection) -> str:
    context = MigrationContext.configure(connection, opts={"version_table": _VERSION_TABLE})
    found = context.get_current_revision() or ""
    connection.rollback()
    return found
