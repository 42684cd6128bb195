"""Reads rows as entries hold them, each with the snapshot that it was read in, in one statement of its own.

The statement runs outside of any transaction of a caller, whose snapshot could be older, and on the primary only, since
on a standby a snapshot does not list the running transactions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import asyncpg
import msgspec

from infra.postgres.pool import NotPrimaryError, Pool, unavailable
from infra.postgres.quoting import identifier, qualified
from schemas.canonical import encode, row_expression, row_from_json
from schemas.catalog import Table
from schemas.errors import CatalogError
from schemas.keys import sql_type
from schemas.wal import Snapshot

_DISAGREES: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidTextRepresentationError,
)


class RowsRead(msgspec.Struct, frozen=True):
    """Rows of one table as one statement saw them: canonical bodies in the order asked for, None for no such row."""

    snapshot: Snapshot
    bodies: list[bytes | None]


class RowSource:
    """Reads rows from the primary. Takes an open pool; closes nothing."""

    def __init__(self, pool: Pool, arguments: Mapping[str, Any]) -> None:
        """``arguments`` say which server it is, for errors."""
        self._pool = pool
        self._arguments = arguments

    async def read(self, table: Table, keys: Sequence[tuple[str, ...]]) -> RowsRead:
        """The rows with these keys, given as texts (``Table.key_texts``). At least one.

        Raises:
            StoreUnavailableError: the server does not answer, or has become a standby (``NotPrimaryError``).
            CatalogError: the database's columns are not what the catalog says, or may not be read.
        """
        try:
            found = await self._pool.fetch(read_statement(table), *(list(column) for column in zip(*keys, strict=True)))
        except _DISAGREES as error:
            raise CatalogError(
                f"{table.qualified_name} can't be read as the catalog has it: {error}. Correct the catalog, or run "
                "`freshline db prepare`, which also grants the readers' role what it needs."
            ) from error
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(self._arguments, error) from error
        if found[0]["in_recovery"]:
            raise NotPrimaryError("The Postgres server has become a standby. Point the settings at the new primary.")
        return RowsRead(Snapshot.parse(found[0]["snapshot"]), [_body(table, record["body"]) for record in found])


def _body(table: Table, text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return encode(row_from_json(table, text))
    except msgspec.ValidationError as error:
        raise CatalogError(
            f"{table.qualified_name} has other types than the catalog says: {error}. Correct the catalog."
        ) from error


@cache
def read_statement(table: Table) -> str:
    """The statement that reads rows by their keys: one array of texts for each key column, one record for each key.

    Both sub-selects are evaluated once, in the statement's own snapshot.
    """
    numbers = range(1, len(table.key) + 1)
    casts = [sql_type(column_type) for column_type in table.key_types]
    arrays = ", ".join(
        f"${n}::text[]::{cast}[]" if cast is not None else f"${n}::text[]"
        for n, cast in zip(numbers, casts, strict=True)
    )
    same = " AND ".join(
        f"t.{identifier(name)}{'' if cast is not None else '::text'} = k.key_{n}"
        for n, name, cast in zip(numbers, table.key, casts, strict=True)
    )
    names = ", ".join(f"key_{n}" for n in numbers)
    return f"""
        SELECT (SELECT pg_current_snapshot()::text) AS snapshot, (SELECT pg_is_in_recovery()) AS in_recovery,
            CASE WHEN t.{identifier(table.key[0])} IS NOT NULL THEN {row_expression(table, "t")} END AS body
        FROM unnest({arrays}) WITH ORDINALITY AS k ({names}, place)
        LEFT JOIN {qualified(table.schema, table.name)} AS t ON {same}
        ORDER BY k.place
    """  # noqa: S608 - names are quoted
