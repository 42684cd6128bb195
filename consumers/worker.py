"""The loop of every worker.

    fetch ▸ read ▸ sight ▸ letters ▸ apply ▸ commit

While Redis applies one batch, the next is fetched and decoded. Whatever goes wrong with a store, the batch is given
up, the watermarks are read again and the log is read on from there: what was applied is known exactly, so nothing is
lost and nothing is done twice. Memory is bounded: one batch is being applied, one is decoded, and the driver stops
fetching.

Order of shutdown: 1. stop fetching, 2. await the batch that is being applied, 3. commit, 4. leave the group.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from consumers.failures import Action, action_for
from consumers.letters import Letters
from consumers.positions import Positions
from consumers.progress import Progress
from consumers.sight import Sight
from consumers.sink import Change, Outcome, Reading, Sink, Unusable
from infra.kafka.log import ChangeLog, Partition, Record
from infra.logs import logger
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment
from infra.redis.coherence import Coherence
from infra.redis.effects import Batch, Effect, Refused
from schemas.envelope import ForeignTableError
from schemas.errors import MalformedRecordError, RefusedRecordError

_log = logger("worker")

# One call of the script holds every reader up: 64 rows take about half a millisecond.
EFFECTS_PER_CALL: Final = 64
RECORDS_PER_FETCH: Final = 2_000
_FETCH_TIMEOUT_MS: Final = 250
_COMMIT_EVERY_S: Final = 1.0
_CHECK_EVERY_S: Final = 2.0
_BEAT_EVERY_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 5.0


class _Slice(msgspec.Struct):
    """Consecutive records of one partition, and what each of them means."""

    partition: Partition
    start: int
    records: Sequence[Record]
    outcomes: list[Outcome]

    @property
    def next_offset(self) -> int:
        return int(self.records[-1].offset) + 1


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
    ) -> None:
        """Take everything ready made and opened; ``floor_ttl_ms`` is how long a floor lives in Redis."""
        self._sink = sink
        self._log = log
        self._coherence = coherence
        self._positions = positions
        self._sight = sight
        self._letters = letters
        self._metrics = metrics
        self._progress = progress
        self._floor_ttl_ms = floor_ttl_ms
        self._stopping = asyncio.Event()
        self._applying: asyncio.Task[None] | None = None
        self._unsettled: set[Partition] = set()
        self._committed: dict[Partition, int] = {}
        self._due_commit = self._due_check = self._due_beat = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._busy_until = 0.0

    def stop(self) -> None:
        """Finish what is being applied, commit and return from ``run``."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            Exception: whatever the table of failures does not know how to wait for.
        """
        while not self._stopping.is_set():
            try:
                await self._turn()
                self._pause_s = _FIRST_PAUSE_S
            except Exception as error:
                if action_for(error) is not Action.RETRY:
                    raise
                await self._wait_for_store(error)
        await self.flush()

    async def flush(self) -> None:
        """Await what is being applied and commit it: before partitions are given up, and at the end."""
        try:
            await self._finish_applying()
            await self._commit()
        except Exception as error:
            if action_for(error) is not Action.RETRY:
                raise
            _log.warning("flush_failed", group=self._sink.group, error=str(error))

    async def _turn(self) -> None:
        self._unsettled |= self._log.take_assigned()
        if self._unsettled:
            await self._settle()
        fetched = await self._log.fetch(max_records=RECORDS_PER_FETCH, timeout_ms=_FETCH_TIMEOUT_MS)
        started = time.perf_counter()
        slices = await self._read(fetched) if fetched else []
        await self._upkeep(idle=not slices)
        if not slices:
            return
        moment = await self._see(slices)
        await self._send_letters(slices)
        batches = self._batches(slices, moment)
        await self._finish_applying()
        if self._unsettled or self._log.is_being_assigned():
            # Given up before it was applied: read again from the watermark, or it would pass for a gap in the log.
            self._unsettled |= {piece.partition for piece in slices}
            return
        for piece in slices:
            self._positions.advance(piece.partition, piece.next_offset)
        self._applying = asyncio.create_task(self._apply(slices, batches, started))
        # Let the batch be written to the socket, so that Redis works while the next one is decoded.
        await asyncio.sleep(0)

    # Settling: where do the copies stand?

    async def _settle(self) -> None:
        await self._finish_applying()
        owned = self._log.owned()
        self._positions.forget(set(self._positions.settled()) - owned)
        wanted = self._unsettled & owned
        self._unsettled = set(wanted)
        if wanted:
            self._positions.forget(wanted)
            await self._sight.refresh()
            await self._positions.settle(wanted)
            self._unsettled -= wanted

    async def _wait_for_store(self, error: Exception) -> None:
        self._metrics.store_away.labels(self._sink.group).inc()
        self._progress.waits(type(error).__name__)
        _log.warning("store_away", group=self._sink.group, error=str(error), pause_s=round(self._pause_s, 2))
        self._unsettled |= set(self._positions.settled())
        try:
            await asyncio.wait_for(self._stopping.wait(), self._pause_s)
        except TimeoutError:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    # Reading.

    async def _read(self, fetched: Mapping[Partition, Sequence[Record]]) -> list[_Slice]:
        reading = Reading(self._positions.epoch, await self._sight.moment(), int(time.time() * 1000))
        slices = []
        for partition, records in fetched.items():
            start = self._positions.next_offset(partition)
            if start is None or not records:
                continue
            if records[0].offset != start and not await self._is_gap(partition, start, records[0].offset):
                self._unsettled.add(partition)
                continue
            outcomes = [self._outcome(record, reading) for record in records]
            slices.append(_Slice(partition, start, records, outcomes))
            self._metrics.records.labels(self._sink.group, partition.topic).inc(len(records))
        return slices

    async def _is_gap(self, partition: Partition, start: int, found: int) -> bool:
        """Whether nothing readable lies between: control records or compaction, not retention or a topic made anew."""
        if found < start:
            return False
        first, _ = (await self._log.bounds([partition]))[partition]
        return first <= start

    def _outcome(self, record: Record, reading: Reading) -> Outcome:
        try:
            return self._sink.read(record, reading)
        except ForeignTableError as error:
            self._metrics.foreign_tables.labels(self._sink.group).inc()
            _log.info(
                "foreign_table", group=self._sink.group, topic=record.topic, offset=record.offset, table=error.named
            )
            return Change(())
        except MalformedRecordError as error:
            return Unusable(record, error)

    # Sight.

    async def _see(self, slices: Sequence[_Slice]) -> Moment:
        xids: set[int] = set()
        lsn, has_unusable = 0, False
        for piece in slices:
            for outcome in piece.outcomes:
                if isinstance(outcome, Unusable):
                    has_unusable = True
                else:
                    if outcome.xid:
                        xids.add(outcome.xid)
                    lsn = max(lsn, outcome.lsn)
        if has_unusable:
            # What is dropped for it must not come back from anything older than now.
            await self._sight.refresh()
        moment, impossible = await self._sight.cover(xids, lsn)
        if impossible or lsn > moment.lsn:
            self._refuse(slices, moment, impossible)
            moment = await self._sight.refresh()
        return moment

    @staticmethod
    def _refuse(slices: Sequence[_Slice], moment: Moment, impossible: frozenset[int]) -> None:
        for piece in slices:
            for index, outcome in enumerate(piece.outcomes):
                if isinstance(outcome, Unusable):
                    continue
                if outcome.lsn > moment.lsn:
                    error = RefusedRecordError("lsn_of_the_future", "its position lies beyond the database's own")
                elif outcome.xid in impossible:
                    error = RefusedRecordError("impossible_transaction", "its transaction was never committed")
                else:
                    continue
                piece.outcomes[index] = Unusable(piece.records[index], error)

    async def _send_letters(self, slices: Sequence[_Slice]) -> None:
        refused = [
            (outcome.record, outcome.error)
            for piece in slices
            for outcome in piece.outcomes
            if isinstance(outcome, Unusable) and outcome.error is not None
        ]
        if not refused:
            return
        await self._letters.send(refused)
        for record, error in refused:
            self._metrics.dead_letters.labels(self._sink.group, error.reason).inc()
            _log.warning(
                "dead_letter",
                group=self._sink.group,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=error.reason,
            )

    # Applying.

    def _batches(self, slices: Sequence[_Slice], moment: Moment) -> list[Batch]:
        now_ms = int(time.time() * 1000)
        batches = []
        for piece in slices:
            field = self._positions.field(piece.partition)
            expected, effects = piece.start, list[Effect]()
            last = len(piece.records) - 1
            for index, (record, outcome) in enumerate(zip(piece.records, piece.outcomes, strict=True)):
                if isinstance(outcome, Unusable):
                    effects.extend(self._sink.drop(record, moment))
                else:
                    effects.extend(outcome.effects)
                if index == last or len(effects) >= EFFECTS_PER_CALL:
                    batches.append(
                        Batch(
                            self._coherence.namespace,
                            field,
                            expected,
                            record.offset + 1,
                            self._positions.epoch,
                            moment.snapshot.completed,
                            self._floor_ttl_ms,
                            now_ms,
                            effects,
                        )
                    )
                    expected, effects = record.offset + 1, []
        return batches

    async def _apply(self, slices: Sequence[_Slice], batches: Sequence[Batch], started: float) -> None:
        group = self._sink.group
        written = contained = 0
        refused = False
        for reply in await self._coherence.apply(batches):
            if isinstance(reply, Refused):
                refused = True
            else:
                written += reply.written
                contained += reply.contained
        self._metrics.effects.labels(group, "written").inc(written)
        self._metrics.effects.labels(group, "contained").inc(contained)
        if refused:
            self._metrics.refused_batches.labels(group).inc()
            _log.info("batch_refused", group=group, partitions=[f"{p.partition}" for p in slices])
            self._unsettled |= {piece.partition for piece in slices}
            return
        self._progress.progressed()
        now_s = time.time()
        observe = self._metrics.freshness.labels(group).observe
        for piece in slices:
            topic, number = piece.partition.topic, piece.partition.partition
            self._metrics.offset.labels(group, topic, number).set(piece.next_offset)
            newest = max((o.committed_at_ms for o in piece.outcomes if isinstance(o, Change)), default=0)
            if newest:
                observe(max(0.0, now_s - newest / 1000))
        # Batches overlap, and time is counted once.
        ended = time.perf_counter()
        self._metrics.busy.labels(group).inc(ended - max(started, self._busy_until))
        self._busy_until = ended

    async def _finish_applying(self) -> None:
        task = self._applying
        if task is None:
            return
        try:
            await task
        finally:
            if self._applying is task:
                self._applying = None

    # Upkeep.

    async def _upkeep(self, *, idle: bool) -> None:
        now = time.monotonic()
        self._progress.turned()
        if now >= self._due_beat:
            self._due_beat = now + _BEAT_EVERY_S
            if self._positions.epoch:
                await self._coherence.beat(self._positions.epoch)
        if now >= self._due_commit:
            self._due_commit = now + _COMMIT_EVERY_S
            await self._commit()
        if idle:
            await self._finish_applying()
            if now >= self._due_check:
                self._due_check = now + _CHECK_EVERY_S
                await self._check()

    async def _commit(self) -> None:
        if self._applying is not None:
            await self._finish_applying()
        settled = {p: o for p, o in self._positions.settled().items() if p not in self._unsettled}
        changed = {p: offset for p, offset in settled.items() if self._committed.get(p) != offset}
        if changed:
            await self._log.commit(changed)
            self._committed.update(changed)

    async def _check(self) -> None:
        """An idle worker looks too: writes that a failover lost would otherwise never be done again."""
        settled = self._positions.settled()
        if not settled:
            self._progress.progressed()
            return
        now_ms = int(time.time() * 1000)
        epoch, namespace = self._positions.epoch, self._coherence.namespace
        probes = [
            Batch(namespace, self._positions.field(p), offset, offset, epoch, 0, self._floor_ttl_ms, now_ms, [])
            for p, offset in settled.items()
        ]
        replies = await self._coherence.apply(probes)
        refused = {p for p, reply in zip(settled, replies, strict=True) if isinstance(reply, Refused)}
        if refused or not await self._positions.is_of_this_log():
            self._unsettled |= refused or set(settled)
            return
        bounds = await self._log.bounds(list(settled))
        if any(bounds[p][1] < offset or bounds[p][0] > offset for p, offset in settled.items()):
            self._unsettled |= set(settled)
        elif all(bounds[p][1] == offset for p, offset in settled.items()):
            self._progress.progressed()
