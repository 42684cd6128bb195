"""Workers of one group: who takes over goes on exactly where the other was, however that one ended."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaError

from infra.redis.effects import Batch
from tests.administrator import administrator
from tests.conftest import MakeSettings
from tests.faults.processes import WorkerProcess, killed_at_the_end
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
    async with administrator(ground.settings) as admin:
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
    async with administrator(ground.settings) as admin:
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
            async with administrator(ground.settings) as admin:
                (described,) = await admin.describe_consumer_groups([settings.group(WRITE_THROUGH)])
            _, _, state, *_ = described.groups[0]
            # It keeps its place for the session timeout, so that nothing moves to others and back.
            assert state == "Stable"


async def test_after_kill_9_in_the_middle_of_a_batch_another_worker_goes_on(ground: Ground, tmp_path: Path) -> None:
    count = 20_000
    process = WorkerProcess(ground.settings, (WRITE_THROUGH,), tmp_path / "worker.log")
    with killed_at_the_end(process):
        await ground.epoch_begins()
        await ground.all_applied()
        process.send(signal.SIGSTOP)
        rows = [user(number, name="new") for number in range(count)]
        await ground.change_users(rows, await ground.commit())
        process.send(signal.SIGCONT)

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
