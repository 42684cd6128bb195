"""What the coalescing of document edits promises, against a real Kafka."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.record.util import calc_crc32c
from faust.agents.manager import AgentManager
from prometheus_client import CollectorRegistry

from freshline.source.topics import apply_topics
from infra.metrics import StreamMetrics
from infra.progress import Progress
from infra.settings import Settings, StreamSettings
from schemas.refresh import Refresh
from schemas.voiceassist import VOICEASSIST
from streams.coalescing import FaustStoppedError, open_coalescing
from tests.administrator import administrator
from tests.conftest import MakeSettings
from tests.integration.coalescing_ground import (
    PARTITIONS,
    TABLE,
    DocumentsGround,
    document,
    event,
    open_documents_ground,
)
from tests.integration.worker_ground import encoded, eventually


def waiting(settings: Settings, *, quiet_ms: int, unrest_ms: int) -> Settings:
    """These settings with other times of waiting."""
    return settings.model_copy(update={"stream": StreamSettings(quiet_ms=quiet_ms, unrest_ms=unrest_ms)})


def patient(settings: Settings) -> Settings:
    """The settings of a worker that sends nothing as long as a test lasts, unless it must be sent at once."""
    return waiting(settings, quiet_ms=600_000, unrest_ms=600_000)


@pytest.fixture
async def ground(make_settings: MakeSettings) -> AsyncIterator[DocumentsGround]:
    settings = make_settings(
        topics={"partitions": PARTITIONS},
        worker={"session_timeout_s": 1},
        stream={"quiet_ms": 200, "unrest_ms": 1_000},
    )
    async with open_documents_ground(settings) as ground:
        yield ground


async def test_a_burst_of_edits_becomes_one_record(ground: DocumentsGround) -> None:
    ground.settings = waiting(ground.settings, quiet_ms=2_000, unrest_ms=60_000)
    async with ground.worker() as running:
        for lsn in range(1, 11):
            await ground.change(7, lsn, owner=lsn % 2)
        (refresh,) = await ground.until_refreshed((7, 10))
        assert refresh == Refresh(
            table=TABLE,
            key=(7,),
            lsn=10,
            xid32=1010,
            tags=("document:7", "library:1", "library:0"),
            committed_at_ms=1_700_000_000_010,
            changed_at_ms=1_700_000_000_001,
            changes=10,
        )
        await ground.until_empty()
        assert len(await ground.refreshes()) == 1
        assert running.count("freshline_refreshes_total", why="quiet") == 1
        assert running.count("freshline_stream_events_total", outcome="taken") == 10
        assert running.count("freshline_pending_documents") == 0


async def test_documents_that_do_not_come_to_rest_are_refreshed_all_the_same(ground: DocumentsGround) -> None:
    ground.settings = waiting(ground.settings, quiet_ms=2_000, unrest_ms=2_000)
    async with ground.worker() as running:
        started = time.monotonic()
        lsn = 0
        while running.count("freshline_refreshes_total", why="unrest") < 1:
            assert time.monotonic() - started < 30
            lsn += 1
            await ground.change(7, lsn)
            await asyncio.sleep(0.05)
        assert time.monotonic() - started >= 2.0
        await ground.until_refreshed((7, lsn))
        await ground.until_empty()
        first, *_ = await ground.refreshes()
        assert 1 < first.changes < lsn + 1


async def test_a_deletion_does_not_wait_and_takes_along_what_waited(ground: DocumentsGround) -> None:
    ground.settings = patient(ground.settings)
    async with ground.worker() as running:
        await ground.change(7, 1, owner=3)
        await ground.send({"id": 7}, event("d", {"id": 7, "uploaded_by": 4}, 2), partition=1)
        await ground.send({"id": 7}, None, partition=1)
        (refresh,) = await ground.until_refreshed((7, 2))
        assert refresh.tags == ("document:7", "library:3", "library:4")
        assert refresh.changes == 2
        await ground.until_empty()
        assert running.count("freshline_stream_events_total", outcome="null_value") == 1
        assert running.count("freshline_refreshes_total", why="delete") == 1


async def test_a_truncate_refreshes_the_whole_table_at_once(ground: DocumentsGround) -> None:
    async with ground.worker():
        await ground.send(None, event("t", None, 9), partition=1)
        (refresh,) = await ground.until_refreshed((None, 9))
        assert (refresh.key, refresh.xid32, refresh.tags) == (None, 1009, ("document:*", "library:*"))
        await ground.until_empty()


async def test_rows_of_a_snapshot_are_to_be_compared_unless_a_change_follows(ground: DocumentsGround) -> None:
    async with ground.worker():
        await ground.change(1, 50, op="r")
        await ground.change(2, 50, op="r")
        await ground.change(2, 51)
        found = await ground.until_refreshed((1, 0), (2, 51))
        assert {refresh.key: (refresh.lsn, refresh.xid32) for refresh in found} == {(1,): (0, 0), (2,): (51, 1051)}


async def test_what_can_not_be_used_is_counted_and_passed_over(ground: DocumentsGround) -> None:
    unusable: dict[str, tuple[Any, Any]] = {
        "null_value": ({"id": 1}, None),
        "not_json": ({"id": 1}, b"{"),
        "no_position": ({"id": 1}, event("u", document(1), None)),
        "outside_catalog": ({"id": 1}, event("u", document(1), 1, source={"schema": "public", "table": "other"})),
        "key_mismatch": ({"id": 2}, event("u", document(1), 1)),
        "missing_key": (None, event("u", document(1), 1)),
        "unknown_op": ({"id": 1}, event("u", document(1), 1) | {"op": "x"}),
    }
    async with ground.worker() as running:
        for key, value in unusable.values():
            await ground.send(key, value, partition=1)
        await ground.change(1, 5)
        (refresh,) = await ground.until_refreshed((1, 5))
        assert refresh.changes == 1
        await ground.until_empty()
        for reason in unusable:
            assert running.count("freshline_stream_events_total", outcome=reason) == 1, reason


async def send_unreadable(ground: DocumentsGround) -> None:
    """Put a record on the log whose header is named in Latin-1."""
    async with AIOKafkaProducer(**ground.settings.kafka.client_arguments()) as producer:
        batch = producer.create_batch()
        value = encoded(event("u", document(1), 99))
        batch.append(key=encoded({"id": 1}), value=value, timestamp=None, headers=[("HDRX", b"")])
        batch.close()
        data = batch._build().replace(b"HDRX", "Ärge".encode("latin-1"))
        batch._buffer = data[:17] + calc_crc32c(data[21:]).to_bytes(4, "big") + data[21:]
        await (await producer.send_batch(batch, ground.topic, partition=1))


async def test_a_record_that_the_driver_can_not_read_stops_nothing(ground: DocumentsGround) -> None:
    await send_unreadable(ground)
    await ground.change(1, 1)
    async with ground.worker() as running:
        await ground.until_refreshed((1, 1))
        for lsn in range(2, 12):
            await ground.change(1, lsn)
            await ground.change(2, lsn)
            await send_unreadable(ground)
        found = await ground.until_refreshed((1, 11), (2, 11))
        assert 99 not in {refresh.lsn for refresh in found}
        await ground.until_empty()
        assert running.count("freshline_stream_events_total", outcome="unreadable") == 11


async def test_what_is_pending_survives_a_restart(ground: DocumentsGround) -> None:
    quick, ground.settings = ground.settings, patient(ground.settings)
    async with ground.worker():
        await ground.change(1, 1)
        await ground.change(2, 2)
        await ground.until_committed()
    assert len(await ground.stored()) == 2
    assert await ground.refreshes() == []
    ground.settings = quick
    async with ground.worker():
        await ground.until_refreshed((1, 1), (2, 2))
        await ground.until_empty()
        await ground.change(1, 3)
        await ground.until_refreshed((1, 3))
        await ground.until_empty()
    assert len(await ground.refreshes()) == 3


# Gaps.


async def test_a_log_whose_beginning_is_gone_has_the_table_compared(ground: DocumentsGround) -> None:
    for lsn in range(1, 4):
        await ground.change(1, lsn)
    async with administrator(ground.settings) as admin:
        await admin.delete_records({TopicPartition(ground.topic, 1): RecordsToDelete(before_offset=2)})
    async with ground.worker() as running:
        found = await ground.until_refreshed((None, 0), (1, 3))
        assert [refresh for refresh in found if refresh.key is None] == [Refresh(TABLE)]
        await ground.until_empty()
        assert running.count("freshline_refreshes_total", why="gap") == 1
    async with ground.worker() as running:
        await ground.until_empty()
        assert running.count("freshline_refreshes_total") == 0


async def test_a_new_log_is_read_from_its_beginning_and_nothing_is_compared(ground: DocumentsGround) -> None:
    await ground.change(1, 1)
    async with ground.worker():
        await ground.until_refreshed((1, 1))
        await ground.until_empty()
    assert len(await ground.refreshes()) == 1


async def test_records_that_retention_removed_before_they_were_read_have_the_table_compared(
    ground: DocumentsGround,
) -> None:
    await ground.change(1, 1)
    async with ground.worker():
        await ground.until_refreshed((1, 1))
        await ground.until_empty()
    for lsn in range(2, 5):
        await ground.change(1, lsn)
    async with administrator(ground.settings) as admin:
        await admin.delete_records({TopicPartition(ground.topic, 1): RecordsToDelete(before_offset=3)})
    async with ground.worker() as running:
        await ground.until_refreshed((None, 0), (1, 4))
        await ground.until_empty()
        assert running.count("freshline_refreshes_total", why="gap") == 1


async def make_anew(ground: DocumentsGround) -> None:
    """Delete the topic of documents and create it again, empty."""
    async with administrator(ground.settings) as admin:
        await admin.delete_topics([ground.topic])

        async def is_gone() -> bool:
            return ground.topic not in await admin.list_topics()

        await eventually(is_gone, "the topic is deleted")
        await admin.create_topics([NewTopic(ground.topic, PARTITIONS, 1)])

        async def is_there() -> bool:
            described = await admin.describe_topics([ground.topic])
            return not described[0]["error_code"] and len(described[0]["partitions"]) == PARTITIONS

        await eventually(is_there, "the topic is there again")


async def test_a_topic_that_was_made_anew_is_known_by_its_id(ground: DocumentsGround) -> None:
    await ground.change(1, 1)
    async with ground.worker():
        await ground.until_refreshed((1, 1))
        await ground.until_empty()
    await make_anew(ground)
    # As many records as before: no offset tells that it is another topic.
    await ground.change(1, 2)
    async with ground.worker():
        await ground.until_refreshed((None, 0), (1, 2))
        await ground.until_empty()


async def test_a_topic_that_is_made_anew_under_a_worker_has_the_table_compared(ground: DocumentsGround) -> None:
    await ground.change(1, 1)
    async with ground.supervised_worker():
        await ground.until_refreshed((1, 1))
        await ground.until_committed()
        await make_anew(ground)
        await ground.change(1, 2)
        await ground.until_refreshed((None, 0), (1, 2))
        await ground.until_empty()


async def test_a_table_that_was_lost_has_its_documents_compared(ground: DocumentsGround) -> None:
    await ground.change(1, 1)
    async with ground.worker():
        await ground.until_refreshed((1, 1))
        await ground.until_empty()
    async with administrator(ground.settings) as admin:
        await admin.delete_topics([ground.changelog])

        async def is_gone() -> bool:
            return ground.changelog not in await admin.list_topics()

        await eventually(is_gone, "the changelog is deleted")
    async with ground.worker():
        await ground.until_refreshed((None, 0))
        await ground.until_empty()


# How it works with Faust.


async def test_records_that_are_dropped_on_their_way_are_fetched_again(ground: DocumentsGround) -> None:
    async with ground.worker() as running:
        await ground.change(1, 1)
        await ground.until_refreshed((1, 1))
        taken = running.coalescing._take
        dropped: list[int] = []

        async def lossy(message: Any) -> None:
            if message.offset not in dropped and 2 <= message.offset <= 4:
                dropped.append(message.offset)
                return
            await taken(message)

        running.coalescing._take = lossy  # type: ignore[method-assign]
        # So many that they are still being delivered when the lost ones are sought.
        await asyncio.gather(*[ground.change(2 * lsn + 1, lsn) for lsn in range(2, 500)])
        await ground.until_refreshed(*[(2 * lsn + 1, lsn) for lsn in range(2, 500)])
        await ground.until_empty()
        assert dropped == [2, 3, 4]
        assert running.count("freshline_stream_sought_again_total") == 1


async def test_markers_of_transactions_are_no_loss(ground: DocumentsGround) -> None:
    async with ground.worker() as running:
        arguments = ground.settings.kafka.client_arguments()
        async with AIOKafkaProducer(**arguments, transactional_id=ground.settings.namespace) as producer:
            for lsn in range(1, 6):
                async with producer.transaction():
                    value = json.dumps(event("u", document(1), lsn)).encode()
                    await producer.send(ground.topic, key=b'{"id": 1}', value=value, partition=1)
            await producer.begin_transaction()
            value = json.dumps(event("u", document(1), 77)).encode()
            await producer.send_and_wait(ground.topic, key=b'{"id": 1}', value=value, partition=1)
            await producer.abort_transaction()
        found = await ground.until_refreshed((1, 5))
        assert 77 not in {refresh.lsn for refresh in found}
        await running.until_ready()
        assert running.count("freshline_stream_sought_again_total") == 0


async def test_more_partitions_need_a_restart_and_no_more(ground: DocumentsGround) -> None:
    await ground.change(1, 1)
    async with ground.worker():
        await ground.until_refreshed((1, 1))
        await ground.until_empty()
    grown = {"topics": ground.settings.topics.model_copy(update={"partitions": PARTITIONS + 1})}
    ground.settings = ground.settings.model_copy(update=grown)
    await apply_topics(ground.settings, VOICEASSIST, add_partitions=True)
    async with ground.worker():
        async with AIOKafkaProducer(**ground.settings.kafka.client_arguments()) as producer:
            value = encoded(event("u", document(3), 2))
            await producer.send_and_wait(ground.topic, key=b'{"id": 3}', value=value, partition=PARTITIONS)
        await ground.until_refreshed((3, 2))


# Whether it gets anywhere.


async def test_of_two_workers_both_are_ready_and_stay_alive(ground: DocumentsGround) -> None:
    async with ground.worker(stuck_after_s=3) as one, ground.worker(stuck_after_s=3) as other:
        for lsn in range(1, 41):
            await ground.change(lsn, lsn)
            await asyncio.sleep(0.1)
        await ground.until_refreshed((39, 39), (40, 40))
        # Longer than it takes to be given up: only one of them shares out the partitions.
        await asyncio.gather(one.until_ready(), other.until_ready())
        assert one.progress.is_alive
        assert other.progress.is_alive


async def test_a_worker_that_gets_no_events_although_there_are_some_is_not_alive(ground: DocumentsGround) -> None:
    async with ground.worker(stuck_after_s=3) as running:
        await ground.change(1, 1)
        await ground.until_refreshed((1, 1))
        await ground.until_empty()
        assert running.progress.is_alive
        taken, running.coalescing._take = running.coalescing._take, _nothing  # type: ignore[method-assign,assignment]
        await ground.change(1, 2)

        async def is_dead() -> bool:
            return not running.progress.is_alive

        await eventually(is_dead, "the worker is taken for dead")
        running.coalescing._take = taken  # type: ignore[method-assign]
    async with ground.worker():
        await ground.until_refreshed((1, 2))


async def _nothing(_: Any) -> None:
    """Faust delivers no more."""


async def test_a_worker_that_sends_nothing_although_something_is_due_is_not_alive(ground: DocumentsGround) -> None:
    async with ground.worker(stuck_after_s=3) as running:
        await running.coalescing.coalescer._turning.acquire()
        await ground.change(1, 1)

        async def is_dead() -> bool:
            return not running.progress.is_alive

        await eventually(is_dead, "the worker is taken for dead")
        running.coalescing.coalescer._turning.release()
        await ground.until_refreshed((1, 1))


async def test_a_worker_whose_faust_stops_by_itself_ends(ground: DocumentsGround) -> None:
    metrics = StreamMetrics(CollectorRegistry())
    async with open_coalescing(ground.settings, VOICEASSIST, metrics, Progress()) as coalescing:
        task = asyncio.create_task(coalescing.run())
        await ground.change(1, 1)
        await ground.until_refreshed((1, 1))
        await coalescing._app.crash(RuntimeError("for the test"))
        with pytest.raises(FaustStoppedError):
            await task


async def test_a_member_that_waited_for_its_turn_restores_what_it_takes_over(
    ground: DocumentsGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.settings = patient(ground.settings)
    async with AsyncExitStack() as stack:
        contexts = [AsyncExitStack() for _ in range(PARTITIONS + 1)]
        members = [
            await (await stack.enter_async_context(each)).enter_async_context(ground.worker()) for each in contexts
        ]
        for number in range(10):
            await ground.change(number, number + 1)

        async def have_all() -> bool:
            return sum(member.coalescing.coalescer.pending for member in members) == 10

        await eventually(have_all, "all edits are pending")
        (waiting_one,) = [member for member in members if not member.coalescing.coalescer.lanes]
        rebalanced = AgentManager.on_rebalance

        async def slowly(manager: AgentManager, *partitions: Any) -> None:
            # It waits for records all the while, and would be given those of its changelogs once it seeks there.
            await asyncio.sleep(1.5)
            await rebalanced(manager, *partitions)

        monkeypatch.setattr(AgentManager, "on_rebalance", slowly)
        for member, context in zip(members, contexts, strict=True):
            if member is not waiting_one:
                await context.aclose()

        async def has_all() -> bool:
            return waiting_one.coalescing.coalescer.pending == 10

        await eventually(has_all, "what was pending is restored")
