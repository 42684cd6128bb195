"""The work itself, whoever delivers the events: changes are merged, kept, sent when due, and only then committed.

    take ▸ merge ▸┬▸ due: a record goes out ──▸ acknowledged ▸ it leaves the table ─┬▸ covered ▸ commit
                  └▸ not yet: the table keeps it ▸ acknowledged ────────────────────┘

One turn after the other, and each awaits its acknowledgements, so that what is written about a document arrives in the
order in which it was decided. An offset is committed once every change before it is in an acknowledged record or in an
acknowledged entry of the table; an entry is removed once a record that covers it is acknowledged. So wherever it ends,
what was not sent is found again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from aiokafka import TopicPartition

from infra.metrics import StreamMetrics
from schemas.refresh import Refresh
from streams.lanes import Lane
from streams.pending import Backlog, Place, Timing
from streams.stored import decode_pending, document_key, encode_pending, parse_key

# What is due waits so long for more, so that many records go out together.
_TURN_EVERY_S: Final = 0.02
# The table may lack changes for so long: those of a burst are then written once, and most are sent before.
_STORE_EVERY_S: Final = 1.0
_COMMIT_EVERY_S: Final = 0.5
# Records that are sent in one turn. A deletion waits for the turn before it.
_SENT_PER_TURN: Final = 2_000
# Changed documents that the table lacks at most; beyond that nothing is read until it has them.
_MOST_DIRTY: Final = 20_000


class Outlet(Protocol):
    """Where it all goes. What the first two return is awaited for the acknowledgement."""

    async def store(self, topic: str, partition: int, key: bytes, value: bytes | None) -> Awaitable[object]:
        """Write to the table of this topic; without a value the key leaves it."""

    async def emit(self, refresh: Refresh) -> Awaitable[object]:
        """Send a record."""

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit; False where the partitions are no longer ours."""


class Coalescer:
    """Changes of the partitions that are open."""

    def __init__(
        self,
        *,
        outlet: Outlet,
        timing: Timing,
        metrics: StreamMetrics,
        writer: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``writer`` is the name under which it writes to the table: nobody else's, ever."""
        self._outlet = outlet
        self._metrics = metrics
        self._writer = writer
        self._clock = clock
        self._backlog = Backlog(timing)
        self._lanes: dict[TopicPartition, Lane] = {}
        self._since: Mapping[Place, float] = {}
        self._turning = asyncio.Lock()
        self._needed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = False
        self._is_urgent = False
        self._is_broken = False
        self._store_at = -math.inf
        self._commit_at = -math.inf
        self.turns = 0

    # Whose partitions they are.

    def open(self, starts: Mapping[TopicPartition, int], entries: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Read these partitions from these offsets, with what the tables hold of them: topic, key and value."""
        now = self._clock()
        for topic, key, value in entries:
            stored = parse_key(key)
            if not stored.writer or TopicPartition(topic, stored.partition) not in starts:
                continue
            place = Place(topic, stored.partition, stored.name.encode())
            self._backlog.restore(place, decode_pending(value), key, now, since=self._since.get(place))
        self._since = {}
        self._lanes = {partition: Lane(offset) for partition, offset in starts.items()}
        self._measure()
        self._needed.set()

    async def close(self) -> None:
        """Take nothing any more, let the table have all of it, commit, and forget: others may go on from there."""
        lanes, self._lanes = self._lanes, {}
        async with self._turning:
            try:
                if not self._is_broken:
                    marks = [(lane, lane.next_offset) for lane in lanes.values()]
                    await _acknowledged(await self._store_dirty())
                    for lane, offset in marks:
                        lane.covered = offset
                    await self._commit(lanes)
            finally:
                self._since = self._backlog.forget()
                self._room.set()
                self._measure()

    @property
    def lanes(self) -> Mapping[TopicPartition, Lane]:
        """The partitions that are being read."""
        return self._lanes

    @property
    def pending(self) -> int:
        """How many documents wait."""
        return len(self._backlog)

    # What comes in.

    def take(self, partition: TopicPartition, offset: int, change: Refresh | None, at_once: str | None) -> None:
        """An event was read, the next of its partition; without a change it is passed over."""
        self._lanes[partition].read(offset)
        if change is None:
            return
        place = Place(partition.topic, partition.partition, change.record_key)
        was_clean = not self._backlog.is_dirty
        self._backlog.add(place, change, self._clock(), at_once=at_once)
        self._is_urgent |= at_once is not None
        if was_clean or self._is_urgent:
            self._needed.set()

    async def room(self) -> None:
        """Wait while too much is to be written."""
        if self._backlog.dirty_count >= _MOST_DIRTY:
            self._room.clear()
            self._is_urgent = True
            self._needed.set()
            await self._room.wait()

    # What goes out.

    def stop(self) -> None:
        """Finish the turn and return from ``run``."""
        self._stopping = True
        self._needed.set()

    async def run(self) -> None:
        """Turn whenever there is something to do, until stopped."""
        turned_at = -math.inf
        while not self._stopping:
            wait_s = self._turn_at(turned_at) - self._clock()
            if wait_s > 0 and not self._is_urgent:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._needed.wait()
                self._needed.clear()
                continue
            turned_at, self._is_urgent = self._clock(), False
            await self.turn()

    async def turn(self) -> None:
        """Send what is due, await it, and now and then let the table have the rest and commit."""
        async with self._turning:
            # Until it ends well nobody knows what was acknowledged, so nothing more may be committed.
            self._is_broken = True
            await self._turn()
            self._is_broken = False

    async def _turn(self) -> None:
        lanes = self._lanes
        now = self._clock()
        marks = [(lane, lane.next_offset) for lane in lanes.values()]
        due = self._backlog.take_due(now, _SENT_PER_TURN)
        stores = now >= self._store_at or self._backlog.dirty_count >= _MOST_DIRTY
        # If so, what was read until now is covered when all of this is acknowledged. What comes meanwhile is not.
        covers = stores or not self._backlog.is_dirty
        sent = [await self._outlet.emit(record) for _, record, _ in due]
        if stores:
            self._store_at = now + _STORE_EVERY_S
            sent += await self._store_dirty()
        await _acknowledged(sent)
        self._room.set()
        now = self._clock()
        for document, _, why in due:
            self._metrics.refreshes.labels(why).inc()
            self._metrics.pending_time.observe(now - document.first_at)
        removed = []
        for document, _, _ in due:
            topic, partition, _ = document.place
            removed += [await self._outlet.store(topic, partition, key, None) for key in self._backlog.settle(document)]
        await _acknowledged(removed)
        if covers:
            for lane, offset in marks:
                lane.covered = offset
        self._measure()
        if now >= self._commit_at:
            self._commit_at = now + _COMMIT_EVERY_S
            await self._commit(lanes)
        self.turns += 1

    def overdue_s(self) -> float:
        """For how long something is due already; 0 where nothing is."""
        due_at = self._backlog.next_due_at()
        return max(0.0, self._clock() - due_at) if due_at is not None else 0.0

    def _turn_at(self, turned_at: float) -> float:
        """When to turn next, unless something comes that is not to wait."""
        times = [turned_at + _COMMIT_EVERY_S]
        if self._backlog.is_dirty:
            times.append(self._store_at)
        due_at = self._backlog.next_due_at()
        if due_at is not None:
            times.append(max(due_at, turned_at + _TURN_EVERY_S))
        return min(times)

    async def _store_dirty(self) -> list[Awaitable[object]]:
        sent = []
        for document in self._backlog.take_dirty():
            topic, partition, record_key = document.place
            key = document_key(partition, self._writer, record_key)
            document.stored[key] = None
            sent.append(await self._outlet.store(topic, partition, key, encode_pending(document.pending)))
        return sent

    async def _commit(self, lanes: Mapping[TopicPartition, Lane]) -> None:
        offsets = {p: lane.covered for p, lane in lanes.items() if lane.covered != lane.committed}
        if offsets and await self._outlet.commit(offsets):
            for partition, offset in offsets.items():
                lanes[partition].committed = offset

    def _measure(self) -> None:
        self._metrics.pending.set(len(self._backlog))


async def _acknowledged(sent: Iterable[Awaitable[object]]) -> None:
    """Await all of them, and raise the first error."""
    futures = [asyncio.ensure_future(each) for each in sent]
    if futures:
        await asyncio.wait(futures)
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise errors[0]
