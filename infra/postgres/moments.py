"""Moments of the primary: what a statement sees now and how far the log goes, both from one statement of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import asyncpg
import msgspec

from infra.postgres.observed import Slot
from infra.postgres.pool import Connection, NotPrimaryError, Pool, unavailable
from infra.postgres.statements import statement
from schemas.errors import FreshlineError
from schemas.token import WriteToken
from schemas.wal import Snapshot

_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


# Of these it is certain that they are about the connection, whatever else was done in between.
_GONE = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)
# Ids are 32-bit numbers within an epoch, and the first few mean something else than a transaction.
_XIDS = 1 << 32
_FIRST_NORMAL_XID = 3
# The generation in an identity while no log is followed from its beginning: nothing may be cached.
NOT_FOLLOWED = "-"


class Moment(msgspec.Struct, frozen=True):
    """What one statement saw, and the position (bytes) up to which the log was written then."""

    snapshot: Snapshot
    lsn: int

    @property
    def token(self) -> WriteToken:
        """The token of everything that was committed before this moment."""
        return WriteToken(self.lsn, self.snapshot.completed)


class NotPreparedError(FreshlineError):
    """The database lacks what Freshline needs in it."""


def _moment(record: Any) -> Moment:
    text, lsn, in_recovery = record
    if in_recovery:
        msg = "The Postgres server has become a standby. Point the settings at the new primary."
        raise NotPrimaryError(msg)
    return Moment(Snapshot.parse(text), lsn)


class Primary:
    """The primary as the protocol asks it. Takes an open pool; closes nothing."""

    def __init__(self, pool: Pool, arguments: Mapping[str, Any], *, slot: str) -> None:
        """``arguments`` say which server it is, for errors; ``slot`` is the replication slot that Debezium reads."""
        self._pool = pool
        self._slot = slot
        self._arguments = arguments

    async def moment(self) -> Moment:
        """The present moment.

        Raises:
            StoreUnavailableError: the server does not answer, or has become a standby (``NotPrimaryError``).
        """
        return _moment(await self._row("moment"))

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[tuple[Connection, Moment]]:
        """A read-only transaction, all of which sees the same moment.

        Raises:
            StoreUnavailableError: the server does not answer, goes away, or has become a standby.
        """
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._pool.acquire())
                await stack.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
                moment = _moment(await connection.fetchrow(statement("moments", "moment")))
            except _AWAY as error:
                raise unavailable(self._arguments, error) from error
            try:
                yield cast("Connection", connection), moment
            except _GONE as error:
                raise unavailable(self._arguments, error) from error

    async def identity(self) -> str:
        """What the log is of: ``system identifier/timeline/slot generation``. Another one means a new epoch.

        Raises:
            NotPreparedError: the database has no record of its slots.
            StoreUnavailableError: the server does not answer.
        """
        try:
            system, timeline, generation = await self._row("identity", self._slot)
        except asyncpg.UndefinedTableError as error:
            msg = "The database is not prepared: it has no table freshline.slot. Run `freshline db prepare` first."
            raise NotPreparedError(msg) from error
        return f"{system}/{timeline}/{generation or NOT_FOLLOWED}"

    async def slot(self) -> Slot | None:
        """The slot that Debezium reads, as it is now; None where there is none.

        Raises:
            StoreUnavailableError: the server does not answer or refuses us.
        """
        try:
            row = await self._pool.fetchrow(statement("observe", "slot"), self._slot)
        except (*_AWAY, asyncpg.PostgresError) as error:
            # A pool that was opened without a connection finds out here whether we may log in.
            raise unavailable(self._arguments, error) from error
        return None if row is None else msgspec.convert(dict(row), Slot)

    async def is_future_or_aborted(self, xid: int) -> bool:
        """Whether no committed change can carry this transaction id: it was not given out yet, or was rolled back.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        if xid % _XIDS < _FIRST_NORMAL_XID:
            # Never given out to a transaction, whatever the epoch: the status of such an id says nothing.
            return True
        try:
            (status,) = await self._row("transaction_status", xid)
        except asyncpg.PostgresError as error:
            if error.sqlstate == "22023":  # "transaction ID … is in the future"
                return True
            raise
        return bool(status == "aborted")

    async def _row(self, name: str, *arguments: object) -> Any:
        try:
            return await self._pool.fetchrow(statement("moments", name), *arguments)
        except _AWAY as error:
            raise unavailable(self._arguments, error) from error
