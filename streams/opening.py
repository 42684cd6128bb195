"""Taking partitions over: where to read on, and what was lost before anybody read it.

    restored ▸ ids, bounds, committed ▸ start ▸ gaps are filled ▸ the topic is remembered ▸ commit ▸ seek

Each step is acknowledged before the next, so that a crash in between has it all done again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

from aiokafka import TopicPartition

from infra.logs import logger
from infra.metrics import StreamMetrics
from schemas.errors import SourceChangedError, StoreUnavailableError
from schemas.refresh import Refresh
from streams.lanes import Found, Start, start_of
from streams.pending import GAP
from streams.source_log import SourceLog
from streams.sources import Sources
from streams.stored import topic_id_key

_log = logger("streams")

_RETRY_EVERY_S: Final = 0.5


class Opening:
    """Finds the places of partitions in their logs.

    Attributes:
        topic_ids: the ids of the topics when partitions were last taken over.
    """

    def __init__(self, sources: Sources, log: SourceLog, metrics: StreamMetrics) -> None:
        self._sources = sources
        self._log = log
        self._metrics = metrics
        self.topic_ids: Mapping[str, str] = {}

    async def begin(self, assigned: set[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets that the partitions of these that are sources are read from; Faust's consumer is there.

        Raises:
            SourceChangedError: a topic is gone, or has got other partitions.
        """
        partitions = sorted(partition for partition in assigned if partition.topic in self._sources)
        for topic, number in partitions:
            if TopicPartition(self._sources[topic].changelog, number) not in assigned:
                raise SourceChangedError(f"Topic {topic} has got other partitions. The worker starts again with them.")
        starts = await self._find(partitions)
        await self._fill_gaps(starts)
        await self._remember(partitions)
        offsets = {partition: start.offset for partition, start in starts.items()}
        if offsets:
            await self._sources.commit(offsets)
        await self._sources.consumer.seek_wait(offsets)
        return offsets

    async def _find(self, partitions: list[TopicPartition]) -> dict[TopicPartition, Start]:
        bounds = await self._look(partitions)
        committed = await self._sources.consumer.committed_offsets(partitions)
        starts = {}
        for partition in partitions:
            found = Found(
                committed=committed[partition],
                known_id=self._sources[partition.topic].topic_id(partition.partition),
                topic_id=self.topic_ids[partition.topic],
                first=bounds[partition][0],
                end=bounds[partition][1],
            )
            starts[partition] = start_of(found)
            if starts[partition].is_gap:
                _log.warning("gap", topic=partition.topic, partition=partition.partition, **found._asdict())
        return starts

    async def _look(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        while True:
            try:
                self.topic_ids = await self._log.topic_ids(list(self._sources))
                bounds = await self._log.bounds(partitions)
            except StoreUnavailableError as error:
                _log.warning("store_away", error=str(error))
                await asyncio.sleep(_RETRY_EVERY_S)
                continue
            gone = sorted(self._sources.keys() - self.topic_ids.keys())
            if gone:
                raise SourceChangedError(f"Topic {', '.join(gone)} is gone. Run `freshline topics apply`.")
            return bounds

    async def _fill_gaps(self, starts: Mapping[TopicPartition, Start]) -> None:
        """Have all documents of a table compared that lost changes."""
        lacking = sorted({partition.topic for partition, start in starts.items() if start.is_gap})
        await asyncio.gather(*[await self._sources.emit(Refresh(self._sources[topic].name)) for topic in lacking])
        self._metrics.refreshes.labels(GAP).inc(len(lacking))

    async def _remember(self, partitions: Collection[TopicPartition]) -> None:
        """Remember which topics the offsets are of: before there are any, since Kafka forgets them with the topic."""
        sent = [
            await self._sources.store(topic, number, topic_id_key(number), self.topic_ids[topic].encode())
            for topic, number in partitions
            if self._sources[topic].topic_id(number) != self.topic_ids[topic]
        ]
        await asyncio.gather(*sent)
