"""Where a group stands: its watermarks in Redis, and the epoch that they belong to.

A watermark moves in the same step as the effects, so it says exactly what was applied, whatever Kafka's committed
offset says. Where it is missing, or no longer fits the log, nothing cached can be trusted: a new epoch begins.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import Final

from infra.kafka.log import ChangeLog, Partition
from infra.logs import logger
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Primary
from infra.redis.coherence import Coherence, State, watermark_field

_GENERATION_BYTES: Final = 9
_log = logger("positions")


class Positions:
    """The watermarks of one worker's partitions."""

    def __init__(self, coherence: Coherence, log: ChangeLog, primary: Primary, metrics: WorkerMetrics) -> None:
        """Know nothing yet: ``settle`` reads."""
        self._coherence = coherence
        self._log = log
        self._primary = primary
        self._metrics = metrics
        self.epoch = ""
        self._next: dict[Partition, int] = {}

    def next_offset(self, partition: Partition) -> int | None:
        """The offset that the stored watermark must have for the next batch; None for a partition not settled."""
        return self._next.get(partition)

    def field(self, partition: Partition) -> str:
        """Where the partition's watermark is stored."""
        return watermark_field(self._log.group, partition.topic, partition.partition)

    def advance(self, partition: Partition, offset: int) -> None:
        """The watermark is (or is being) moved here."""
        self._next[partition] = offset

    def forget(self, partitions: Collection[Partition]) -> None:
        """These must be settled before anything of them is applied."""
        for partition in partitions:
            self._next.pop(partition, None)

    def settled(self) -> Mapping[Partition, int]:
        """Every settled partition's next offset."""
        return dict(self._next)

    async def settle(self, partitions: Collection[Partition]) -> None:
        """Read the watermarks of these partitions and go on from there, in a new epoch if they don't fit the log.

        Raises:
            StoreUnavailableError: Redis, Kafka or Postgres does not answer.
        """
        while True:
            state = await self._coherence.state()
            identity = await self._primary.identity()
            bounds = await self._log.bounds(partitions)
            reason = self._misfit(state, identity, bounds)
            if reason is None:
                break
            await self._begin_epoch(state, identity, reason)
        self.epoch = state.epoch
        for partition in partitions:
            offset = state.watermarks[self.field(partition)]
            if self._log.seek(partition, offset):
                self._next[partition] = offset
        _log.info(
            "settled",
            group=self._log.group,
            epoch=self.epoch,
            offsets={f"{p.topic}/{p.partition}": self._next.get(p) for p in partitions},
        )

    async def is_of_this_log(self) -> bool:
        """Whether the database is still the one that the copies are made from."""
        state = await self._coherence.state()
        return state.identity == await self._primary.identity()

    def _misfit(self, state: State, identity: str, bounds: Mapping[Partition, tuple[int, int]]) -> str | None:
        if not state.epoch:
            return "no_epoch"
        if state.identity != identity:
            return "identity_changed"
        for partition, (first, last) in bounds.items():
            offset = state.watermarks.get(self.field(partition))
            if offset is None:
                return "watermark_missing"
            if offset > last:
                return "watermark_beyond_log"
            if offset < first:
                return "retention_overtook"
        return None

    async def _begin_epoch(self, state: State, identity: str, reason: str) -> None:
        everything = await self._log.all_partitions()
        bounds = await self._log.bounds(everything)
        committed = await self._log.committed(everything)
        watermarks = []
        for partition, (first, last) in bounds.items():
            offset = committed[partition]
            fits = offset is not None and first <= offset <= last
            watermarks.append((self.field(partition), offset if offset is not None and fits else first))
        moment = await self._primary.moment()
        generation = secrets.token_urlsafe(_GENERATION_BYTES)
        epoch = await self._coherence.begin_epoch(
            expected=state.epoch, epoch=generation, floor=moment.lsn, identity=identity, watermarks=watermarks
        )
        if epoch == generation:
            self._metrics.epochs.labels(self._log.group, reason).inc()
            _log.warning("epoch_begun", group=self._log.group, reason=reason, epoch=epoch)
