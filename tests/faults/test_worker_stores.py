"""A worker whose stores go away, come back, or come back as others: it waits, and nothing stale is served."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from infra.local.stack import LocalStack
from tests.administrator import administrator
from tests.faults.processes import WorkerProcess, killed_at_the_end
from tests.integration.worker_ground import WRITE_THROUGH, Ground, RunningWorker, eventually, user

# What k8s/base/worker.yaml grants.
GRACE_S = 60.0


async def make_anew(ground: Ground, topic: str) -> None:
    """Delete a topic and create it again, empty."""
    async with administrator(ground.settings) as admin:
        await admin.delete_topics([topic])

        async def is_gone() -> bool:
            return topic not in await admin.list_topics()

        await eventually(is_gone, "the topic is deleted")
        await admin.create_topics([NewTopic(topic, 2, 1)])

        async def is_there() -> bool:
            return topic in await admin.list_topics()

        await eventually(is_there, "the topic is there again")


async def goes_on(ground: Ground, running: RunningWorker) -> None:
    """Wait until it applies changes again, from where it was."""
    await ground.change_user(user(1, name="after"))
    await ground.user_is(1, name="after")
    await running.until_ready()
    assert running.count("freshline_epochs_total") == 1


async def stops_in_time(running: RunningWorker) -> None:
    """Tell it to stop, and wait for it for no longer than a cluster does."""
    running.worker.stop()

    async def is_over() -> bool:
        return running.task.done()

    await eventually(is_over, "the worker ends", timeout_s=GRACE_S)


async def test_redis_emptied_begins_a_new_epoch_from_the_committed_offset(ground: Ground) -> None:
    async with ground.worker() as running:
        await ground.change_user(user(1))
        await ground.all_applied()
        epoch = (await ground.state()).epoch

        async def is_committed() -> bool:
            async with administrator(ground.settings) as admin:
                offsets = await admin.list_consumer_group_offsets(ground.settings.group(WRITE_THROUGH))
            return TopicPartition(ground.topic("users"), 0) in offsets

        await eventually(is_committed, "the offset is committed")
        await ground.redis.flushall()
        await ground.epoch_begins(after=epoch)
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
        await stops_in_time(running)
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
        await goes_on(ground, running)


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
        await goes_on(ground, running)


async def test_a_worker_stops_while_the_broker_is_away(ground: Ground, stack: LocalStack) -> None:
    try:
        async with ground.worker() as running:
            await ground.change_user(user(1, name="last"))
            await ground.user_is(1, name="last")
            await stack.kafka.kill()
            await stops_in_time(running)
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
    async with administrator(ground.settings) as admin:
        await admin.delete_records({TopicPartition(ground.topic("users"), 0): RecordsToDelete(before_offset=3)})
    async with ground.worker() as running:
        await ground.epoch_begins(after=epoch)
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
        await ground.epoch_begins(after=epoch)
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
        await ground.epoch_begins(after=epoch)
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
        await ground.epoch_begins(after=epoch)
        await running.until_ready()
        assert await ground.user(1) is None


async def test_nothing_is_cached_while_a_topic_is_missing(ground: Ground) -> None:
    async with ground.worker():
        await ground.change_user(user(1, name="stale"))
        await ground.user_is(1, name="stale")
        async with administrator(ground.settings) as admin:
            await admin.delete_topics([ground.topic("documents")])

        async def is_ended() -> bool:
            return not (await ground.state()).epoch

        await eventually(is_ended, "the epoch ends")
        assert await ground.user(1) is None


async def test_memory_does_not_grow_while_redis_is_away(ground: Ground, stack: LocalStack, tmp_path: Path) -> None:
    process = WorkerProcess(ground.settings, (WRITE_THROUGH,), tmp_path / "worker.log")
    with killed_at_the_end(process):
        await ground.epoch_begins()
        await ground.change_user(user(1))
        await ground.user_is(1)
        await stack.valkey.kill()
        memory = psutil.Process(process.pid).memory_info
        before = memory().rss
        rows = [user(number, name="x" * 50_000) for number in range(100)]
        for _ in range(15):
            await ground.change_users(rows, await ground.commit())
        # 75 MB lie in the log; the worker holds a fetch of each partition, and what it was reading.
        grown = memory().rss - before
        assert grown < 25e6
        await stack.valkey.start()
        await ground.all_applied()
