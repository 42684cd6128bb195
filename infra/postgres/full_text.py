"""Postgres's full text: which rows of a table contain the words of a query.

The expression that is searched is `document_expression`; with a GIN index over exactly that expression Postgres looks
the words up instead of reading every row:

    CREATE INDEX ON documents USING gin (<document_expression>)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import asyncpg
import msgspec

from infra.postgres.pool import Pool, unavailable
from infra.postgres.quoting import identifier, literal, qualified
from schemas.catalog import Table
from schemas.errors import CatalogError
from schemas.keys import sql_type

# Of a longer document only so many characters are searched. Postgres refuses a row whose words are too many to index.
DOCUMENT_CHARACTERS: Final = 250_000
# Of more rows that match only so many are ranked, for which each is read: words so common say little.
_RANKED: Final = 500
_LONGEST_QUERY: Final = 2_000


class FoundRow(msgspec.Struct, frozen=True):
    """A row that contains the words: its key as texts, and how well it matches, the more the better."""

    key: tuple[str, ...]
    rank: float


class FullText:
    """Searches the words of indexed tables. Takes an open pool; closes nothing."""

    def __init__(self, pool: Pool, arguments: Mapping[str, Any], *, timeout_s: float) -> None:
        """``arguments`` say which server it is, for errors; ``timeout_s`` is how long a search may take, in seconds."""
        self._pool = pool
        self._arguments = arguments
        self._timeout_s = timeout_s

    async def find(self, table: Table, query: str, *, tenant: str | None, limit: int) -> list[FoundRow]:
        """The rows that contain the words of a query, the best first.

        Args:
            table: with an index that names a language.
            query: as people write it: "a phrase", -without, this OR that.
            tenant: the text of the tenant column's value; None where the index has no tenant.
            limit: how many at most.

        Raises:
            StoreUnavailableError: the server does not answer in time, or can't search.
        """
        # Postgres can't hold what is replaced here.
        words = query[:_LONGEST_QUERY].replace("\0", " ").encode(errors="replace").decode()
        arguments = [words, limit] if tenant is None else [words, limit, tenant]
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._pool.fetch(search_statement(table), *arguments)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(self._arguments, error) from error
        return [FoundRow(tuple(record["key"]), record["rank"]) for record in found]


@cache
def document_expression(table: Table, alias: str | None = None) -> str:
    """The words of a row of an indexed table, as an SQL expression that can be indexed.

    Raises:
        CatalogError: its index names no language.
    """
    if table.index is None or table.index.language is None:
        raise CatalogError(f"{table.qualified_name} has no full text: its index names no language.")
    prefix = "" if alias is None else f"{identifier(alias)}."
    text = " || E'\\n' || ".join(f"coalesce({prefix}{identifier(name)}::text, '')" for name in table.index.columns)
    return f"to_tsvector({literal(table.index.language)}::regconfig, left({text}, {DOCUMENT_CHARACTERS}))"


@cache
def search_statement(table: Table) -> str:
    """The statement that finds rows: arguments are the query, the limit and, where there is one, the tenant."""
    document = document_expression(table, "t")
    index = table.index
    assert index is not None  # noqa: S101 - it has a document's expression
    query = f"websearch_to_tsquery({literal(index.language or '')}::regconfig, $1)"
    keys = ", ".join(f"t.{identifier(name)}::text" for name in table.key)
    read = ", ".join(f"t.{identifier(name)}" for name in dict.fromkeys((*table.key, *index.columns)))
    where = f"{document} @@ {query}"
    if index.tenant is not None:
        cast = sql_type(table.column_types[index.tenant])
        tenant = f"t.{identifier(index.tenant)}"
        where += f" AND {tenant} = $3::text::{cast}" if cast is not None else f" AND {tenant}::text = $3::text"
    return f"""
        SELECT ARRAY[{keys}] AS key, ts_rank_cd({document}, {query})::float8 AS rank
        FROM (SELECT {read} FROM {qualified(table.schema, table.name)} AS t WHERE {where} LIMIT {_RANKED}) AS t
        ORDER BY rank DESC, key LIMIT $2
    """  # noqa: S608 - names are quoted
