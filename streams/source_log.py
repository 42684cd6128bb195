"""What the source topics hold, asked beside Faust: it tells whether Faust delivered all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from infra.kafka.driver import REQUEST_TIMEOUT_MS, kafka_errors, stop_consumer
from infra.kafka.log import Partition
from infra.kafka.topic_ids import topic_ids

_FETCH_TIMEOUT_MS: Final = 200


class SourceLog:
    """Looks, and changes nothing. Made by ``open_source_log``."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._reading = asyncio.Lock()

    async def bounds(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """First offset and the one after the last, by partition.

        Raises:
            StoreUnavailableError: Kafka does not answer.
        """
        with kafka_errors():
            first = await self._consumer.beginning_offsets(list(partitions))
            end = await self._consumer.end_offsets(list(partitions))
        return {partition: (first[partition], end[partition]) for partition in partitions}

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """The ids of those of these topics that exist.

        Raises:
            StoreUnavailableError: Kafka does not answer.
        """
        with kafka_errors():
            # The driver has no public way to send a request of its own kind.
            return await topic_ids(self._consumer._client, topics)  # noqa: SLF001

    async def first_readable(self, partition: Partition, start: int, end: int) -> int | None:
        """The offset of the first record from ``start`` on and before ``end``; None where there is none.

        Between records lie markers of transactions, what compaction removed, and records that nobody can read.

        Raises:
            StoreUnavailableError: Kafka does not answer.
        """
        consumer = self._consumer
        async with self._reading:
            with kafka_errors():
                consumer.assign([partition])
                consumer.seek(partition, start)
                while (at := await consumer.position(partition)) < end:
                    try:
                        fetched = await consumer.getmany(partition, max_records=1, timeout_ms=_FETCH_TIMEOUT_MS)
                    except UnicodeDecodeError:
                        consumer.seek(partition, at + 1)
                        continue
                    for record in fetched.get(partition, ()):
                        return int(record.offset) if record.offset < end else None
        return None


@asynccontextmanager
async def open_source_log(arguments: Mapping[str, Any]) -> AsyncIterator[SourceLog]:
    """An observer of the log.

    Raises:
        StoreUnavailableError: Kafka does not answer.
    """
    consumer = AIOKafkaConsumer(
        **arguments,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    try:
        with kafka_errors():
            await consumer.start()
        yield SourceLog(consumer)
    finally:
        await stop_consumer(consumer)
