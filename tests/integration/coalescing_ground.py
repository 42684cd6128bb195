"""A test's own topics for the coalescing of document edits, and workers that run in the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from prometheus_client import CollectorRegistry

from freshline.source.topics import apply_topics
from infra.cancellation import cancel
from infra.kafka.browser import TopicMissingError, open_browser
from infra.metrics import StreamMetrics
from infra.progress import Progress
from infra.settings import Settings
from schemas.errors import SourceChangedError
from schemas.refresh import Refresh, decode_refresh
from schemas.voiceassist import VOICEASSIST
from streams.coalescing import Coalescing, open_coalescing
from streams.stored import parse_key
from tests.administrator import administrator
from tests.integration.worker_ground import TIMEOUT_S, Running, encoded, eventually

TABLE = "public.documents"
PARTITIONS = 2


def document(number: int, owner: int = 1, **changes: Any) -> dict[str, Any]:
    """A row of documents, as much of it as matters."""
    return {"id": number, "uploaded_by": owner, "title": "t", "content": "c"} | changes


def event(op: str, row: Mapping[str, Any] | None, lsn: int | None, **changes: Any) -> dict[str, Any]:
    """A change event as Debezium writes it."""
    source = {"schema": "public", "table": "documents", "ts_ms": 1_700_000_000_000 + (lsn or 0)}
    if lsn is not None:
        source |= {"lsn": lsn, "txId": 1000 + lsn}
    old = {"before": row, "after": None} if op == "d" else {"before": None, "after": row}
    return {"op": op, **old, "source": source} | changes


@dataclass
class RunningCoalescing(Running):
    """A worker that runs in the test's own loop."""

    coalescing: Coalescing
    progress: Progress
    registry: CollectorRegistry
    task: asyncio.Task[None]


class DocumentsGround:
    """A test's own topics, and what can be done there."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self.settings = settings
        self.topic = settings.table_topic(TABLE)
        self.changelog = f"{settings.group('coalescing')}-{TABLE}-changelog"
        self._producer = producer

    # The log.

    async def change(self, number: int, lsn: int, *, op: str = "u", owner: int = 1, **changes: Any) -> None:
        """A document changed."""
        await self.send(
            {"id": number}, event(op, document(number, owner), lsn, **changes), partition=number % PARTITIONS
        )

    async def send(self, key: Any, value: Any, *, partition: int = 0, headers: Any = ()) -> None:
        """Put a record on the topic; what is no bytes is written as JSON."""
        await self._producer.send_and_wait(
            self.topic,
            key=key if key is None or isinstance(key, bytes) else encoded(key),
            value=value if value is None or isinstance(value, bytes) else encoded(value),
            headers=list(headers),
            partition=partition,
        )

    async def refreshes(self) -> list[Refresh]:
        """Every record that was sent."""
        async with open_browser(self.settings.kafka.client_arguments()) as browser:
            records = [record async for record in browser.read(self.settings.refresh_topic)]
        found = [decode_refresh(record.value) for record in records]
        assert [refresh.record_key for refresh in found] == [record.key for record in records]
        return found

    async def until_refreshed(self, *wanted: tuple[int | None, int], timeout_s: float = TIMEOUT_S) -> list[Refresh]:
        """Wait until these documents are refreshed as of these positions, and return every record."""

        async def are_there() -> list[Refresh] | None:
            found = await self.refreshes()
            have = {(None if refresh.key is None else refresh.key[0], refresh.lsn) for refresh in found}
            return found if have >= set(wanted) else None

        found: list[Refresh] = await eventually(are_there, f"records for {wanted}", timeout_s)
        return found

    async def stored(self) -> dict[bytes, bytes]:
        """What the changelog holds of documents, as whoever takes over would find it."""
        held: dict[bytes, bytes] = {}
        async with open_browser(self.settings.kafka.client_arguments()) as browser:
            async for record in browser.read(self.changelog):
                if record.key is not None and parse_key(record.key).writer:
                    held.pop(record.key, None)
                    if record.value is not None:
                        held[record.key] = record.value
        return held

    async def committed(self) -> dict[int, int]:
        """The group's offsets."""
        async with administrator(self.settings) as admin:
            found = await admin.list_consumer_group_offsets(self.settings.group("coalescing"))
        return {partition.partition: found[partition].offset for partition in found if partition.topic == self.topic}

    async def until_committed(self) -> None:
        """Wait until the group has committed everything that is on the topic."""
        partitions = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
        async with open_browser(self.settings.kafka.client_arguments()) as browser:
            ends = {partition.partition: end for partition, end in (await browser.ends(partitions)).items()}

        async def is_so() -> bool:
            return await self.committed() == ends

        await eventually(is_so, f"{ends} are committed")

    async def until_empty(self) -> None:
        """Wait until everything is committed and nothing is pending."""
        await self.until_committed()

        async def is_so() -> bool:
            return not await self.stored()

        await eventually(is_so, "nothing is pending")

    # Workers.

    @asynccontextmanager
    async def worker(self, *, stuck_after_s: float = 60) -> AsyncIterator[RunningCoalescing]:
        """A worker that runs until the end of the block, and is then stopped gracefully."""
        registry, progress = CollectorRegistry(), Progress(stuck_after_s)
        async with open_coalescing(self.settings, VOICEASSIST, StreamMetrics(registry), progress) as coalescing:
            task = asyncio.create_task(coalescing.run())
            running = RunningCoalescing(coalescing, progress, registry, task)
            try:
                await running.until_ready()
                yield running
            finally:
                coalescing.stop()
                await task

    @asynccontextmanager
    async def supervised_worker(self) -> AsyncIterator[None]:
        """A worker that is started again whenever it ends by itself because the log is another one, or is not there."""

        async def supervise() -> None:
            while True:
                with suppress(SourceChangedError, TopicMissingError):
                    async with open_coalescing(
                        self.settings, VOICEASSIST, StreamMetrics(CollectorRegistry()), Progress()
                    ) as coalescing:
                        await coalescing.run()

        task = asyncio.create_task(supervise())
        try:
            yield
        finally:
            await cancel(task)


@asynccontextmanager
async def open_documents_ground(settings: Settings) -> AsyncIterator[DocumentsGround]:
    """Topics, and a producer for them."""
    await apply_topics(settings, VOICEASSIST)
    producer = AIOKafkaProducer(**settings.kafka.client_arguments(), acks="all")
    await producer.start()
    try:
        yield DocumentsGround(settings, producer)
    finally:
        await producer.stop()
