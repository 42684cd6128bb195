"""An entry filled by a reader and one written by an event of the same row version are the same bytes.

Rows with a column of every type are written to a real database; Postgres's own JSON of them, as a reader gets it, is
compared with what Debezium sent of the same versions, column by column and as a whole.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx
import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from infra.local.stack import LocalStack
from infra.settings import PostgresSettings
from schemas.canonical import encode, has_unavailable, row_expression, row_from_json
from schemas.catalog import Column, Table
from schemas.debezium import READER_SETTINGS, ROLE_SETTINGS, VALUE_FORMS
from tests.integration.specimens import (
    PREAMBLE,
    SPECIMENS,
    columns,
    create_statement,
    table,
    write_statement,
)

GENERATED_ROWS = 300
QUIET_S = 60

Row = dict[str, str | None]


class _Event(msgspec.Struct):
    op: str
    after: msgspec.Raw = msgspec.Raw()


@dataclass
class Connected:
    """A database whose changes arrive on topics."""

    database: asyncpg.Connection
    topic_prefix: str
    bootstrap_servers: str
    connector_url: str

    async def events(self, table_name: str, count: int) -> list[_Event]:
        """The first events of a table, without tombstones.

        Raises:
            AssertionError: the connector failed, or nothing came for a minute.
        """
        topic = f"{self.topic_prefix}.public.{table_name}"
        found: list[_Event] = []
        async with AIOKafkaConsumer(
            topic, bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest", metadata_max_age_ms=500
        ) as consumer:
            deadline = asyncio.get_running_loop().time() + QUIET_S
            while len(found) < count:
                batches = await consumer.getmany(timeout_ms=1000)
                records = [record for records in batches.values() for record in records if record.value is not None]
                found.extend(msgspec.json.decode(record.value, type=_Event) for record in records)
                assert records or asyncio.get_running_loop().time() < deadline, await self.status()
        return found

    async def status(self) -> str:
        """What Connect says of the connector, for a failed test to show."""
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{self.connector_url}/status")).text


@asynccontextmanager
async def _connected(stack: LocalStack, server: PostgresSettings, *tables: str) -> AsyncIterator[Connected]:
    """Follow these tables from now on."""
    name = server.database
    database = await asyncpg.connect(**server.connect_arguments(), server_settings=READER_SETTINGS)
    url = f"{stack.connect.endpoint}/connectors/{name}"
    configuration = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": server.host,
        "database.port": str(server.port),
        "database.user": server.user,
        "database.password": "" if server.password is None else server.password.get_secret_value(),
        "database.dbname": name,
        "topic.prefix": name,
        "slot.name": name,
        "publication.name": name,
        "plugin.name": "pgoutput",
        "snapshot.mode": "no_data",
        "poll.interval.ms": "10",
        **VALUE_FORMS,
    }
    try:
        await database.execute(f"CREATE PUBLICATION {name} FOR ALL TABLES")
        # What the connector's role is told to do, whatever the database says.
        for setting, value in {
            "extra_float_digits": "-3",
            "bytea_output": "escape",
            "intervalstyle": "iso_8601",
        }.items():
            await database.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
        for setting, value in ROLE_SETTINGS.items():
            await database.execute(f"ALTER ROLE {server.user} IN DATABASE {name} SET {setting} = '{value}'")
        await _create_topics(stack.kafka.endpoint, [f"{name}.public.{table}" for table in tables])
        async with httpx.AsyncClient(timeout=60) as client:
            (await client.put(f"{url}/config", json=configuration)).raise_for_status()
            await _streaming(database, name)
            yield Connected(database, name, stack.kafka.endpoint, url)
            await client.delete(url)
    finally:
        await database.close()


async def _create_topics(bootstrap_servers: str, names: Sequence[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1) for name in names])
    finally:
        await admin.close()


async def _streaming(database: asyncpg.Connection, slot: str) -> None:
    async with asyncio.timeout(QUIET_S):
        while not await database.fetchval("SELECT active FROM pg_replication_slots WHERE slot_name = $1", slot):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _generated_rows(count: int) -> list[Row]:
    rows: list[Row] = []
    names = [column.name for column in columns()]
    # Half of the columns of a row are null or an awkward value, which keeps a row small enough to be drawn.
    values = [st.one_of(specimen.values, st.none(), st.sampled_from(specimen.awkward)) for specimen in SPECIMENS]

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.fixed_dictionaries(dict(zip(names, values, strict=True))))
    def collect(row: Row) -> None:
        rows.append(row)

    collect()
    return rows


def _awkward_rows() -> list[Row]:
    longest = max(len(specimen.awkward) for specimen in SPECIMENS)
    rows: list[Row] = [
        {f"c{i}": specimen.awkward[n % len(specimen.awkward)] for i, specimen in enumerate(SPECIMENS)}
        for n in range(longest)
    ]
    return [_nulls(), *rows]


def _nulls() -> Row:
    return {f"c{i}": None for i in range(len(SPECIMENS))}


def _rows_of_newer_servers(connection: asyncpg.Connection) -> list[Row]:
    """From 17 on intervals may be infinite, which Debezium takes for no time at all."""
    if connection.get_server_version().major < 17:
        return []
    endless = {f"c{i}": "infinity" for i, specimen in enumerate(SPECIMENS) if specimen.catalog_type == "interval"}
    return [_nulls() | endless]


async def _write(database: asyncpg.Connection, rows: Sequence[Row]) -> None:
    await database.executemany(
        write_statement(), [(i, *(row[f"c{n}"] for n in range(len(SPECIMENS)))) for i, row in enumerate(rows)]
    )


async def _read(database: asyncpg.Connection, cached: Table) -> list[str]:
    query = f"SELECT {row_expression(cached, 't')} FROM {cached.name} AS t ORDER BY id"
    return [record[0] for record in await database.fetch(query)]


def _difference(one: Table, read: str, sent: bytes) -> str | None:
    """What is wrong about an event's value, if its event is believed."""
    try:
        row = row_from_json(one, sent)
    except msgspec.ValidationError as error:
        return f"event refused: {error}"
    if has_unavailable(row, one):
        return "doubted"
    filled, written = encode(row_from_json(one, read)), encode(row)
    return None if filled == written else f"read {filled!r}, sent {written!r}"


async def test_filled_and_event_written_entries_are_the_same_bytes(
    stack: LocalStack, each_database: PostgresSettings
) -> None:
    setup = await asyncpg.connect(**each_database.connect_arguments())
    await setup.execute(PREAMBLE)
    await setup.execute(create_statement())
    rows = [*_awkward_rows(), *_rows_of_newer_servers(setup), *_generated_rows(GENERATED_ROWS)]
    await setup.close()
    everything = table(*columns())

    async with _connected(stack, each_database, everything.name) as connected:
        versions = []
        for version in (rows, rows[::-1]):
            await _write(connected.database, version)
            versions.extend(await _read(connected.database, everything))
        events = await connected.events("specimens", len(versions))

    assert [event.op for event in events] == ["c"] * len(rows) + ["u"] * len(rows)
    wrong: list[str] = []
    doubted: Counter[str] = Counter()
    for column, specimen in zip(columns(), SPECIMENS, strict=True):
        one = table(column)
        for read, event in zip(versions, events, strict=True):
            difference = _difference(one, read, bytes(event.after))
            if difference == "doubted":
                doubted[specimen.declared] += 1
            elif difference is not None:
                wrong.append(f"{specimen.declared}: {difference[:300]}")
    assert not wrong, "\n".join(wrong[:40])
    never_believed = [s.declared for s in SPECIMENS if s.certain and doubted[s.declared] > len(versions) * 0.9]
    assert not never_believed, doubted
    for read, event in zip(versions, events, strict=True):
        row = row_from_json(everything, bytes(event.after))
        assert has_unavailable(row, everything) or encode(row) == encode(row_from_json(everything, read))


async def test_a_toasted_value_left_alone_is_never_taken_for_a_value(
    stack: LocalStack, each_database: PostgresSettings
) -> None:
    big = [(specimen, value) for specimen in SPECIMENS if (value := specimen.big()) is not None]
    declared = [f"c{i} {specimen.declared}" for i, (specimen, _) in enumerate(big)]
    alterations = [f"ALTER c{i} SET STORAGE EXTERNAL" for i in range(len(big))]
    assert len(big) > 40
    setup = await asyncpg.connect(**each_database.connect_arguments())
    await setup.execute(PREAMBLE)
    await setup.execute(f"CREATE TABLE big (id int8 PRIMARY KEY, version int4, {', '.join(declared)})")
    await setup.execute(f"ALTER TABLE big {', '.join(alterations)}")
    await setup.close()
    tables = [
        Table("big", ("id",), (Column("id", "int8"), Column(f"c{i}", specimen.catalog_type, nullable=True)))
        for i, (specimen, _) in enumerate(big)
    ]

    async with _connected(stack, each_database, "big") as connected:
        values = ", ".join(f"${i + 1}::text::{specimen.declared}" for i, (specimen, _) in enumerate(big))
        await connected.database.execute(f"INSERT INTO big VALUES (1, 1, {values})", *(value for _, value in big))
        await connected.database.execute("UPDATE big SET version = 2")
        whole, unchanged = (bytes(event.after) for event in await connected.events("big", 2))
        read = [await _read(connected.database, one) for one in tables]

    differences = [_difference(one, text, whole) for one, (text,) in zip(tables, read, strict=True)]
    believed = [
        specimen.declared
        for (specimen, _), one in zip(big, tables, strict=True)
        if not has_unavailable(row_from_json(one, unchanged), one)
    ]
    assert not believed
    assert {
        specimen.declared: difference
        for (specimen, _), difference in zip(big, differences, strict=True)
        if difference is not None and (specimen.certain or difference != "doubted")
    } == {}
