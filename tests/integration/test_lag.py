"""Lag, against somebody who counts by reading everything: after whatever may happen to a log and to a group."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from random import Random

import pytest

from freshline.cli.main import main
from freshline.lag.report import GroupLag
from freshline.lag.watch import LagWatch, Watched
from infra.kafka.observer import open_observer
from infra.local.stack import LocalStack
from infra.settings import DemandSettings, Settings
from schemas.errors import StoreUnavailableError
from tests.conftest import MakeSettings
from tests.integration.lag_ground import Hands, History, open_counter, open_hands
from tests.integration.worker_ground import SIZES, WRITE_THROUGH, eventually, open_ground, user

HISTORIES = 100
STEPS = 12
AT_ONCE = 8
# So many histories apart, one ends with a member that is killed.
KILLED_EVERY = 5


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings(topics=SIZES)


@pytest.fixture
async def hands(settings: Settings) -> AsyncIterator[Hands]:
    async with open_hands(settings) as opened:
        yield opened


@pytest.fixture
async def history(hands: Hands) -> AsyncIterator[History]:
    history = History(hands)
    yield history
    await history.close()


async def looked_at(settings: Settings, *histories: History) -> list[GroupLag]:
    """What a watch says that has seen nothing before."""
    async with open_observer(settings.kafka.client_arguments()) as observer:
        watched = Watched({each.group: [each.topic] for each in histories})
        return await LagWatch(observer, watched).round()


async def is_counted_right(settings: Settings, hands: Hands, *histories: History) -> list[GroupLag]:
    """Look, and count."""
    began_s = time.time()
    groups = await looked_at(settings, *histories)
    ended_s = time.time()
    async with open_counter(hands) as counter:
        for history, group in zip(histories, groups, strict=True):
            counted = await counter.counted(history)
            assert [each.messages for each in group.partitions] == [each.messages for each in counted], history.told
            for partition, (_, since_s) in zip(group.partitions, counted, strict=True):
                assert partition.seconds is not None
                if since_s is None:
                    assert partition.seconds == 0
                else:
                    assert began_s - since_s - 0.002 <= partition.seconds <= ended_s - since_s + 0.002, history.told
    return groups


async def test_random_histories_are_counted_exactly(settings: Settings, hands: Hands) -> None:
    histories = [History(hands) for _ in range(HISTORIES)]
    running = asyncio.Semaphore(AT_ONCE)

    async def lived(number: int, history: History) -> None:
        async with running:
            await live(history, Random(number))
            if number % KILLED_EVERY == 0:
                await history.die()

    try:
        async with asyncio.TaskGroup() as living:
            for number, history in enumerate(histories):
                living.create_task(lived(number, history))
        groups = await is_counted_right(settings, hands, *histories)
    finally:
        await asyncio.gather(*(history.close() for history in histories))
    assert sum(bool(group.messages) for group in groups) > HISTORIES / 3
    assert sum(each.overtaken > 0 for group in groups for each in group.partitions) > 0


async def live(history: History, random: Random) -> None:
    """One thing after the other."""
    await history.make(random.randint(1, 3))
    kinds = ("send", "send", "commit", "commit", "abort", "open", "settle", "settle", "reset", "retain", "add", "anew")
    for _ in range(STEPS):
        partition = random.randrange(history.partitions)
        start, end = await history.bounds(partition)
        match kind := random.choice(kinds):
            case "send":
                await history.send(partition, random.randint(1, 5))
            case "commit" | "abort":
                await history.transact(partition, random.randint(1, 3), kind)
            case "open" if not history.has_open_transactions:
                await history.transact(partition, random.randint(1, 2), kind)
            case "settle":
                await history.commit(partition, end)
            case "reset":
                await history.commit(partition, random.randint(0, end + 3))
            case "retain":
                await history.retain(partition, random.randint(start, end))
            case "add" if history.partitions < 5:
                await history.add_partition()
            case "anew" if not history.has_open_transactions:
                await history.make_anew()
            case _:
                continue


async def test_what_compaction_took_away_is_not_waited_for(settings: Settings, hands: Hands, history: History) -> None:
    await history.make(
        1,
        **{
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.001",
            "segment.ms": "100",
            "max.compaction.lag.ms": "1000",
        },
    )
    await history.send(0, 20, keys=1)

    async def is_compacted() -> bool:
        # A segment is closed, and may then be compacted, only when another record comes.
        await history.send(0, 1, keys=1)
        return await history.first_unread(0, 2) > 10

    await eventually(is_compacted, "records are compacted away", timeout_s=120)
    await history.commit(0, 2)

    async def is_right() -> GroupLag | None:
        first = await history.first_unread(0, 2)
        try:
            (group,) = await is_counted_right(settings, hands, history)
        except AssertionError:
            # Kafka may have gone on compacting between the looking and the counting.
            if await history.first_unread(0, 2) == first:
                raise
            return None
        return group

    group = await eventually(is_right, "both see the same log")
    assert group.messages


async def test_records_in_large_batches_are_found(settings: Settings, hands: Hands, history: History) -> None:
    await history.make(1)
    await history.send(0, 3, size=300_000)
    await history.commit(0, 1)
    (group,) = await is_counted_right(settings, hands, history)
    assert group.messages == 2


async def test_a_long_line_of_what_was_taken_back_is_looked_through_once(settings: Settings, history: History) -> None:
    await history.make(1)
    for _ in range(30):
        await history.transact(0, 1, "abort")
    async with open_observer(settings.kafka.client_arguments()) as observer:
        watch = LagWatch(observer, Watched({history.group: [history.topic]}))
        (group,) = await watch.round()
        assert group.messages == 0
        await history.send(0, 1)
        (group,) = await watch.round()
        assert group.messages == 61


async def test_a_topic_that_is_made_anew_and_one_that_is_gone(settings: Settings, history: History) -> None:
    await history.make(2)
    await history.send(0, 3)
    await history.commit(0, 3)
    async with open_observer(settings.kafka.client_arguments()) as observer:
        watch = LagWatch(observer, Watched({}, patterns=[history.group]))
        (group,) = await watch.round()
        assert [each.messages for each in group.partitions] == [0, 0]
        await history.make_anew()
        await history.send(0, 2)
        await history.commit(1, 0)
        (group,) = await watch.round()
        assert [each.messages for each in group.partitions] == [2, 0]
        await history.delete()
        (group,) = await watch.round()
        assert group.partitions == []
        assert group.status == "ok"


async def test_nobody_in_the_group_is_told_and_a_worker_says_how_fast_it_is(settings: Settings) -> None:
    group_name = settings.group(WRITE_THROUGH)
    async with open_ground(settings) as ground:
        await ground.send("users", {"id": 1}, None)
        async with open_observer(settings.kafka.client_arguments()) as observer:
            topics = [ground.topic("users"), ground.topic("conversations"), ground.topic("documents")]
            watch = LagWatch(observer, Watched({group_name: topics}, scaled={group_name: DemandSettings()}))
            await watch.round()
            (group,) = await watch.round()
            assert (group.status, group.messages, group.members) == ("stopped", 1, 0)
            assert group.demand is not None
            assert (group.demand.replicas, group.demand.reason) == (1, "no_rate")
            async with ground.worker(WRITE_THROUGH):
                for number in range(20):
                    await ground.change_user(user(number))

                async def is_known() -> bool:
                    (found,) = await watch.round()
                    assert found.demand is not None
                    return found.messages == 0 and found.demand.reason == "load"

                await eventually(is_known, "its rate is known")
                (group,) = await watch.round()
                assert (group.status, group.members) == ("ok", 1)
                assert group.demand is not None
                assert group.demand.replicas == 1


async def test_while_no_broker_answers_nothing_is_0(settings: Settings, stack: LocalStack, history: History) -> None:
    await history.make(2)
    await history.send(0, 3)
    watched = Watched({history.group: [history.topic]}, scaled={history.group: DemandSettings()})
    async with open_observer(settings.kafka.client_arguments()) as observer:
        watch = LagWatch(observer, watched)
        await watch.round()
        (group,) = await watch.round()
        assert group.messages == 3
        await stack.kafka.kill()
        try:
            with pytest.raises(StoreUnavailableError):
                await watch.round()
            (group,) = watch.unknown()
            assert [each.status for each in group.partitions] == ["unknown", "unknown"]
            assert (group.status, group.messages, group.seconds) == ("unknown", None, None)
            assert group.demand is not None
            assert group.demand.reason == "unknown"
        finally:
            await stack.kafka.start()

        async def is_back() -> bool:
            (found,) = await watch.round()
            return found.messages == 3

        await eventually(is_back, "it is known again")


async def test_the_command_says_it_in_a_table_and_in_json_and_by_its_end(
    settings: Settings, history: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRESHLINE_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)
    await history.make(2)
    await history.send(1, 3)
    await history.commit(1, 1)

    async def ended(*arguments: str) -> int:
        return await asyncio.to_thread(main, ["lag", *arguments])

    assert await ended(history.group, "--partitions") == 1
    printed = capsys.readouterr().out
    assert f"{history.topic}/1" in printed
    assert "stopped: nobody is in the group" in printed
    assert await ended(history.group, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    (group,) = found["groups"]
    assert (group["status"], group["messages"]) == ("stopped", 2)
    assert found["source"] is None
    await history.commit(1, 3)
    assert await ended(history.group) == 0
    assert "ok" in capsys.readouterr().out
    assert await ended("nobody-*") == 2
    assert "Kafka knows no group nobody-*" in capsys.readouterr().err


async def test_the_command_goes_on_looking_and_prints_a_line_each_time(settings: Settings, history: History) -> None:
    await history.make(1)
    await history.send(0, 3)
    await history.commit(0, 1)
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "freshline", "lag", history.group, "--watch", "--json"),
        env=os.environ | {"FRESHLINE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers},
        stdout=PIPE,
    )
    lines = command.stdout
    assert lines is not None

    async def until(messages: int) -> None:
        async for line in lines:
            (group,) = json.loads(line)["groups"]
            if group["messages"] == messages:
                return
        pytest.fail("it ended")

    try:
        async with asyncio.timeout(60):
            await until(2)
            await history.send(0, 5)
            await until(7)
            command.send_signal(signal.SIGINT)
            assert await command.wait() == 130
    finally:
        if command.returncode is None:
            command.kill()
            await command.wait()
