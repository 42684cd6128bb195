"""The loop of every worker.

    settle ▸ fetch ▸ read ▸ sight ▸ letters ▸ (work in another store) ▸ apply ▸ commit

While Redis applies some records, the next are fetched and decoded. Whatever goes wrong with a store, the records are
given up, the watermarks are read again and the log is read on from there: what was applied is known exactly, so nothing
is lost and nothing is done twice. Memory is bounded: some records are being applied, some are decoded, and the driver
holds one fetch of each partition and then stops fetching.

Order of shutdown: 1. stop fetching, 2. await what is being applied, 3. commit, 4. leave the group (whoever opened it).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeAlias

from consumers.applying import Applier
from consumers.failures import Action, action_for
from consumers.heartbeat import beat
from consumers.letters import Letters
from consumers.positions import Positions
from consumers.reading import RecordReader, Slice, newest_positions
from consumers.sight import Sight
from consumers.sink import Change, Sink, Unusable, Work
from consumers.upkeep import Upkeep
from infra.cancellation import cancel
from infra.kafka.log import ChangeLog, Partition, Record, UnreadableBatchError
from infra.logs import logger
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment
from infra.progress import Progress
from infra.redis.coherence import Coherence

_log = logger("worker")

Companion: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

RECORDS_PER_FETCH: Final = 500
_FETCH_TIMEOUT_MS: Final = 250
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 5.0


class Worker:
    """Applies one sink to one group's partitions."""

    def __init__(
        self,
        *,
        sink: Sink,
        log: ChangeLog,
        coherence: Coherence,
        positions: Positions,
        sight: Sight,
        letters: Letters,
        metrics: WorkerMetrics,
        progress: Progress,
        floor_ttl_ms: int,
        work: Work | None = None,
        records_per_fetch: int = RECORDS_PER_FETCH,
        beside: Companion | None = None,
    ) -> None:
        """Take everything ready made and opened.

        Args:
            sink: what the records mean.
            log: where they come from.
            coherence: where effects go.
            positions: where the group stands.
            sight: what can be seen.
            letters: where unusable records go.
            metrics: what is counted.
            progress: told of every turn.
            floor_ttl_ms: how long a floor lives in Redis.
            work: what the changes need in another store.
            records_per_fetch: how many records of a partition are worked on at once.
            beside: what else goes on as long as it runs.
        """
        self._group = sink.group
        self._work = work
        self._records_per_fetch = records_per_fetch
        self._beside = beside
        self._log = log
        self._coherence = coherence
        self._positions = positions
        self._sight = sight
        self._letters = letters
        self._metrics = metrics
        self._progress = progress
        self._reader = RecordReader(sink, metrics)
        self._applier = Applier(
            sink=sink,
            coherence=coherence,
            positions=positions,
            metrics=metrics,
            progress=progress,
            floor_ttl_ms=floor_ttl_ms,
        )
        self._upkeep = Upkeep(log, positions, self._applier, progress)
        self._stopping = asyncio.Event()
        self._pause_s = _FIRST_PAUSE_S

    def stop(self) -> None:
        """Finish what is being applied, commit and return from ``run``."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            Exception: whatever the table of failures does not know how to wait for.
        """
        companions = [asyncio.create_task(beat(self._coherence, self._positions))]
        if self._beside is not None:
            companions.append(asyncio.create_task(self._beside()))
        try:
            while not self._stopping.is_set():
                for companion in companions:
                    if companion.done():
                        companion.result()
                try:
                    await self._turn()
                    self._pause_s = _FIRST_PAUSE_S
                except Exception as error:
                    if action_for(error) is not Action.RETRY:
                        raise
                    await self._wait_for_store(error)
            await self.flush()
        finally:
            await cancel(*companions)

    async def flush(self) -> None:
        """Await what is being applied and commit it: before partitions are given up, and at the end."""
        try:
            await self._upkeep.commit()
        except Exception as error:
            if action_for(error) is not Action.RETRY:
                raise
            _log.warning("flush_failed", group=self._group, error=str(error))

    async def _turn(self) -> None:
        self._positions.doubt(self._log.take_assigned())
        if self._positions.are_doubted:
            await self._applier.finish()
            await self._sight.refresh()
            await self._positions.settle()
        try:
            fetched = await self._log.fetch(max_records=self._records_per_fetch, timeout_ms=_FETCH_TIMEOUT_MS)
        except UnreadableBatchError as error:
            _log.warning("unreadable_batch", group=self._group, error=str(error))
            self._positions.doubt_all()
            return
        started = time.perf_counter()
        is_full = self._log.left_something(fetched)
        slices = await self._read(fetched)
        await self._upkeep.turn(idle=not slices)
        if not slices:
            return
        waited_s = self._sight.waited_s
        moment = await self._see(slices)
        if moment is None:
            return
        # That may take hours, and is no work.
        started += self._sight.waited_s - waited_s
        await self._send_letters(slices)
        first = await self._work.prepare(_changes(slices)) if self._work is not None else None
        calls = self._applier.calls(slices, moment)
        await self._applier.finish()
        if self._positions.are_doubted or self._log.is_being_assigned():
            # Given up before it was applied: read again from the watermark, or it would pass for a gap in the log.
            self._positions.doubt([piece.partition for piece in slices])
            return
        await self._applier.start(slices, calls, started, first, is_full=is_full)

    async def _wait_for_store(self, error: Exception) -> None:
        self._metrics.store_away.labels(self._group).inc()
        self._progress.waits(type(error).__name__)
        _log.warning("store_away", group=self._group, error=str(error), pause_s=round(self._pause_s, 2))
        self._positions.doubt_all()
        try:
            await asyncio.wait_for(self._stopping.wait(), self._pause_s)
        except TimeoutError:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    async def _read(self, fetched: Mapping[Partition, Sequence[Record]]) -> list[Slice]:
        slices: list[Slice] = []
        for partition, records in fetched.items():
            start = self._positions.next_offset(partition)
            if start is None or not records:
                continue
            if records[0].offset != start and not await self._is_gap(partition, start, records[0].offset):
                self._positions.doubt([partition])
                continue
            moment = await self._sight.moment()
            slices.append(self._reader.read(partition, start, records, self._positions.epoch, moment))
        return slices

    async def _is_gap(self, partition: Partition, start: int, found: int) -> bool:
        """Whether nothing readable lies between: control records or compaction, not retention or a topic made anew."""
        if found < start:
            return False
        first, _ = (await self._log.bounds([partition]))[partition]
        return first <= start

    async def _see(self, slices: Sequence[Slice]) -> Moment | None:
        """Wait until all of it can be seen, and refuse what can't be; None where the worker is to stop meanwhile."""
        unusable = [outcome for piece in slices for outcome in piece.outcomes if isinstance(outcome, Unusable)]
        if any(outcome.error is not None and not outcome.xid for outcome in unusable):
            await self._sight.outlast()
        elif unusable:
            # What is dropped for it must not come back from anything older than now.
            await self._sight.refresh()
        xids, lsn = newest_positions(slices)
        seen = await self._sight.cover(xids, lsn, self._stopping)
        if seen is None:
            self._positions.doubt([piece.partition for piece in slices])
            return None
        moment, impossible = seen
        refused = [piece.refuse(moment, impossible) for piece in slices] if impossible or lsn > moment.lsn else []
        if any(refused):
            moment = await self._sight.refresh()
        return moment

    async def _send_letters(self, slices: Sequence[Slice]) -> None:
        for piece in slices:
            if not piece.refused:
                continue
            await self._letters.send(piece.refused)
            for record, error in piece.refused:
                self._metrics.dead_letters.labels(self._group, error.reason).inc()
                _log.warning(
                    "dead_letter",
                    group=self._group,
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    reason=error.reason,
                )


def _changes(slices: Sequence[Slice]) -> list[Change]:
    return [outcome for piece in slices for outcome in piece.outcomes if isinstance(outcome, Change)]
