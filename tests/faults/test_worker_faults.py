"""Workers while something goes wrong: nothing is lost, nothing is done twice, nothing stale is served."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaError

from infra.local.stack import LocalStack
from infra.redis.coherence import NO_FLOOR_YET
from infra.redis.effects import Batch
from infra.settings import Settings
from tests.conftest import MakeSettings
from tests.faults.processes import ROOT, environment
from tests.integration.worker_ground import (
    SIZES,
    WRITE_THROUGH,
    Ground,
    conversation,
    envelope,
    eventually,
    open_ground,
    user,
)


@pytest.fixture
async def ground(make_settings: MakeSettings) -> AsyncIterator[Ground]:
    async with open_ground(make_settings(topics=SIZES, worker={"session_timeout_s": 1})) as ground:
        yield ground


@asynccontextmanager
async def worker_process(settings: Settings) -> AsyncIterator[psutil.Process]:
    """A write-through worker in a process of its own, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "freshline",
        "run",
        WRITE_THROUGH,
        cwd=ROOT,
        env=os.environ | environment(settings),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def administrator(ground: Ground) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**ground.settings.kafka.client_arguments())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def make_anew(ground: Ground, topic: str) -> None:
    """Delete a topic and create it again, empty."""
    async with administrator(ground) as admin:
        await admin.delete_topics([topic])

        async def is_gone() -> bool:
            return topic not in await admin.list_topics()

        await eventually(is_gone, "the topic is deleted")
        await admin.create_topics([NewTopic(topic, 2, 1)])

        async def is_there() -> bool:
            return topic in await admin.list_topics()

        await eventually(is_there, "the topic is there again")


async def begun(ground: Ground, former: str) -> None:
    """Wait until an epoch other than this one has begun."""

    async def is_new() -> bool:
        state = await ground.state()
        return state.epoch not in {"", former} and state.floor != NO_FLOOR_YET

    await eventually(is_new, "a new epoch begins")


# Workers among each other.


async def test_two_workers_of_a_group_share_its_partitions_and_one_takes_over_from_the_other(ground: Ground) -> None:
    async with ground.worker() as first, ground.worker() as second:

        async def both_work() -> bool:
            # Each has three of the six partitions of three topics, so one of these four.
            for partition in (0, 1):
                await ground.change_user(user(partition, name=str(time.monotonic())), partition=partition)
                place = await ground.commit()
                event = envelope("u", place, table="conversations", after=conversation(partition, 1))
                await ground.send("conversations", {"id": partition}, event, partition=partition)
            await ground.all_applied(WRITE_THROUGH, "users", "conversations")
            return first.count("freshline_records_total") > 0 and second.count("freshline_records_total") > 0

        await eventually(both_work, "both workers apply records")
    async with ground.worker() as alone:
        for partition in (0, 1):
            await ground.change_user(user(partition, name="after"), partition=partition)
            await ground.user_is(partition, name="after")

        async def are_counted() -> bool:
            # A reader may see what is applied before it is counted.
            return alone.count("freshline_records_total") == 2

        await eventually(are_counted, "both records are applied, and nothing is applied again")
        assert alone.count("freshline_epochs_total") == 0


async def test_a_worker_whose_watermark_another_moved_changes_nothing_and_goes_on_from_there(ground: Ground) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1, name="first"))
        await ground.user_is(1, name="first")
        state = await ground.state()
        (field,) = [name for name in state.watermarks if f"{ground.topic('users')}@" in name and name.endswith("/0")]
        namespace = ground.settings.namespace
        stolen = Batch(namespace, field, 1, 2, state.epoch, 0, 60_000, int(time.time() * 1000), [])
        await ground.coherence.apply([stolen])
        await ground.change_user(user(1, name="applied by another"))
        await ground.change_user(user(2, name="next"))
        await ground.user_is(2, name="next")
        await ground.user_is(1, name="first")
        assert running.count("freshline_epochs_total") == 1


async def test_records_that_are_delivered_again_change_nothing(ground: Ground) -> None:
    async with ground.worker():
        place = await ground.change_user(user(1, name="old"))
        await ground.change_user(user(1, name="new"))
        await ground.all_applied()
    async with administrator(ground) as admin:
        group = ground.settings.group(WRITE_THROUGH)
        offsets = await admin.list_consumer_group_offsets(group)
        assert offsets[TopicPartition(ground.topic("users"), 0)].offset == 2
    # A producer that got no answer sends it again: the same change at another offset.
    async with ground.worker() as running:
        await ground.change_user(user(1, name="old"), place=place)
        await ground.all_applied()
        await ground.user_is(1, name="new")
        assert running.count("freshline_effects_total", effect="contained") == 1
        assert running.count("freshline_records_total") == 1


async def test_a_graceful_stop_commits_what_was_applied_and_leaves_the_group(ground: Ground) -> None:
    group = ground.settings.group(WRITE_THROUGH)
    async with ground.worker():
        for number in range(50):
            await ground.change_user(user(number), partition=number % 2)
        await ground.all_applied()
    async with administrator(ground) as admin:
        (described,) = await admin.describe_consumer_groups([group])
        _, _, state, *_ = described.groups[0]
        assert state == "Empty"
        committed = await admin.list_consumer_group_offsets(group)
        marks = await ground.watermarks(WRITE_THROUGH)
        assert {f"{p.topic}/{p.partition}": at.offset for p, at in committed.items()} == marks
        assert sum(marks.values()) == 50


async def test_a_static_member_that_restarts_goes_on_with_its_partitions(make_settings: MakeSettings) -> None:
    settings = make_settings(topics=SIZES, worker={"session_timeout_s": 10, "instance": "pod-0"})
    async with open_ground(settings) as ground:
        for name in ("first", "second"):
            async with ground.worker() as running:
                await ground.change_user(user(1, name=name))
                await ground.user_is(1, name=name)
                assert running.count("freshline_epochs_total") == (name == "first")
            async with administrator(ground) as admin:
                (described,) = await admin.describe_consumer_groups([settings.group(WRITE_THROUGH)])
            _, _, state, *_ = described.groups[0]
            # It keeps its place for the session timeout, so that nothing moves to others and back.
            assert state == "Stable"


async def test_after_kill_9_in_the_middle_of_a_batch_another_worker_goes_on(ground: Ground) -> None:
    count = 20_000
    async with worker_process(ground.settings) as process:
        await begun(ground, "")
        await ground.all_applied()
        process.suspend()
        rows = [user(number, name="new") for number in range(count)]
        await ground.change_users(rows, await ground.commit())
        process.resume()

        async def is_midway() -> bool:
            applied = (await ground.watermarks(WRITE_THROUGH)).get(f"{ground.topic('users')}/0", 0)
            assert applied < count, "it was done before it could be killed"
            return applied > 0

        await eventually(is_midway, "some of it is applied")
        process.kill()
    async with ground.worker(ready=False):
        await ground.all_applied()
        for number in range(0, count, 997):
            await ground.user_is(number, name="new")


# Redis, Kafka and Postgres.


async def test_redis_emptied_begins_a_new_epoch_from_the_committed_offset(ground: Ground) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1))
        await ground.all_applied()
        epoch = (await ground.state()).epoch

        async def is_committed() -> bool:
            async with administrator(ground) as admin:
                offsets = await admin.list_consumer_group_offsets(ground.settings.group(WRITE_THROUGH))
            return TopicPartition(ground.topic("users"), 0) in offsets

        await eventually(is_committed, "the offset is committed")
        await ground.redis.flushall()
        await begun(ground, epoch)
        await running.until_ready()
        assert running.count("freshline_epochs_total") == 2
        await ground.change_user(user(2))
        await ground.user_is(2)
        # What was committed is not applied again; a reader fills it.
        assert await ground.header("user:1") is None


async def test_redis_killed_and_restarted_is_waited_for_and_served_from_again(
    ground: Ground, stack: LocalStack
) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1, name="before"))
        await ground.user_is(1, name="before")
        await stack.valkey.kill()
        await ground.change_user(user(1, name="meanwhile"))

        async def waits() -> bool:
            return running.progress.describe().startswith("waiting")

        await eventually(waits, "the worker waits for Redis")
        assert running.progress.is_alive
        assert not running.progress.is_ready
        await stack.valkey.start()
        await running.until_ready()
        await ground.change_user(user(1, name="after"))
        await ground.user_is(1, name="after")
        assert running.count("freshline_store_away_total") > 0


async def test_a_worker_that_waits_for_redis_stops_when_told_to(ground: Ground, stack: LocalStack) -> None:
    async with ground.worker() as running:
        await stack.valkey.kill()
        await ground.change_user(user(1))

        async def waits() -> bool:
            return running.count("freshline_store_away_total") > 0

        await eventually(waits, "the worker waits for Redis")
        started = time.monotonic()
    assert time.monotonic() - started < 8
    await stack.valkey.start()


async def test_redis_that_is_full_is_waited_for(ground: Ground) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1, name="before"))
        await ground.user_is(1, name="before")
        limits = {"maxmemory": "1", "maxmemory-policy": "noeviction"}
        former = {name: (await ground.redis.config_get(name))[name] for name in limits}
        for name, value in limits.items():
            await ground.redis.config_set(name, value)
        try:
            await ground.change_user(user(1, name="after"))

            async def waits() -> bool:
                return running.count("freshline_store_away_total") > 1

            await eventually(waits, "the worker waits for Redis")
        finally:
            for name, limit in former.items():
                await ground.redis.config_set(name, limit or "0")
        await ground.user_is(1, name="after")
        assert running.count("freshline_epochs_total") == 1


async def test_a_broker_that_restarts_is_waited_for(ground: Ground, stack: LocalStack) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1, name="before"))
        await ground.user_is(1, name="before")
        await stack.kafka.restart()
        await ground.change_user(user(1, name="after"))
        await ground.user_is(1, name="after")
        await running.until_ready()
        assert running.count("freshline_epochs_total") == 1


async def test_a_broker_that_is_away_for_long_is_waited_for(ground: Ground, stack: LocalStack) -> None:
    async with ground.worker(stuck_after_s=20) as running:
        await ground.change_user(user(1, name="before"))
        await ground.user_is(1, name="before")
        await stack.kafka.kill()
        try:

            async def has_waited_for_it() -> bool:
                assert running.progress.is_alive
                return running.count("freshline_store_away_total") > 5

            await eventually(has_waited_for_it, "the worker waits for Kafka")
        finally:
            await stack.kafka.start()
        await ground.change_user(user(1, name="after"))
        await ground.user_is(1, name="after")
        await running.until_ready()
        assert running.count("freshline_epochs_total") == 1


async def test_a_member_whose_heartbeats_ended_joins_again(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    # A broker answers so for a moment, which can't be made to last: a right is missing, or it failed inside.
    heartbeat = GroupCoordinator._do_heartbeat
    was_refused = asyncio.Event()

    async def refused_once(coordinator: GroupCoordinator) -> bool:
        if was_refused.is_set():
            return bool(await heartbeat(coordinator))
        was_refused.set()
        raise KafkaError("an error that the driver does not know")

    async with ground.worker() as running:
        await ground.change_user(user(1, name="before"))
        await ground.user_is(1, name="before")
        monkeypatch.setattr(GroupCoordinator, "_do_heartbeat", refused_once)
        await was_refused.wait()
        async with ground.worker() as other:
            # It has all partitions before long, and gives half of them back.
            await ground.change_user(user(1, name="after"))
            await ground.user_is(1, name="after")
            await running.until_ready()
        await ground.change_user(user(1, name="later"))
        await ground.user_is(1, name="later")
        assert running.count("freshline_epochs_total") == 1
        assert other.count("freshline_epochs_total") == 0


async def test_a_worker_stops_while_the_broker_is_away(ground: Ground, stack: LocalStack) -> None:
    try:
        async with ground.worker():
            await ground.change_user(user(1, name="last"))
            await ground.user_is(1, name="last")
            await stack.kafka.kill()
            started = time.monotonic()
        assert time.monotonic() - started < 20
    finally:
        await stack.kafka.start()


async def test_postgres_that_restarts_is_waited_for(ground: Ground, stack: LocalStack) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1, name="before"))
        await ground.user_is(1, name="before")
        await stack.postgres.restart()
        await ground.reconnect()
        await ground.change_user(user(1, name="after"))
        await ground.user_is(1, name="after")
        assert running.count("freshline_epochs_total") == 1


async def test_retention_that_overtook_a_worker_begins_a_new_epoch(ground: Ground) -> None:
    async with ground.worker():
        await ground.change_user(user(1, name="stale"))
        await ground.user_is(1, name="stale")
    epoch = (await ground.state()).epoch
    await ground.change_user(user(1, name="lost"))
    await ground.change_user(user(2))
    async with administrator(ground) as admin:
        await admin.delete_records({TopicPartition(ground.topic("users"), 0): RecordsToDelete(before_offset=3)})
    async with ground.worker() as running:
        await begun(ground, epoch)
        await running.until_ready()
        assert running.count("freshline_epochs_total", reason="retention_overtook") == 1
        assert await ground.user(1) is None


async def test_a_topic_made_anew_begins_a_new_epoch_though_it_grew_past_the_watermark(ground: Ground) -> None:
    async with ground.worker():
        await ground.change_user(user(1, name="stale"))
        await ground.user_is(1, name="stale")
    epoch = (await ground.state()).epoch
    await make_anew(ground, ground.topic("users"))
    for number in (1, 2, 3):
        await ground.change_user(user(number))
    async with ground.worker() as running:
        await begun(ground, epoch)
        await running.until_ready()
        await ground.all_applied()
        assert running.count("freshline_epochs_total", reason="watermark_missing") == 1
        # The epoch began after these changes: readers fill them.
        assert [await ground.user(number) for number in (1, 2, 3)] == [None, None, None]


async def test_a_topic_made_anew_under_a_running_worker_begins_a_new_epoch(ground: Ground) -> None:
    async with ground.worker():
        await ground.change_user(user(1, name="stale"))
        await ground.user_is(1, name="stale")
        epoch = (await ground.state()).epoch
        await make_anew(ground, ground.topic("users"))
        for number in (1, 2, 3):
            await ground.change_user(user(number))
        await begun(ground, epoch)
        await ground.all_applied()
        assert await ground.user(1) is None
        await ground.change_user(user(4))
        await ground.user_is(4)


async def test_a_slot_made_anew_begins_a_new_epoch_even_under_load(ground: Ground) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1, name="stale"))
        await ground.user_is(1, name="stale")
        await ground.connection.execute("UPDATE freshline.slot SET generation = gen_random_uuid()")

        async def is_noticed() -> bool:
            await ground.change_user(user(2, name=str(time.monotonic())))
            return running.count("freshline_epochs_total", reason="identity_changed") == 1

        await eventually(is_noticed, "the worker notices the other slot")
        assert await ground.user(1) is None


async def test_nothing_is_cached_while_no_log_is_followed(ground: Ground) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1, name="stale"))
        await ground.user_is(1, name="stale")
        epoch = (await ground.state()).epoch
        await ground.connection.execute("DELETE FROM freshline.slot")

        async def is_ended() -> bool:
            return not (await ground.state()).epoch

        async def is_unready() -> bool:
            return not running.progress.is_ready

        await eventually(is_ended, "the epoch ends")
        assert await ground.user(1) is None
        await eventually(is_unready, "it is told that it is not ready")
        await ground.connection.execute(
            "INSERT INTO freshline.slot (slot_name, created_lsn) VALUES ($1, '0/0')", ground.settings.postgres.slot
        )
        await begun(ground, epoch)
        await running.until_ready()
        assert await ground.user(1) is None


async def test_nothing_is_cached_while_a_topic_is_missing(ground: Ground) -> None:
    async with ground.worker():
        await ground.change_user(user(1, name="stale"))
        await ground.user_is(1, name="stale")
        async with administrator(ground) as admin:
            await admin.delete_topics([ground.topic("documents")])

        async def is_ended() -> bool:
            return not (await ground.state()).epoch

        await eventually(is_ended, "the epoch ends")
        assert await ground.user(1) is None


async def test_memory_does_not_grow_while_redis_is_away(ground: Ground, stack: LocalStack) -> None:
    async with worker_process(ground.settings) as process:
        await begun(ground, "")
        await ground.change_user(user(1))
        await ground.user_is(1)
        await stack.valkey.kill()
        before = process.memory_info().rss
        rows = [user(number, name="x" * 50_000) for number in range(100)]
        for _ in range(15):
            await ground.change_users(rows, await ground.commit())
        # 75 MB lie in the log; the worker holds a fetch of each partition, and what it was reading.
        grown = process.memory_info().rss - before
        assert grown < 25e6
        await stack.valkey.start()
        await ground.all_applied()
