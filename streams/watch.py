"""Whether the worker gets anywhere, and whether the log is still the one that it reads.

Faust can stop without an error: an agent that no longer gets events, a recovery or a rebalance that does not end. So it
is looked at from outside: offsets that move while there is something to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition

from infra.kafka.topic_ids import UNKNOWN
from schemas.errors import SourceChangedError
from streams.coalescer import Coalescer
from streams.opening import Opening
from streams.source_log import SourceLog
from streams.sources import Sources

# A record that is due goes out with the next turn, unless something hangs.
_LONGEST_OVERDUE_S: Final = 5.0


class Watch:
    """Looks at an open worker now and then."""

    def __init__(self, sources: Sources, log: SourceLog, coalescer: Coalescer, opening: Opening) -> None:
        self._sources = sources
        self._log = log
        self._coalescer = coalescer
        self._opening = opening
        self._turns = 0
        self._offsets: Mapping[TopicPartition, int] = {}

    async def why_it_stands(self) -> str:
        """Why nothing was read or sent since the last time; empty where something was, or there was nothing to do.

        Raises:
            SourceChangedError: a topic was made anew, or retention overtook us.
            StoreUnavailableError: Kafka does not answer.
        """
        lanes = dict(self._coalescer.lanes)
        before = {partition: lane.next_offset for partition, lane in lanes.items()}
        bounds = await self._log.bounds(lanes)
        ids = await self._log.topic_ids(list(self._sources))
        if lanes != self._coalescer.lanes:
            return "partitions were taken away"
        self._check(before, bounds, ids)
        overlooked = [topic for topic in self._sources if self._sources.consumer.overlooks(topic)]
        if overlooked:
            # It was away when the partitions were shared out, and would be missed only when the picture is old.
            await self._sources.consumer.refresh_metadata()
            return f"topics are not seen: {', '.join(overlooked)}"
        turns, self._turns = self._turns, self._coalescer.turns
        offsets, self._offsets = self._offsets, before
        if self._coalescer.overdue_s() > _LONGEST_OVERDUE_S and self._coalescer.turns == turns:
            return "what is due is not sent"
        standing = [p for p, lane in lanes.items() if lane.next_offset == offsets.get(p, -1) < bounds[p][1]]
        for partition in standing:
            lane, end = lanes[partition], bounds[partition][1]
            missed = await self._log.first_readable(partition, lane.next_offset, end)
            if missed is not None and lane.next_offset <= missed:
                return f"{partition.topic}/{partition.partition} is read no further than offset {lane.next_offset}"
        return ""

    def _check(
        self,
        before: Mapping[TopicPartition, int],
        bounds: Mapping[TopicPartition, tuple[int, int]],
        ids: Mapping[str, str],
    ) -> None:
        for topic in self._sources:
            now_id, then_id = ids.get(topic), self._opening.topic_ids.get(topic)
            if now_id is None or (UNKNOWN not in {now_id, then_id} and now_id != then_id):
                raise SourceChangedError(f"Topic {topic} was made anew. The worker starts again with it.")
        for partition, offset in before.items():
            first, end = bounds[partition]
            if not first <= offset <= end and not first <= self._coalescer.lanes[partition].next_offset <= end:
                raise SourceChangedError(
                    f"{partition.topic}/{partition.partition} holds offsets {first} to {end}, and {offset} is read "
                    "next. The worker starts again and has all documents compared."
                )
