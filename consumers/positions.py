"""Where a group stands: its watermarks in Redis, and the epoch that they belong to.

A watermark moves in the same step as the effects, so it says exactly what was applied, whatever Kafka's committed
offset says. It belongs to one making of its topic (the topic's id is part of its name). Where it is missing, or no
longer fits the log, nothing cached can be trusted: a new epoch begins.

    assigned, refused, a store was away ▸ doubted ▸ settled ▸ advanced with each batch
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import Final, NoReturn

from infra.kafka.log import ChangeLog, Partition
from infra.kafka.topic_ids import UNKNOWN
from infra.logs import logger
from infra.metrics import WorkerMetrics
from infra.postgres.moments import NOT_FOLLOWED, Primary
from infra.redis.coherence import NO_FLOOR_YET, Coherence, State, watermark_field
from schemas.errors import SourceChangedError

_GENERATION_BYTES: Final = 9
_MISSING: Final = "watermark_missing"
_log = logger("positions")


class NotFollowedError(SourceChangedError):
    """There is no log that could keep copies fresh: no connector was applied yet, say, or a topic was deleted."""


class Positions:
    """The watermarks of one worker's partitions."""

    def __init__(
        self,
        coherence: Coherence,
        log: ChangeLog,
        primary: Primary,
        metrics: WorkerMetrics,
        *,
        is_repeatable: bool = False,
    ) -> None:
        """Know nothing yet: ``settle`` reads.

        Args:
            coherence: where the watermarks are.
            log: what they are of.
            primary: of the database that the log is of.
            metrics: what is counted.
            is_repeatable: whether all effects may be done again, so that a group whose watermarks are missing need not
                begin a new epoch.
        """
        self._is_repeatable = is_repeatable
        self._coherence = coherence
        self._log = log
        self._primary = primary
        self._metrics = metrics
        self.epoch = ""
        self._topic_ids: Mapping[str, str] = {}
        self._next: dict[Partition, int] = {}
        self._doubted: set[Partition] = set()

    def next_offset(self, partition: Partition) -> int | None:
        """The offset that the stored watermark must have for the next batch; None for a partition not settled."""
        return None if partition in self._doubted else self._next.get(partition)

    def field(self, partition: Partition) -> str:
        """Where the partition's watermark is stored."""
        topic = f"{partition.topic}@{self._topic_ids.get(partition.topic, UNKNOWN)}"
        return watermark_field(self._log.group, topic, partition.partition)

    def advance(self, partition: Partition, offset: int) -> None:
        """The watermark is (or is being) moved here."""
        self._next[partition] = offset

    def doubt(self, partitions: Collection[Partition]) -> None:
        """These must be settled before anything of them is applied."""
        self._doubted |= set(partitions)

    def doubt_all(self) -> None:
        """All of them must be settled: a store was away, and nobody knows what became of the last batches."""
        self._doubted |= set(self._next)

    @property
    def are_doubted(self) -> bool:
        """Whether there are partitions to settle."""
        return bool(self._doubted)

    def settled(self) -> Mapping[Partition, int]:
        """Every settled partition's next offset."""
        return {partition: offset for partition, offset in self._next.items() if partition not in self._doubted}

    async def settle(self) -> None:
        """Read the watermarks of what is doubted and go on from there, in a new epoch if they don't fit the log.

        Raises:
            NotFollowedError: no log is followed; the epoch is ended.
            StoreUnavailableError: Redis, Kafka or Postgres does not answer.
        """
        owned = self._log.owned()
        self._doubted &= owned
        self._next = {p: offset for p, offset in self._next.items() if p in owned and p not in self._doubted}
        partitions = frozenset(self._doubted)
        if not partitions:
            return
        while True:
            self._topic_ids = await self._log.topic_ids()
            state = await self._coherence.state()
            identity = await self._primary.identity()
            if identity.endswith(f"/{NOT_FOLLOWED}"):
                await self._end_epoch(state, "no slot is followed from its beginning. Run `freshline connector apply`")
            if missing := [topic for topic in self._log.topics if topic not in self._topic_ids]:
                names = ", ".join(missing)
                await self._end_epoch(state, f"Kafka has no topic {names}. Run `freshline topics apply`")
            bounds = await self._log.bounds(partitions)
            reason = self._misfit(state, identity, bounds)
            if reason == _MISSING and self._is_repeatable:
                await self._begin_again(state)
            elif reason is not None:
                await self._begin_epoch(state, identity, reason)
            elif state.floor == NO_FLOOR_YET:
                await self._set_floor(state, identity)
            else:
                break
        self.epoch = state.epoch
        for partition in partitions:
            offset = state.watermarks[self.field(partition)]
            if self._log.seek(partition, offset):
                self._next[partition] = offset
                # What was assigned anew meanwhile stays doubted.
            self._doubted.discard(partition)
        _log.info(
            "settled",
            group=self._log.group,
            epoch=self.epoch,
            offsets={f"{p.topic}/{p.partition}": self._next.get(p) for p in partitions},
        )

    async def check(self) -> None:
        """Doubt what no longer fits: another database, slot or topic, or an epoch that others began.

        Raises:
            StoreUnavailableError: a store does not answer.
        """
        settled = self.settled()
        if not settled:
            return
        state = await self._coherence.state()
        is_of_this_log = (
            state.epoch == self.epoch
            and state.identity == await self._primary.identity()
            and self._topic_ids == await self._log.topic_ids()
        )
        if not is_of_this_log:
            self.doubt(settled)
            return
        self.doubt({p for p, offset in settled.items() if state.watermarks.get(self.field(p)) != offset})

    def _misfit(self, state: State, identity: str, bounds: Mapping[Partition, tuple[int, int]]) -> str | None:
        if not state.epoch:
            return "no_epoch"
        if state.identity != identity:
            return "identity_changed"
        for partition, (first, last) in bounds.items():
            offset = state.watermarks.get(self.field(partition))
            if offset is None:
                return _MISSING
            if offset > last:
                return "watermark_beyond_log"
            if offset < first:
                return "retention_overtook"
        return None

    async def _end_epoch(self, state: State, reason: str) -> NoReturn:
        self.epoch = ""
        if state.epoch:
            await self._coherence.end_epoch()
            _log.warning("epoch_ended", group=self._log.group, reason=reason, epoch=state.epoch)
        raise NotFollowedError(f"Nothing may be cached: {reason}.")

    async def _begin_again(self, state: State) -> None:
        """Within the epoch, set the watermarks that are missing to what was committed, or to the log's beginning."""
        missing = [
            (field, offset)
            for field, offset in (await self._beginnings(state)).items()
            if field not in state.watermarks
        ]
        await self._coherence.begin_epoch(
            expected=state.epoch, epoch=state.epoch, floor=state.floor, identity=state.identity, watermarks=missing
        )
        _log.info("begun_again", group=self._log.group, epoch=state.epoch)

    async def _beginnings(self, state: State) -> dict[str, int]:
        """For the watermark of each partition the offset to go on from where it says nothing."""
        everything = await self._log.all_partitions()
        bounds = await self._log.bounds(everything)
        committed = await self._log.committed(everything)
        beginnings: dict[str, int] = {}
        for partition, (first, last) in bounds.items():
            offset = committed[partition]
            fits = offset is not None and first <= offset <= last and not self._is_made_anew(state, partition)
            beginnings[self.field(partition)] = offset if offset is not None and fits else first
        return beginnings

    async def _begin_epoch(self, state: State, identity: str, reason: str) -> None:
        watermarks = list((await self._beginnings(state)).items())
        generation = secrets.token_urlsafe(_GENERATION_BYTES)
        epoch = await self._coherence.begin_epoch(
            expected=state.epoch, epoch=generation, floor=NO_FLOOR_YET, identity=identity, watermarks=watermarks
        )
        if epoch == generation:
            self._metrics.epochs.labels(self._log.group, reason).inc()
            _log.warning("epoch_begun", group=self._log.group, reason=reason, epoch=epoch)
            everything = await self._log.all_partitions()
            await self._coherence.forget_watermarks([f for p in everything for f in self._former_fields(state, p)])

    async def _set_floor(self, state: State, identity: str) -> None:
        """Let events create again: the position is read within the epoch, so what readers were given lies below it."""
        moment = await self._primary.moment()
        await self._coherence.begin_epoch(
            expected=state.epoch, epoch=state.epoch, floor=moment.lsn, identity=identity, watermarks=()
        )

    def _is_made_anew(self, state: State, partition: Partition) -> bool:
        """Whether the topic was another one when it was last applied: what was committed then says nothing of it."""
        return self.field(partition) not in state.watermarks and bool(self._former_fields(state, partition))

    def _former_fields(self, state: State, partition: Partition) -> list[str]:
        """The watermarks of the topic's former makings, under whichever id."""
        any_id = watermark_field(self._log.group, f"{partition.topic}@", 0).rpartition("/")[0]
        present = self.field(partition).rpartition("/")[0]
        return [f for f in state.watermarks if f.startswith(any_id) and f.rpartition("/")[0] != present]
