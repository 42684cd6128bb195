"""A walk through the keys of a table meets each of them once, whatever its type."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from infra.postgres.keys import KeyWalk
from infra.postgres.pool import Pool, open_pool
from infra.settings import PostgresSettings
from schemas.catalog import Column, Table

KEYS: dict[str, list[tuple[str, ...]]] = {
    "int8": [(str(number),) for number in (-12, -1, 0, 2, 9, 10, 11, 99, 100, 101, 1 << 40)],
    "text": [(text,) for text in ("", "a", "A", "a b", "ä", "z", "10", "9", "%", "😀")],
    "uuid": [(str(uuid.UUID(int=number << 100)),) for number in range(11)],
}


@pytest.fixture
async def pool(database: PostgresSettings) -> AsyncIterator[Pool]:
    async with open_pool(database.connect_arguments(), application="test") as opened:
        yield opened


async def walked(pool: Pool, table: Table, *, limit: int) -> list[tuple[str, ...]]:
    walk = KeyWalk(pool, {})
    found: list[tuple[str, ...]] = []
    after: tuple[str, ...] | None = None
    while page := await walk.page(table, after, limit):
        found += page
        after = page[-1]
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("kind", [*KEYS, "enum"])
async def test_every_key_is_met_once_page_by_page(pool: Pool, kind: str, limit: int) -> None:
    keys = KEYS.get(kind, [("one",), ("two",), ("three",), ("four",)])
    await pool.execute("CREATE TYPE of_enum AS ENUM ('one', 'two', 'three', 'four')")
    await pool.execute(f"CREATE TABLE things (id {'of_enum' if kind == 'enum' else kind} PRIMARY KEY)")
    await pool.execute("INSERT INTO things SELECT * FROM unnest($1::text[]::" + sql(kind) + "[])", [k for (k,) in keys])
    table = Table("things", ("id",), (Column("id", kind),))
    found = await walked(pool, table, limit=limit)
    assert sorted(found) == sorted(keys)
    missing: list[tuple[str, ...]] = (
        [(("x",) if kind in {"text", "enum"} else ("77",))] if kind != "uuid" else [(str(uuid.UUID(int=1)),)]
    )
    assert await KeyWalk(pool, {}).existing(table, [*keys[:3], *missing]) == set(keys[:3])


async def test_keys_of_several_columns_are_walked_in_their_order(pool: Pool) -> None:
    await pool.execute("CREATE TABLE parts (id text, n int8, body text, PRIMARY KEY (id, n))")
    keys = [(letter, str(number)) for letter in "ab" for number in (1, 2, 9, 10, 100)]
    await pool.executemany("INSERT INTO parts VALUES ($1, $2::text::int8)", keys)
    table = Table("parts", ("id", "n"), (Column("id", "text"), Column("n", "int8")))
    assert await walked(pool, table, limit=3) == keys
    assert await KeyWalk(pool, {}).existing(table, [("a", "2"), ("b", "3"), ("b", "10")]) == {("a", "2"), ("b", "10")}


async def test_a_large_table_is_counted_by_its_estimate(pool: Pool) -> None:
    await pool.execute("CREATE TABLE things (id int8 PRIMARY KEY)")
    table = Table("things", ("id",), (Column("id", "int8"),))
    assert await KeyWalk(pool, {}).count(table) == 0
    await pool.execute("INSERT INTO things SELECT generate_series(1, 500)")
    await pool.execute("ANALYZE things")
    assert await KeyWalk(pool, {}).count(table) == 500


def sql(kind: str) -> str:
    return "of_enum" if kind == "enum" else kind
