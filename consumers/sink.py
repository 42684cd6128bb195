"""What a sink is: it reads records into changes, and says what must go where a record can't be used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from infra.kafka.log import Record
from infra.postgres.moments import Moment
from infra.redis.effects import Effect
from schemas.envelope import Source
from schemas.errors import MalformedRecordError


class Reading(msgspec.Struct, frozen=True):
    """What a sink knows while it reads: the epoch to write under, a moment to widen ids by, the worker's clock."""

    epoch: str
    moment: Moment
    now_ms: int

    def place(self, source: Source) -> tuple[int, int]:
        """A change's position (bytes) and the 64-bit id of its transaction; zeros where it has no position."""
        if not source.has_position:
            return 0, 0
        return source.lsn or 0, self.moment.snapshot.widen(source.xid32 or 0)


class Change(msgspec.Struct, frozen=True, gc=False):
    """A record that can be used.

    Attributes:
        effects: what it does to the copies.
        lsn: its position in the database's log, 0 where it has none.
        xid: the 64-bit id of its transaction, 0 where nothing needs to be seen.
        committed_at_ms: when that was committed, in milliseconds since 1970; 0 where nobody says.
        deletes: whether it deletes the row of the record's key, so that a tombstone of Kafka's may follow.
    """

    effects: Sequence[Effect]
    lsn: int = 0
    xid: int = 0
    committed_at_ms: int = 0
    deletes: bool = False


class Unusable(msgspec.Struct, frozen=True):
    """A record whose copies must go, since what it says of them can't be used.

    Attributes:
        record: the record.
        error: why, for the dead letters; None where the record is sound and merely can't be cached or placed.
        lsn: its position as far as it can be told, else 0. Copies go only when the change can be seen, if it ever can.
        xid: the 64-bit id of its transaction as far as it can be told, else 0.
        deletes: as of a change.
    """

    record: Record
    error: MalformedRecordError | None = None
    lsn: int = 0
    xid: int = 0
    deletes: bool = False


NOTHING: Change = Change(())

Outcome: TypeAlias = Change | Unusable


# Something to be done, once.
Step: TypeAlias = Callable[[], Awaitable[object]]


class Work(Protocol):
    """What changes need in another store, before their effects are applied in Redis."""

    async def prepare(self, changes: Sequence[Change]) -> Step:
        """Do what can be done before the batch in front is applied. The step that is returned does the rest.

        All of the changes can be seen in the database. Either may be done again, or never after this.

        Raises:
            StoreUnavailableError: a store does not answer.
        """
        ...


class Sink(Protocol):
    """One purpose of the events of some topics."""

    @property
    def group(self) -> str:
        """Its consumer group."""
        ...

    @property
    def topics(self) -> Sequence[str]:
        """What it reads."""
        ...

    def read(self, record: Record, reading: Reading) -> Outcome:
        """What a record means.

        Raises:
            OutsideCatalogError: it is of a table that the catalog does not have; it is counted and passed over.
            MalformedRecordError: it can't be used; its copies are dropped and it goes to the dead letters.
        """
        ...

    def refuse(self, record: Record, reading: Reading, error: MalformedRecordError | None) -> Unusable:
        """The outcome of a record that can't be used, placed as well as it can be. Never raises."""
        ...

    def drop(self, refused: Unusable, moment: Moment) -> Sequence[Effect]:
        """What must go, since this record may have changed it and can't be used. Never raises."""
        ...
