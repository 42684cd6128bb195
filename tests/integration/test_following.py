"""A database followed for real: topics, connector and events, until all is taken away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from freshline.source.connector import (
    apply_connector,
    connector_report,
    remove_connector,
    wanted_configuration,
)
from freshline.source.database import prepare_database, remove_from_database
from freshline.source.situation import Action
from freshline.source.topics import apply_topics
from infra.connect.client import open_connect
from infra.postgres.migrate import migrate
from infra.postgres.pool import open_connection
from infra.postgres.removal import StillFollowedError
from infra.postgres.slot import SlotBusyError, SlotRecord
from infra.settings import Settings
from schemas.errors import SettingsError
from schemas.voiceassist import VOICEASSIST
from tests.conftest import MakeSettings

Event = tuple[str, dict[str, Any] | None, dict[str, Any] | None]


async def follow(settings: Settings) -> None:
    await migrate(settings.postgres.connect_arguments())
    await prepare_database(settings.postgres, VOICEASSIST)
    await apply_topics(settings, VOICEASSIST)
    await apply_connector(settings, VOICEASSIST)


@asynccontextmanager
async def administrator(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    async with open_connection(settings.postgres.connect_arguments(), application="test") as connection:
        yield connection


async def events(settings: Settings, tables: list[str], enough: Callable[[list[Event]], bool]) -> list[Event]:
    """All events of these tables' topics from their beginnings, as (topic, key, value), until there are enough."""
    topics = [settings.table_topic(f"public.{table}") for table in tables]
    found: list[Event] = []
    consumer = AIOKafkaConsumer(*topics, **settings.kafka.client_arguments(), auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            while not enough(found):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        value = None if record.value is None else json.loads(record.value)
                        found.append((record.topic, json.loads(record.key or b"null"), value))
        return found
    finally:
        await consumer.stop()


async def test_what_is_not_in_the_catalog_never_reaches_a_topic_and_before_names_old_tags_alone(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings()
    await migrate(settings.postgres.connect_arguments())
    async with administrator(settings) as connection:
        insert = "INSERT INTO users (email, name, password_hash) VALUES ($1, $1, 'THE-HASH') RETURNING id"
        first = await connection.fetchval(insert, "in the snapshot")
        await follow(settings)
        second = await connection.fetchval(insert, "in the stream")
        conversation = await connection.fetchval(
            "INSERT INTO conversations (user_id, title) VALUES ($1, 'a') RETURNING id", first
        )
        await connection.execute("UPDATE conversations SET title = 'b' WHERE id = $1", conversation)
        await connection.execute("UPDATE conversations SET user_id = $2 WHERE id = $1", conversation, second)
        await connection.execute("DELETE FROM conversations WHERE id = $1", conversation)
        await connection.execute("UPDATE users SET password_hash = 'THE-HASH-2' WHERE id = $1", first)
        await connection.execute("TRUNCATE users CASCADE")

    def complete(found: list[Event]) -> bool:
        return len([value for _, _, value in found if value and value["op"] == "t"]) == 2 and len(found) == 9

    found = await events(settings, ["users", "conversations"], complete)
    assert "HASH" not in json.dumps(found)
    assert {"r", "c", "u", "t"} <= {value["op"] for topic, _, value in found if value and topic.endswith(".users")}
    of_conversation = [(key, value) for topic, key, value in found if topic.endswith(".conversations") and key]
    assert [key for key, _ in of_conversation] == [{"id": conversation}] * 4
    values = [value for _, value in of_conversation if value]
    assert [value["op"] for value in values] == ["c", "u", "u", "d"]
    create, retitle, move, delete = values
    assert create["before"] is None
    assert retitle["before"] is None
    for event, owner in ((move, first), (delete, second)):
        before = event["before"]
        assert (before["id"], before["user_id"]) == (conversation, owner)
        # The other fields say nothing: where the column is NOT NULL they hold what its type has for empty, else null.
        assert (before["title"], before["created_at"][:4]) == ("", "1970")
    assert set(create["after"]) == {column.name for column in VOICEASSIST.table("conversations").columns}


async def test_applying_again_does_nothing_and_drift_is_shown_and_mended(make_settings: MakeSettings) -> None:
    settings = make_settings()
    await follow(settings)
    report = await connector_report(settings, VOICEASSIST)
    assert report.status is not None
    assert report.status.running
    assert report.drift == ()
    assert (await apply_connector(settings, VOICEASSIST)).actions == ()
    assert await apply_topics(settings, VOICEASSIST) == []

    changed = {**wanted_configuration(settings, VOICEASSIST), "poll.interval.ms": "77"}
    async with open_connect(settings.connect.url) as connect:
        await connect.put(settings.connect.connector, changed)
    told = [str(difference) for difference in (await connector_report(settings, VOICEASSIST)).drift]
    assert told == ["~ poll.interval.ms = 77 -> 2"]
    assert Action.CONFIGURE in (await apply_connector(settings, VOICEASSIST)).actions
    after = await connector_report(settings, VOICEASSIST)
    assert after.drift == ()
    assert after.generation == report.generation


async def test_a_slot_that_was_dropped_begins_a_new_generation_and_changes_arrive_again(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings()
    await follow(settings)
    first = (await connector_report(settings, VOICEASSIST)).generation
    name = settings.connect.connector
    async with open_connect(settings.connect.url) as connect, administrator(settings) as connection:
        await connect.stop(name)
        await SlotRecord(connection, settings.postgres.slot).drop(30)
        actions = (await apply_connector(settings, VOICEASSIST)).actions
        assert actions[:2] == (Action.FORGET, Action.RESET_OFFSETS)
        second = (await connector_report(settings, VOICEASSIST)).generation
        assert second is not None
        assert second != first
        await connection.execute("INSERT INTO users (email, name, password_hash) VALUES ('later', '', '')")
    await events(
        settings, ["users"], lambda found: any(v and (v["after"] or {}).get("email") == "later" for _, _, v in found)
    )


async def test_the_slot_moves_on_while_followed_tables_are_quiet(make_settings: MakeSettings) -> None:
    settings = make_settings()
    settings = settings.model_copy(
        update={"connect": settings.connect.model_copy(update={"heartbeat_interval_ms": 200})}
    )
    await follow(settings)
    async with administrator(settings) as connection:
        await connection.execute("CREATE TABLE unrelated AS SELECT generate_series(1, 1000)")
        position = await connection.fetchval("SELECT pg_current_wal_lsn()::text")
        async with asyncio.timeout(60):
            while not await connection.fetchval(  # noqa: ASYNC110 - nobody is told when a slot moves
                "SELECT confirmed_flush_lsn > $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $2",
                position,
                settings.postgres.slot,
            ):
                await asyncio.sleep(0.1)


async def test_nothing_of_ours_is_left_after_removal(make_settings: MakeSettings) -> None:
    settings = make_settings()
    await follow(settings)
    with pytest.raises(StillFollowedError, match="freshline connector remove"):
        await remove_from_database(settings.postgres, VOICEASSIST)
    async with administrator(settings) as connection:
        with pytest.raises(SlotBusyError):
            await SlotRecord(connection, settings.postgres.slot).drop(0.3)
        assert len(await remove_connector(settings)) == 3
        assert await remove_connector(settings) == []
        await remove_from_database(settings.postgres, VOICEASSIST)
        own = settings.postgres.database
        for query in (
            "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()",
            "SELECT count(*) FROM pg_publication",
            "SELECT count(*) FROM pg_namespace WHERE nspname = 'freshline'",
            f"SELECT count(*) FROM pg_roles WHERE rolname LIKE '{own}%'",
        ):
            assert await connection.fetchval(query) == 0
    async with open_connect(settings.connect.url) as connect:
        assert await connect.config(settings.connect.connector) is None
    # And the offsets went with it: another beginning is a beginning.
    await prepare_database(settings.postgres, VOICEASSIST)
    assert (await apply_connector(settings, VOICEASSIST)).actions == (Action.CREATE, Action.RESUME, Action.RECORD)


async def test_a_database_that_is_not_prepared_is_refused(make_settings: MakeSettings) -> None:
    settings = make_settings()
    with pytest.raises(SettingsError, match="freshline db prepare"):
        await apply_connector(settings, VOICEASSIST)


async def test_partitions_are_added_to_topics_only_on_demand(make_settings: MakeSettings) -> None:
    settings = make_settings()
    assert {change.due for change in await apply_topics(settings, VOICEASSIST, dry_run=True)} == {True}
    await apply_topics(settings, VOICEASSIST)
    more = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 9})})
    refused = await apply_topics(more, VOICEASSIST)
    assert refused
    assert not any(change.due for change in refused)
    await apply_topics(more, VOICEASSIST, add_partitions=True)
    assert await apply_topics(more, VOICEASSIST) == []
    longer = more.model_copy(update={"topics": more.topics.model_copy(update={"retention_hours": 5})})
    assert [change.text for change in await apply_topics(longer, VOICEASSIST)] == (
        ["retention.ms 604800000 -> 18000000"] * 6
    )
    assert await apply_topics(longer, VOICEASSIST) == []
