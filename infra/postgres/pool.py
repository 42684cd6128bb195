"""Connections to the primary: one way to open them, so that each names itself, has a limit and is where it should be.

A filler reads the row and its snapshot on the primary only: on a standby the list of running transactions is empty, so
every connection is checked when it is made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

from schemas.debezium import READER_SETTINGS
from schemas.errors import StoreUnavailableError

STATEMENT_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 10.0
_UNREACHABLE = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError)

Connection: TypeAlias = asyncpg.Connection
Pool: TypeAlias = asyncpg.Pool


class NotPrimaryError(StoreUnavailableError):
    """The server is a standby, where a snapshot does not say which transactions are running."""


async def _require_primary(connection: Any) -> None:
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise NotPrimaryError(
            "The Postgres server is a standby: a snapshot taken there does not list running transactions. "
            "Point the settings at the primary (or at the name that follows it)."
        )


async def _leave_as_it_is(_connection: Any) -> None:
    pass


@asynccontextmanager
async def open_pool(
    arguments: Mapping[str, Any],
    *,
    application: str,
    min_size: int = 1,
    max_size: int = 10,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    resets: bool = True,
) -> AsyncIterator[Pool]:
    """A pool of connections to the primary.

    Args:
        arguments: where the server is and who asks, as ``PostgresSettings.connect_arguments`` gives them.
        application: shown in ``pg_stat_activity``.
        min_size: connections kept open.
        max_size: connections at most; whoever comes later waits.
        statement_timeout_s: a statement that takes longer is cancelled by the server, in seconds.
        resets: whether a session is cleaned before its next use, for a round trip each time: only whoever leaves no
            settings, locks or cursors behind can do without.

    Raises:
        StoreUnavailableError: the server does not answer, refuses us, or is a standby (``NotPrimaryError``).
    """
    pool = asyncpg.create_pool(
        **arguments,
        min_size=min_size,
        max_size=max_size,
        init=_require_primary,
        reset=None if resets else _leave_as_it_is,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=2 * statement_timeout_s,
        server_settings=_server_settings(application, statement_timeout_s),
    )
    try:
        await pool
    except _UNREACHABLE as error:
        raise unavailable(arguments, error) from error
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def open_connection(
    arguments: Mapping[str, Any],
    *,
    application: str,
    statement_timeout_s: float = 0,
    primary: bool = True,
) -> AsyncIterator[Connection]:
    """One connection, for an operator's command. A timeout of 0 is none: building an index takes its time.

    Raises:
        StoreUnavailableError: the server does not answer, refuses us, or is a standby while ``primary`` is asked for.
    """
    try:
        connection = await asyncpg.connect(
            **arguments,
            timeout=CONNECT_TIMEOUT_S,
            server_settings=_server_settings(application, statement_timeout_s),
        )
    except _UNREACHABLE as error:
        raise unavailable(arguments, error) from error
    try:
        if primary:
            await _require_primary(connection)
        yield connection
    finally:
        await connection.close()


def unavailable(arguments: Mapping[str, Any], error: BaseException) -> StoreUnavailableError:
    """A driver's error as one of ours: which server, what it said, never a password."""
    if isinstance(error, StoreUnavailableError):
        return error
    where = f"{arguments.get('host') or 'default host'}:{arguments.get('port')}/{arguments.get('database')}"
    said = str(error) or type(error).__name__
    return StoreUnavailableError(
        f"Postgres at {where} can't be used by {arguments.get('user')!r}: {said}. "
        "See that it runs, that address and password of the settings are right, and that pg_hba.conf lets us in."
    )


def _server_settings(application: str, statement_timeout_s: float) -> dict[str, str]:
    return {
        "application_name": application,
        "statement_timeout": str(round(statement_timeout_s * 1000)),
        "idle_in_transaction_session_timeout": "60000",
        # The forms of values that reach a cache must not depend on whom the server was set up for.
        **READER_SETTINGS,
    }
