"""What workers promise, against a real Kafka, Valkey and Postgres."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from consumers.worker import RECORDS_PER_FETCH
from schemas.debezium import UNAVAILABLE
from tests.conftest import MakeSettings
from tests.integration.worker_ground import (
    INVALIDATION,
    SIZES,
    WRITE_THROUGH,
    Ground,
    Place,
    conversation,
    encoded,
    envelope,
    eventually,
    open_ground,
    user,
)


@pytest.fixture
async def ground(make_settings: MakeSettings) -> AsyncIterator[Ground]:
    async with open_ground(make_settings(topics=SIZES)) as ground:
        yield ground


# What changes do.


async def test_a_change_becomes_an_entry_and_the_watermark_moves_with_it(ground: Ground) -> None:
    async with ground.worker() as running:
        place = await ground.change_user(user(1, name="Ada"))
        await ground.user_is(1, name="Ada")
        header = await ground.header("user:1")
        assert (header.lsn, header.xid) == place
        await ground.all_applied()
        assert running.count("freshline_records_total") == 1
        assert running.count("freshline_effects_total", effect="written") == 1
        assert running.count("freshline_freshness_seconds_count") == 1
        assert 0 < running.count("freshline_busy_seconds_total") < 1


async def test_a_deletion_leaves_a_remembered_absence_and_its_tombstone_is_ignored(ground: Ground) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1))
        await ground.delete_user(1)
        await ground.send("users", {"id": 1}, None)
        await ground.all_applied()
        assert await ground.user(1) == "absent"
        assert running.count("freshline_dead_letters_total") == 0


async def test_a_record_without_a_value_that_follows_no_deletion_of_its_key_is_a_dead_letter(ground: Ground) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1))
        await ground.delete_user(2)
        await ground.send("users", {"id": 1}, None)
        await ground.all_applied()
        assert await ground.user(1) is None
        assert running.count("freshline_dead_letters_total", reason="null_value") == 1


async def test_a_tombstone_whose_deletion_was_applied_before_a_restart_only_invalidates(ground: Ground) -> None:
    async with ground.worker():
        await ground.delete_user(1)
        await ground.all_applied()
    await ground.send("users", {"id": 1}, None)
    async with ground.worker() as running:
        await ground.all_applied()
        assert await ground.user(1) is None
        assert running.count("freshline_dead_letters_total") == 0


async def test_a_truncation_makes_every_entry_of_its_table_a_miss(ground: Ground) -> None:
    async with ground.worker():
        await ground.change_user(user(1))
        await ground.change_user(user(2), partition=1)
        await ground.all_applied()
        early = await ground.commit()
        await ground.send("users", None, envelope("t", await ground.commit()))
        await ground.all_applied()
        # The row's partition lags behind the one that the truncation is in.
        await ground.change_user(user(2), place=early, partition=1)
        await ground.all_applied()
        assert [await ground.user(1), await ground.user(2)] == [None, None]
        await ground.change_user(user(2, name="new"))
        await ground.user_is(2, name="new")


@pytest.mark.parametrize(
    "row",
    [
        user(1, preferences=UNAVAILABLE),
        user(1, preferences="x" * 70_000),
        {name: value for name, value in user(1).items() if name != "preferences"},
    ],
    ids=["a TOASTed value that was left alone", "a row over the size limit", "a row that lacks a column"],
)
async def test_what_cannot_be_cached_invalidates(ground: Ground, row: dict[str, object]) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1))
        await ground.user_is(1)
        await ground.change_user(row)
        await ground.all_applied()
        assert await ground.user(1) is None
        assert (await ground.header("user:1")).kind == "p"
        assert running.count("freshline_dead_letters_total") == 0


async def test_an_event_without_a_position_only_invalidates(ground: Ground) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1))
        await ground.user_is(1)
        await ground.send("users", {"id": 1}, envelope("u", None, after=user(1, name="Eve")))
        await ground.all_applied()
        assert await ground.user(1) is None
        assert running.count("freshline_dead_letters_total") == 0


async def test_events_of_a_snapshot_change_nothing(ground: Ground) -> None:
    async with ground.worker():
        await ground.change_user(user(1, name="Ada"))
        await ground.change_user(user(1, name="old"), op="r")
        await ground.change_user(user(2), op="r")
        await ground.all_applied()
        await ground.user_is(1, name="Ada")
        assert await ground.user(2) is None


async def test_a_conversation_that_moves_drops_the_tags_of_both_owners_alone(ground: Ground) -> None:
    async with ground.worker(INVALIDATION):
        for tag in ("user:1", "user:2", "user:3", "conversation:7"):
            await ground.fill_tag(tag)
        before = dict.fromkeys(conversation(7, 1)) | {"id": 7, "user_id": 1}
        event = envelope("u", await ground.commit(), table="conversations", before=before, after=conversation(7, 2))
        await ground.send("conversations", {"id": 7}, event)
        await ground.all_applied(INVALIDATION, "conversations")
        tags = ("user:1", "user:2", "conversation:7", "user:3")
        assert [await ground.has_tag(tag) for tag in tags] == [False, False, False, True]


async def test_producers_ask_for_an_invalidation_of_a_pattern_or_a_key(ground: Ground) -> None:
    async with ground.worker(), ground.worker(INVALIDATION):
        for number in (1, 2):
            await ground.change_user(user(number))
        await ground.all_applied(WRITE_THROUGH, "users")
        await ground.all_applied(INVALIDATION, "users")
        await ground.fill_tag("user:1")
        await ground.fill_tag("user:2")
        await ground.send("invalidate", None, {"pattern": "user:1:*", "reason": "a test"})
        await ground.send("invalidate", None, {"key": "user:2"})
        await ground.all_applied(INVALIDATION, "invalidate")
        assert [await ground.has_tag("user:1"), await ground.has_tag("user:2")] == [False, True]
        assert await ground.user(2) is None
        await ground.user_is(1)
        await ground.send("invalidate", None, {"pattern": "user:*"})
        await ground.all_applied(INVALIDATION, "invalidate")
        assert await ground.user(1) is None


async def test_what_a_transaction_of_kafka_took_back_is_never_applied_and_its_markers_are_no_lag(
    ground: Ground,
) -> None:
    async with ground.worker() as running:
        arguments = ground.settings.kafka.client_arguments()
        async with AIOKafkaProducer(**arguments, transactional_id=ground.settings.namespace) as producer:
            for name, is_kept in (("taken back", False), ("kept", True)):
                await producer.begin_transaction()
                event = encoded(envelope("u", await ground.commit(), after=user(1, name=name)))
                await producer.send_and_wait(ground.topic("users"), key=b'{"id": 1}', value=event, partition=0)
                await (producer.commit_transaction() if is_kept else producer.abort_transaction())
        await ground.user_is(1, name="kept")
        assert running.count("freshline_records_total") == 1
        applied_at = time.monotonic()

        async def is_at_the_end() -> bool:
            # Markers lie beyond the watermark, and nothing will ever be read there.
            return running.progress._progressed_at > applied_at

        await eventually(is_at_the_end, "the worker knows that nothing is left")


async def test_a_batch_is_full_where_it_left_something_behind(ground: Ground) -> None:
    """What a replica can do is seen only there (`schemas/work_done.py`)."""
    await ground.change_users([user(number) for number in range(5 * RECORDS_PER_FETCH)], await ground.commit())
    async with ground.worker() as running:
        await ground.all_applied()
        behind = running.worker._applier.done
        assert 3 * RECORDS_PER_FETCH <= behind.full_records < behind.records
        for number in range(20):
            await ground.change_user(user(number, name="Ada"))
            await ground.user_is(number, name="Ada")
        await ground.all_applied()
        after = running.worker._applier.done
        assert after.records == behind.records + 20
        assert after.full_records == behind.full_records


# What is visible.


async def test_a_change_waits_until_its_transaction_is_visible(ground: Ground) -> None:
    async with ground.worker() as running:
        transaction = ground.connection.transaction()
        await transaction.start()
        place = await ground.position()
        await ground.change_user(user(1, name="not yet"), place=place)
        await eventually(running.waits_for_a_commit, "the worker waits for the commit")
        assert await ground.user(1) is None
        await transaction.commit()
        await ground.user_is(1, name="not yet")
        await ground.all_applied()
        await running.until_ready()


async def test_a_worker_that_waits_for_a_commit_stops_when_told_to_and_applies_nothing(ground: Ground) -> None:
    async with ground.connection.transaction():
        async with ground.worker() as running:
            await ground.change_user(user(1), place=await ground.position())
            await eventually(running.waits_for_a_commit, "the worker waits for the commit")
        assert await ground.user(1) is None


async def test_changes_of_transactions_that_cannot_be_are_dead_letters_and_block_nothing(ground: Ground) -> None:
    async with ground.worker() as running:
        for number in (1, 2, 3):
            await ground.change_user(user(number))
        await ground.all_applied()
        transaction = ground.connection.transaction()
        await transaction.start()
        await ground.change_user(user(1, name="aborted"), place=await ground.position())
        await eventually(running.waits_for_a_commit, "the worker waits for the commit")
        await transaction.rollback()
        now = await ground.commit()
        await ground.change_user(user(2, name="of the future"), place=Place(now.lsn, now.xid + 1_000_000))
        await ground.change_user(user(3, name="beyond the log"), place=Place(now.lsn + (1 << 40), now.xid))
        await ground.change_user(user(4))
        await ground.user_is(4)
        assert [await ground.user(number) for number in (1, 2, 3)] == [None, None, None]
        assert running.count("freshline_dead_letters_total", reason="impossible_transaction") == 2
        assert running.count("freshline_dead_letters_total", reason="lsn_of_the_future") == 1
        reasons = [dict(letter.headers)["freshline-reason"] for letter in await ground.letters()]
        assert sorted(reasons) == [b"impossible_transaction", b"impossible_transaction", b"lsn_of_the_future"]
