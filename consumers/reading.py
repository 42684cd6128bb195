"""Reading: what the fetched records of a partition mean, one outcome for each, whatever stands in them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from consumers.sink import NOTHING, Change, Outcome, Reading, Sink, Unusable
from infra.kafka.log import Partition, Record, UnreadableRecord
from infra.logs import logger
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment
from schemas.envelope import OutsideCatalogError
from schemas.errors import MalformedRecordError, RefusedRecordError

_log = logger("reading")


class Slice(msgspec.Struct):
    """Consecutive records of one partition, and what each of them means. ``start`` is the watermark they build on."""

    partition: Partition
    start: int
    records: Sequence[Record]
    outcomes: list[Outcome]

    @property
    def next_offset(self) -> int:
        """The watermark once all of them are applied."""
        return int(self.records[-1].offset) + 1

    def refuse(self, moment: Moment, impossible: frozenset[int]) -> bool:
        """Refuse what can't be true: positions beyond the log's end, transactions that can't be. Whether any was."""
        refused = False
        for index, outcome in enumerate(self.outcomes):
            if isinstance(outcome, Unusable):
                continue
            if outcome.lsn > moment.lsn:
                error = RefusedRecordError("lsn_of_the_future", "its position lies beyond the database's own")
            elif outcome.xid in impossible:
                error = RefusedRecordError("impossible_transaction", "its transaction was never committed")
            else:
                continue
            refused = True
            self.outcomes[index] = Unusable(self.records[index], error, deletes=outcome.deletes)
        return refused

    @property
    def refused(self) -> list[tuple[Record, MalformedRecordError]]:
        """What goes to the dead letters, and why."""
        return [
            (outcome.record, outcome.error)
            for outcome in self.outcomes
            if isinstance(outcome, Unusable) and outcome.error is not None
        ]


class RecordReader:
    """Reads records through a sink. One for each worker."""

    def __init__(self, sink: Sink, metrics: WorkerMetrics) -> None:
        """Know no record yet."""
        self._sink = sink
        self._outside = metrics.foreign_tables.labels(sink.group)
        # For each partition the offset after the last record that was read, and its key if it was a deletion.
        self._last: dict[Partition, tuple[int, bytes | None]] = {}

    def read(self, partition: Partition, start: int, records: Sequence[Record], epoch: str, moment: Moment) -> Slice:
        """What these records mean; ``start`` is the watermark, ``moment`` one that is known."""
        reading = Reading(epoch, moment, int(time.time() * 1000))
        after, deleted = self._last.get(partition, (-1, None))
        is_known = after == start
        outcomes: list[Outcome] = []
        for record in records:
            if isinstance(record, UnreadableRecord):
                error = MalformedRecordError("unreadable_record", "the driver can't read it: a header's name, say")
                outcome: Outcome = self._sink.refuse(record, reading, error)
            elif record.value is None:
                outcome = self._null(record, reading, is_known=is_known, deleted=deleted)
            else:
                outcome = self._outcome(record, reading)
            outcomes.append(outcome)
            is_known, deleted = True, record.key if outcome.deletes else None
        self._last[partition] = (int(records[-1].offset) + 1, deleted)
        return Slice(partition, start, records, outcomes)

    def _null(self, record: Record, reading: Reading, *, is_known: bool, deleted: bytes | None) -> Outcome:
        """A record without a value is a tombstone of Kafka's if it directly follows the deletion of its own key."""
        if record.key is not None and not is_known:
            return self._sink.refuse(record, reading, None)
        if record.key is not None and record.key == deleted:
            return NOTHING
        return self._sink.refuse(record, reading, MalformedRecordError("null_value", "the record has no value"))

    def _outcome(self, record: Record, reading: Reading) -> Outcome:
        try:
            return self._sink.read(record, reading)
        except OutsideCatalogError as error:
            self._outside.inc()
            _log.info("outside_catalog", topic=record.topic, offset=record.offset, table=error.named[:100])
            return NOTHING
        except MalformedRecordError as error:
            return self._sink.refuse(record, reading, error)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - reading depends on nothing but the record, so it is the record's fault
            kind = type(error).__name__
            _log.error("unreadable", topic=record.topic, partition=record.partition, offset=record.offset, kind=kind)
            return self._sink.refuse(record, reading, MalformedRecordError("unreadable", f"reading it ended in {kind}"))


def newest_positions(slices: Sequence[Slice]) -> tuple[set[int], int]:
    """The transactions (64-bit ids) that must be seen before these are applied, and the highest position (bytes)."""
    xids = {outcome.xid for piece in slices for outcome in piece.outcomes if outcome.xid}
    # A position that no change can have is looked into where it is used, not waited for.
    lsns = (outcome.lsn for piece in slices for outcome in piece.outcomes if isinstance(outcome, Change))
    return xids, max(lsns, default=0)
