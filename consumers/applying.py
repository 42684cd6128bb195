"""Applying: slices become calls of the script, which run while the next records are read.

A call holds every reader of Redis up, so it is small. The calls of one slice build on each other, and go together.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from consumers.positions import Positions
from consumers.reading import Slice
from consumers.sink import Change, Sink, Step, Unusable
from infra.logs import logger
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment
from infra.progress import Progress
from infra.redis.coherence import Coherence
from infra.redis.effects import Batch, Effect, Refused
from schemas.work_done import WorkDone

# 16 rows take about a tenth of a millisecond, and these bytes of records about half of one; fewer rows would take
# longer altogether, since each call costs as much as some six rows.
EFFECTS_PER_CALL: Final = 16
BYTES_PER_CALL: Final = 256 * 1024
_KINDS: Final = {"x": "uncacheable", "t": "table_floor", "g": "dropped_tag", "p": "document_changed", "f": "followed"}
_log = logger("applying")


class Applier:
    """Applies slices, one after the other. Holds at most one that is under way."""

    def __init__(
        self,
        *,
        sink: Sink,
        coherence: Coherence,
        positions: Positions,
        metrics: WorkerMetrics,
        progress: Progress,
        floor_ttl_ms: int,
    ) -> None:
        """Nothing is under way.

        Args:
            sink: what the records mean.
            coherence: where effects go.
            positions: where the group stands.
            metrics: what is counted.
            progress: told of what was applied.
            floor_ttl_ms: how long a floor lives in Redis.
        """
        self._sink = sink
        self._coherence = coherence
        self._positions = positions
        self._metrics = metrics
        self._progress = progress
        self._floor_ttl_ms = floor_ttl_ms
        self._task: asyncio.Task[None] | None = None
        self._busy_until = 0.0
        self._worker = secrets.token_hex(8)
        self._records = self._full_records = 0
        self._busy_s = self._full_busy_s = 0.0

    @property
    def done(self) -> WorkDone:
        """What was applied since it began, and in how long."""
        return WorkDone(
            self._worker, self._records, round(self._busy_s, 3), self._full_records, round(self._full_busy_s, 3)
        )

    def calls(self, slices: Sequence[Slice], moment: Moment) -> list[Batch]:
        """The calls that apply these; ``moment`` is one in which all of their transactions are visible."""
        return [call for piece in slices for call in self._calls(piece, moment, int(time.time() * 1000))]

    async def start(
        self,
        slices: Sequence[Slice],
        calls: Sequence[Batch],
        started: float,
        first: Step | None = None,
        *,
        is_full: bool = False,
    ) -> None:
        """Apply these in the background. What was started before must be finished.

        Args:
            slices: what is applied.
            calls: how.
            started: when the records were there, in seconds of the performance counter.
            first: what must be done in another store before.
            is_full: whether there was more to do than was taken.
        """
        for piece in slices:
            self._positions.advance(piece.partition, piece.next_offset)
        sent = asyncio.Event()
        self._task = asyncio.create_task(self._apply(slices, calls, started, sent, first, is_full=is_full))
        if first is not None:
            return
        # Redis works while the next records are decoded, which leaves the loop no moment to write.
        await sent.wait()

    async def finish(self) -> None:
        """Await what is under way.

        Raises:
            StoreUnavailableError: Redis does not answer, and nobody knows what became of it.
        """
        task = self._task
        if task is None:
            return
        try:
            # Whoever is cancelled while waiting leaves the calls to their end.
            await asyncio.shield(task)
        finally:
            if self._task is task and task.done():
                self._task = None

    def _calls(self, piece: Slice, moment: Moment, now_ms: int) -> list[Batch]:
        calls: list[Batch] = []
        expected, effects, size = piece.start, list[Effect](), 0
        last = len(piece.records) - 1
        for index, (record, outcome) in enumerate(zip(piece.records, piece.outcomes, strict=True)):
            effects.extend(self._sink.drop(outcome, moment) if isinstance(outcome, Unusable) else outcome.effects)
            size += len(record.value or b"")
            if index == last or len(effects) >= EFFECTS_PER_CALL or size >= BYTES_PER_CALL:
                calls.append(
                    Batch(
                        self._coherence.namespace,
                        self._positions.field(piece.partition),
                        expected,
                        record.offset + 1,
                        self._positions.epoch,
                        moment.snapshot.completed,
                        self._floor_ttl_ms,
                        now_ms,
                        effects,
                    )
                )
                expected, effects, size = record.offset + 1, [], 0
        return calls

    async def _apply(
        self,
        slices: Sequence[Slice],
        calls: Sequence[Batch],
        started: float,
        sent: asyncio.Event,
        first: Step | None,
        *,
        is_full: bool,
    ) -> None:
        group = self._sink.group
        if first is not None:
            await first()
        written = contained = 0
        refused = False
        try:
            replies = await self._coherence.apply(calls, sent.set)
        finally:
            sent.set()
        for reply in replies:
            if isinstance(reply, Refused):
                refused = True
            else:
                written += reply.written
                contained += reply.contained
        if refused:
            self._metrics.refused_batches.labels(group).inc()
            _log.info("batch_refused", group=group, partitions=[f"{p.partition}" for p in slices])
            self._positions.doubt([piece.partition for piece in slices])
            return
        self._progress.progressed()
        self._count(slices, calls, written, contained)
        # Slices overlap, and time is counted once.
        ended = time.perf_counter()
        busy_s = ended - max(started, self._busy_until)
        self._busy_until = ended
        self._metrics.busy.labels(group).inc(busy_s)
        records = sum(len(piece.records) for piece in slices)
        # The first one waits for connections and scripts, too, which says nothing of those that follow.
        if is_full and self._records:
            self._full_records += records
            self._full_busy_s += busy_s
        self._records += records
        self._busy_s += busy_s

    def _count(self, slices: Sequence[Slice], calls: Sequence[Batch], written: int, contained: int) -> None:
        group = self._sink.group
        kinds = Counter(effect[0] for call in calls for effect in call.effects)
        effects = {name: kinds[kind] for kind, name in _KINDS.items()}
        effects |= {"written": written, "contained": contained}
        effects["skipped"] = max(0, kinds["v"] + kinds["a"] + kinds["x"] - effects["uncacheable"] - written - contained)
        for name, count in effects.items():
            self._metrics.effects.labels(group, name).inc(count)
        now_ms = time.time() * 1000
        observe = self._metrics.freshness.labels(group).observe
        for piece in slices:
            topic, number = piece.partition.topic, piece.partition.partition
            self._metrics.records.labels(group, topic).inc(len(piece.records))
            self._metrics.offset.labels(group, topic, number).set(piece.next_offset)
            # Once for each commit time: a large transaction is one change to whoever waits for it.
            for committed_at_ms in {o.committed_at_ms for o in piece.outcomes if isinstance(o, Change)} - {0}:
                observe(max(0.0, (now_ms - committed_at_ms) / 1000))
