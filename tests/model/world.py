"""A small world around the rules: a database, its log, workers, readers, a process's memory and what may go wrong.

A ``World`` says what there is; a ``State`` is one moment of it. Versions of a row are the positions of the changes that
made them, so "older" is "smaller". Changes lie at even positions, and a position that is read lies between them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple

from tests.model.store import Batch, Pairs, Snapshot, Store

TABLE: Final = "t"
FAMILY: Final = "t:*"
NO_FLOOR_YET: Final = 1 << 52

# Phases of a transaction: its changes are written (rows locked), then flushed (events readable), then visible.
OPEN, WRITTEN, FLUSHED, VISIBLE = range(4)


class Row(NamedTuple):
    """A row that may be cached: its key, the partition of its events, and whether it exists at first."""

    key: str
    partition: int = 0
    present: bool = True


class Change(NamedTuple):
    """A change in a transaction.

    ``what``: ``v`` value, ``a`` deletion, ``x`` value that can't be cached, ``t`` truncation of the table, ``p`` change
    of the primary key of ``row`` into that of ``to``, ``u`` value whose event can't be read but for its key, ``U`` not
    even that. ``old`` and ``new`` are the tags of the old and the new values.
    """

    what: str
    row: int = 0
    to: int = 0
    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()


class Transaction(NamedTuple):
    """A transaction. Ids are given out at its beginning, so their order is not that of commits.

    ``writer`` invalidates after its commit; ``after`` is the transaction that must be visible before this one writes.
    """

    xid: int
    changes: tuple[Change, ...] = ()
    writer: bool = False
    after: int = -1


class Query(NamedTuple):
    """A cached query over rows: its tags, and whether its reader learns them only from what it reads."""

    key: str
    tags: tuple[str, ...]
    rows: tuple[int, ...]
    revealed: bool = False


class ReaderSpec(NamedTuple):
    """A reader of a row or of a query, which may present a writer's token and may remember what it read."""

    row: int = 0
    query: Query | None = None
    token_of: int = -1
    remembers: bool = False


class WorkerSpec(NamedTuple):
    """A worker: its group, partition, and whether it applies rows, tags, or only what can't be cached (``only``)."""

    partition: int = 0
    handles: tuple[str, ...] = ("rows", "tags")
    group: str = "w"


class World(NamedTuple):
    """What there is, and how often what may go wrong does."""

    name: str
    transactions: tuple[Transaction, ...]
    rows: tuple[Row, ...] = (Row("r"),)
    readers: tuple[ReaderSpec, ...] = ()
    workers: tuple[WorkerSpec, ...] = (WorkerSpec(),)
    late_visibility: bool = True
    max_batch: int = 2
    truncate_partition: int = 0
    zombies: int = 0
    evictions: int = 0
    failovers: int = 0
    restarts: int = 0
    timeouts: int = 0
    ticks: int = 0
    retentions: int = 0
    renewals: int = 0
    epochs: int = 0
    disconnects: int = 0
    starts_empty: bool = False


class Event(NamedTuple):
    """A record in the log: position, transaction, what it says, and the hour it was committed in."""

    lsn: int
    transaction: int
    change: Change
    row: int
    key: str
    what: str
    hour: int


class Version(NamedTuple):
    """A version of a row, at the position that made it. ``row`` is -1 for a truncation of all rows."""

    lsn: int
    transaction: int
    row: int
    what: str


class WorkerState(NamedTuple):
    """A worker: where it stands (-1: it must begin an epoch), the epoch it knows, and the batch that it has in hand."""

    position: int = 0
    epoch: str = "e0"
    batch: Batch | None = None
    hour: int = 0
    stage: str = ""
    lsn: int = 0


class Reader(NamedTuple):
    """A reader in the midst of a read. ``heard`` are the names in notices since it noted its position."""

    step: str = "idle"
    holds: bool = False
    kind: str = "v"
    snapshot: Snapshot = (0, ())
    completed: int = 0
    body: Hashable = None
    lsn: int = 0
    generations: tuple[str, ...] = ()
    heard: frozenset[str] = frozenset()
    subscription: int = 0


class Copy(NamedTuple):
    """What a process remembers: a row's version or a query's versions, and what they contain."""

    body: Hashable
    lsn: int
    completed: int
    names: tuple[str, ...]


class Memory(NamedTuple):
    """A process's memory: its subscription (0: none), notices on their way, and its copies."""

    subscription: int = 1
    subscriptions: int = 1
    epoch: str = "e0"
    queue: tuple[tuple[str, tuple[str, ...]], ...] = ()
    copies: Pairs[Copy] = ()


class Budget(NamedTuple):
    """What may still go wrong."""

    zombies: int
    evictions: int
    failovers: int
    restarts: int
    timeouts: int
    ticks: int
    retentions: int
    renewals: int
    epochs: int
    disconnects: int


class State(NamedTuple):
    """One moment of a world. ``seen`` is, for each row, the newest version anyone was given since the last loss."""

    phases: tuple[int, ...]
    logs: tuple[tuple[Event, ...], ...]
    starts: tuple[int, ...]
    store: Store
    workers: tuple[WorkerState, ...]
    readers: tuple[Reader, ...]
    seen: tuple[int, ...]
    budget: Budget
    next_lsn: int = 2
    hour: int = 0
    identity: str = "log0"
    versions: tuple[Version, ...] = ()
    tokens: tuple[tuple[int, int] | None, ...] = ()
    invalidated: tuple[bool, ...] = ()
    written: Pairs[int] = ()
    replica: Store | None = None
    zombie: Batch | None = None
    zombie_hour: int = 0
    memory: Memory = Memory()


def partitions_of(world: World) -> int:
    """How many partitions the log has."""
    used = [row.partition for row in world.rows] + [worker.partition for worker in world.workers]
    return 1 + max([*used, world.truncate_partition])


def field_of(worker: WorkerSpec) -> str:
    """The watermark's field of a worker."""
    return f"{worker.group}{worker.partition}"


def first_state(world: World) -> State:
    """The moment in which everything begins."""
    partitions = partitions_of(world)
    store = (
        Store()
        if world.starts_empty
        else Store("e0", 0, "log0", watermarks=tuple(sorted((field_of(worker), 0) for worker in world.workers)))
    )
    count = len(world.transactions)
    return State(
        phases=(OPEN,) * count,
        logs=((),) * partitions,
        starts=(0,) * partitions,
        store=store,
        workers=tuple(WorkerState() for _ in world.workers),
        readers=tuple(Reader() for _ in world.readers),
        seen=(0,) * len(world.rows),
        budget=Budget(*(getattr(world, name) for name in Budget._fields)),
        tokens=(None,) * count,
        invalidated=(False,) * count,
        memory=Memory() if any(reader.remembers for reader in world.readers) else Memory(0, 0),
    )


def snapshot_of(world: World, state: State) -> Snapshot:
    """What a statement sees now: ``xmax`` and the transactions below it that are in progress."""
    pairs = [(t.xid, phase) for t, phase in zip(world.transactions, state.phases, strict=True)]
    xmax = 1 + max((xid for xid, phase in pairs if phase == VISIBLE), default=0)
    return xmax, tuple(sorted(xid for xid, phase in pairs if xid < xmax and phase != VISIBLE))


def position_of(state: State) -> int:
    """How far the log is written: between the last change and the next one."""
    return state.next_lsn - 1


def order_of(snapshot: Snapshot) -> int:
    """The order of a snapshot in time."""
    return snapshot[0] - len(snapshot[1])


def visible_version(world: World, state: State, row: int) -> tuple[int, str]:
    """The version of a row that a statement sees now, and whether it is a value or absent."""
    lsn, what = 0, "v" if world.rows[row].present else "a"
    for version in state.versions:
        if version.row in {row, -1} and state.phases[version.transaction] == VISIBLE:
            lsn, what = version.lsn, version.what
    return lsn, "a" if what in {"a", "t"} else "v"
