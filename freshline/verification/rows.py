"""What the database says of rows: their canonical bodies, many in one statement of a given connection."""

from __future__ import annotations

from collections.abc import Sequence

from infra.postgres.pool import Connection
from infra.postgres.rows import read_statement
from schemas.canonical import encode, row_from_json
from schemas.catalog import Table
from schemas.keys import part_text


async def bodies(connection: Connection, table: Table, keys: Sequence[str]) -> dict[str, bytes]:
    """The canonical body of each row that exists, by the key of its entry.

    Args:
        connection: of a session with ``schemas.debezium.READER_SETTINGS``.
        table: whose rows they are.
        keys: keys of its entries.
    """
    columns = [list(column) for column in zip(*(map(part_text, key.split(":")[1:]) for key in keys), strict=True)]
    found = await connection.fetch(read_statement(table), *columns)
    return {
        key: encode(row_from_json(table, record["body"]))
        for key, record in zip(keys, found, strict=True)
        if record["body"] is not None
    }
