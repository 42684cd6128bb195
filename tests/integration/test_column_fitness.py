"""A column whose events would not have the form that the catalog promises is found before it is followed."""

from __future__ import annotations

import asyncpg
import pytest

from infra.postgres.fitness import check_fitness
from infra.postgres.names import Names
from infra.postgres.observed import observe
from infra.settings import PostgresSettings
from schemas.catalog import Catalog, Column, Table
from schemas.debezium import GUARDS
from schemas.errors import FreshlineError

NAMES = Names(
    publication="freshline", slot="freshline", debezium_role="freshline_debezium", reader_role="freshline_reader"
)


async def _faults(database: PostgresSettings, columns: dict[str, str], *preamble: str) -> str:
    """What is said of a table with these columns: the type as declared there, and as written in the catalog."""
    connection = await asyncpg.connect(**database.connect_arguments())
    try:
        for statement in preamble:
            await connection.execute(statement)
        declared = ", ".join(f"c{i} {actual}" for i, actual in enumerate(columns))
        await connection.execute(f"CREATE TABLE things (id int8 PRIMARY KEY, {declared})")
        listed = (Column(f"c{i}", written, nullable=True) for i, written in enumerate(columns.values()))
        catalog = Catalog((Table("things", ("id",), (Column("id", "int8"), *listed)),))
        check_fitness(catalog.tables, await observe(connection, catalog, NAMES), whole_rows=())
    except FreshlineError as error:
        return str(error)
    finally:
        await connection.close()
    return ""


async def test_a_column_of_another_form_is_refused(each_database: PostgresSettings) -> None:
    said = await _faults(
        each_database,
        {
            "timestamptz(3)": "timestamptz",
            "later_moment": "timestamptz(2)",
            "numeric(3,-2)": "numeric",
            "labels": "text[]",
            "mood": "text",
            "money": "money",
        },
        "CREATE DOMAIN moment AS timestamptz(1); CREATE DOMAIN later_moment AS moment CHECK (value > '2000-01-01')",
        "CREATE DOMAIN labels AS text[]; CREATE TYPE mood AS ENUM ('ok')",
    )
    assert "public.things.c0 keeps 3 digits of a second" in said
    assert "public.things.c1 keeps 1 digits of a second" in said
    assert "public.things.c2 is numeric(3,-2)" in said
    assert "public.things.c3 is of a domain over an array" in said
    assert "public.things.c4 is mood: the catalog says text, it should say enum" in said
    assert "column 'c5': type money can't be cached" in said


async def test_domains_and_modifiers_that_change_no_form_are_accepted(each_database: PostgresSettings) -> None:
    said = await _faults(
        each_database,
        {
            "moment": "timestamptz(3)",
            "timestamptz(6)": "timestamptz",
            "price": "numeric",
            "numeric(12,2)": "numeric(12,2)",
            "varchar(20)": "varchar(20)",
            "char(5)[]": "char(5)[]",
            "mood": "enum",
            "mood[]": "enum[]",
            "citext": "citext",
        },
        "CREATE EXTENSION citext; CREATE DOMAIN moment AS timestamptz(3); CREATE DOMAIN price AS numeric(12,2)",
        "CREATE TYPE mood AS ENUM ('ok')",
    )
    assert said == ""


async def test_a_domain_over_an_enumeration_is_found_wherever_it_is(database: PostgresSettings) -> None:
    said = await _faults(database, {"text": "text"}, "CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN good_mood AS mood")
    assert "domain public.good_mood is over an enumeration, which keeps Debezium from starting" in said


@pytest.mark.parametrize(
    ("column_type", "fatal", "harmless"),
    [
        ("interval", ["2147483648 hours", "-2147483648 hours"], ["2147483647 hours", "178000000 years", "0"]),
        ("timetz", ["12:00+01:02:03"], ["12:00+05:30", "24:00:00-15:59"]),
    ],
)
async def test_a_guard_keeps_out_what_stops_debezium_and_nothing_else(
    each_database: PostgresSettings, column_type: str, fatal: list[str], harmless: list[str]
) -> None:
    connection = await asyncpg.connect(**each_database.connect_arguments())
    try:
        query = f"SELECT {GUARDS[column_type].format(v='v')} FROM unnest($1::text[]::{column_type}[]) AS u(v)"
        assert [row[0] for row in await connection.fetch(query, fatal)] == [False] * len(fatal)
        assert [row[0] for row in await connection.fetch(query, harmless)] == [True] * len(harmless)
    finally:
        await connection.close()
