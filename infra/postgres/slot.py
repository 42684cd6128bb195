"""The replication slot and its generation.

A slot that was dropped and made anew has missed changes, and nothing in Postgres tells the two apart. So the making of
a slot gets a generation, and copies belong to one. It is forgotten *before* a slot is given up and recorded only when
Debezium streams from its successor, so a crash in between leaves none, and nothing is cached from a log with a hole.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import msgspec

from infra.postgres.observed import Slot
from infra.postgres.pool import Connection
from infra.postgres.statements import statement
from schemas.errors import FreshlineError

_CHECK_EVERY_S = 0.1


class SlotBusyError(FreshlineError):
    """The slot is still read by someone, so it can't be dropped."""


class TransactionsRunningError(FreshlineError):
    """Transactions that began before the log was followed are still running."""


class RecordedSlot(msgspec.Struct, frozen=True):
    """The generation of a slot, and the LSN at which it was recorded to begin."""

    generation: UUID
    created_lsn: int


class SlotRecord:
    """One slot of one database, over a connection that may administer it."""

    def __init__(self, connection: Connection, slot: str) -> None:
        self._connection = connection
        self._name = slot

    async def find(self) -> Slot | None:
        """The slot as it is now."""
        row = await self._connection.fetchrow(statement("observe", "slot"), self._name)
        return None if row is None else msgspec.convert(dict(row), Slot)

    async def recorded(self) -> RecordedSlot | None:
        """Its generation, if one is recorded."""
        row = await self._connection.fetchrow(statement("slot", "recorded"), self._name)
        return None if row is None else RecordedSlot(row["generation"], row["created_lsn"])

    async def forget(self) -> None:
        """Forget its generation: whoever asks from now on learns that no log is followed."""
        await self._connection.execute(statement("slot", "forget"), self._name)

    async def record(self, timeout_s: float) -> None:
        """Give a slot that Debezium streams from its generation, once what ran before is visible.

        A transaction whose commit is in the log before the point that Debezium streams from may still be invisible to
        readers (it waits for a standby, say): a copy made now would lack it and no event would come. So this waits
        until every transaction that runs now has ended.

        Raises:
            TransactionsRunningError: one of them runs longer than ``timeout_s`` seconds.
        """
        horizon = await self._connection.fetchval(statement("slot", "horizon"))
        oldest: str | None = None
        try:
            async with asyncio.timeout(timeout_s):
                while row := await self._connection.fetchrow(statement("slot", "running_before"), horizon):
                    oldest = row["oldest"]
                    await asyncio.sleep(_CHECK_EVERY_S)
        except TimeoutError as error:
            raise TransactionsRunningError(
                f"Transactions that began before the log was followed still run after {timeout_s:g} s; the oldest: "
                f"{oldest or 'a prepared transaction (see pg_prepared_xacts)'}. Nothing is cached until they end. "
                "End them, then run `freshline connector apply` again."
            ) from error
        await self._connection.fetchval(statement("slot", "record"), self._name)

    async def drop(self, timeout_s: float) -> None:
        """Drop the slot, if there is one, as soon as nobody reads it.

        Raises:
            SlotBusyError: it is still read after ``timeout_s`` seconds.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._dropped():  # noqa: ASYNC110 - Postgres tells nobody when a slot is let go
                    await asyncio.sleep(_CHECK_EVERY_S)
        except TimeoutError as error:
            raise SlotBusyError(
                f"Slot {self._name!r} is still read after {timeout_s:g} s. End whoever reads it "
                "(pg_stat_replication tells), then run the command again."
            ) from error

    async def _dropped(self) -> bool:
        try:
            await self._connection.execute(statement("slot", "drop"), self._name)
        except asyncpg.ObjectInUseError:
            return False
        return True
