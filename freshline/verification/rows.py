"""What the database says of rows: their canonical bodies, many in one statement."""

from __future__ import annotations

from collections.abc import Sequence

from infra.postgres.pool import Connection
from infra.postgres.quoting import identifier, qualified
from schemas.canonical import encode, row_expression, row_from_json
from schemas.catalog import Table
from schemas.keys import part_text, sql_type


async def bodies(connection: Connection, table: Table, keys: Sequence[str]) -> dict[str, bytes]:
    """The canonical body of each row that exists, by the key of its entry.

    Args:
        connection: of a session with ``schemas.debezium.READER_SETTINGS``.
        table: whose rows they are.
        keys: keys of its entries.
    """
    if not keys:
        return {}
    columns = [list(column) for column in zip(*(map(part_text, key.split(":")[1:]) for key in keys), strict=True)]
    rows = await connection.fetch(statement(table), *columns)
    return {keys[row["place"] - 1]: encode(row_from_json(table, row["body"])) for row in rows}


def statement(table: Table) -> str:
    """A query for the rows whose key columns have the texts of the arrays ``$1``, ``$2`` …, with their places."""
    arrays, conditions = [], []
    for number, name in enumerate(table.key, 1):
        cast = sql_type(table.column_types[name])
        arrays.append(f"${number}::text[]" + (f"::{cast}[]" if cast else ""))
        conditions.append(f"row.{identifier(name)}{'' if cast else '::text'} = wanted.k{number}")
    aliases = ", ".join([*(f"k{number}" for number in range(1, len(arrays) + 1)), "place"])
    return (
        f"SELECT wanted.place, {row_expression(table, 'row')} AS body "  # noqa: S608 - names are quoted
        f"FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS wanted ({aliases}) "
        f"JOIN {qualified(table.schema, table.name)} AS row ON {' AND '.join(conditions)}"
    )
