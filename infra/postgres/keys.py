"""Walks through the keys of a table, page by page, in their order. A walk that was left is taken up at its last key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import asyncpg

from infra.postgres.pool import Pool, unavailable
from infra.postgres.quoting import identifier, qualified
from schemas.catalog import Table
from schemas.keys import sql_type


class KeyWalk:
    """Reads keys. Takes an open pool; closes nothing."""

    def __init__(self, pool: Pool, arguments: Mapping[str, Any]) -> None:
        """``arguments`` say which server it is, for errors."""
        self._pool = pool
        self._arguments = arguments

    async def page(self, table: Table, after: Sequence[str] | None, limit: int) -> list[tuple[str, ...]]:
        """The next keys, as texts (``Table.key_texts``); fewer than ``limit`` at the table's end.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        try:
            found = await self._pool.fetch(_statement(table, is_first=after is None), limit, *(after or ()))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(self._arguments, error) from error
        return [tuple(record.values()) for record in found]

    async def existing(self, table: Table, keys: Sequence[tuple[str, ...]]) -> set[tuple[str, ...]]:
        """Those of these keys that rows have. At least one must be given.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        columns = [list(column) for column in zip(*keys, strict=True)]
        try:
            found = await self._pool.fetch(_existing_statement(table), *columns)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(self._arguments, error) from error
        return {tuple(record.values()) for record in found}

    async def count(self, table: Table) -> int:
        """About how many rows the table has: an estimate where it was analysed, else counted.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        name = qualified(table.schema, table.name)
        try:
            estimate = await self._pool.fetchval("SELECT reltuples::int8 FROM pg_class WHERE oid = $1::regclass", name)
            if estimate is not None and estimate > 0:
                return int(estimate)
            return int(await self._pool.fetchval(f"SELECT count(*) FROM {name}"))  # noqa: S608 - names are quoted
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(self._arguments, error) from error


@cache
def _statement(table: Table, *, is_first: bool) -> str:
    # Without its table a name in ORDER BY would be that of the text in front, and texts have another order.
    keys = [f"t.{identifier(name)}" for name in table.key]
    texts = ", ".join(f"{key}::text" for key in keys)
    casts = [sql_type(column_type) for column_type in table.key_types]
    # What is compared as text when it is asked for is walked through as text, too.
    ordered = ", ".join(key if cast is not None else f"{key}::text" for key, cast in zip(keys, casts, strict=True))
    since = ", ".join(
        f"${n}::text" + (f"::{cast}" if cast is not None else "") for n, cast in enumerate(casts, start=2)
    )
    where = "" if is_first else f"WHERE ({ordered}) > ({since})"
    source = f"{qualified(table.schema, table.name)} AS t"
    return f"SELECT {texts} FROM {source} {where} ORDER BY {ordered} LIMIT $1"  # noqa: S608 - names are quoted


@cache
def _existing_statement(table: Table) -> str:
    casts = [sql_type(column_type) for column_type in table.key_types]
    arrays = ", ".join(
        f"${n}::text[]" + (f"::{cast}[]" if cast is not None else "") for n, cast in enumerate(casts, start=1)
    )
    keys = [f"t.{identifier(name)}" for name in table.key]
    compared = ", ".join(key if cast is not None else f"{key}::text" for key, cast in zip(keys, casts, strict=True))
    texts = ", ".join(f"{key}::text" for key in keys)
    return (
        f"SELECT {texts} FROM {qualified(table.schema, table.name)} AS t "  # noqa: S608 - names are quoted
        f"WHERE ({compared}) IN (SELECT * FROM unnest({arrays}))"
    )
