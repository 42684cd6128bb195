"""Looks at topics without being a member of any group: where they end, and every record of one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.kafka.driver import kafka_errors, stop_consumer
from infra.kafka.log import Partition, Record
from infra.kafka.topic_ids import topic_ids
from infra.kafka.topics import open_topics
from schemas.errors import FreshlineError

_FETCH_TIMEOUT_MS: Final = 200


class TopicMissingError(FreshlineError):
    """A topic that is needed does not exist."""


class LogBrowser:
    """Reads, and changes nothing. Made by ``open_browser``."""

    def __init__(self, consumer: AIOKafkaConsumer, arguments: Mapping[str, Any]) -> None:
        self._consumer = consumer
        self._arguments = arguments

    async def partitions(self, topics: Iterable[str]) -> list[Partition]:
        """Every partition of these topics.

        Raises:
            TopicMissingError: one of them does not exist.
            StoreUnavailableError: Kafka does not answer.
        """
        names = list(topics)
        async with open_topics(self._arguments) as admin:
            found = await admin.find(names)
        missing = [name for name in names if name not in found]
        if missing:
            raise TopicMissingError(f"Kafka has no topic {', '.join(missing)}. Run `freshline topics apply` first.")
        return [TopicPartition(name, number) for name in names for number in range(found[name].partitions)]

    async def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The offset after the last record, by partition.

        Raises:
            StoreUnavailableError: Kafka does not answer.
        """
        with kafka_errors():
            return dict(await self._consumer.end_offsets(list(partitions)))

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The id of each of these topics: one that was made anew has another.

        Raises:
            StoreUnavailableError: Kafka does not answer.
        """
        with kafka_errors():
            # The driver has no public way to send a request of its own kind.
            return await topic_ids(self._consumer._client, topics)  # noqa: SLF001

    async def read(self, topic: str) -> AsyncIterator[Record]:
        """Every record that the topic holds now, partition by partition in no order, each in the order of offsets.

        Raises:
            TopicMissingError: it does not exist.
            StoreUnavailableError: Kafka does not answer.
        """
        ends = await self.ends(await self.partitions([topic]))
        with kafka_errors():
            starts = await self._consumer.beginning_offsets(list(ends))
        waiting = {partition for partition, end in ends.items() if end > starts[partition]}
        if not waiting:
            return
        with kafka_errors():
            self._consumer.assign(list(waiting))
            await self._consumer.seek_to_beginning(*waiting)
        while waiting:
            with kafka_errors():
                fetched = await self._consumer.getmany(*waiting, timeout_ms=_FETCH_TIMEOUT_MS)
            for partition, records in fetched.items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield record
            with kafka_errors():
                waiting = {p for p in waiting if await self._consumer.position(p) < ends[p]}


@asynccontextmanager
async def open_browser(arguments: Mapping[str, Any]) -> AsyncIterator[LogBrowser]:
    """A browser of the log.

    Args:
        arguments: where Kafka is and who asks, as ``KafkaSettings.client_arguments`` gives them.

    Raises:
        StoreUnavailableError: Kafka does not answer or refuses us.
    """
    consumer = AIOKafkaConsumer(
        **arguments, group_id=None, enable_auto_commit=False, max_partition_fetch_bytes=32 * 1024 * 1024
    )
    try:
        with kafka_errors():
            await consumer.start()
        yield LogBrowser(consumer, arguments)
    finally:
        await stop_consumer(consumer)
