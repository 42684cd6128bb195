"""What lies in Redis, as immutable values, and what can be said of it without changing it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from tests.model.names import ALL_RULES, LeftOut

Value = TypeVar("Value")
Pairs = tuple[tuple[str, Value], ...]
Snapshot = tuple[int, tuple[int, ...]]
Notice = tuple[str, tuple[str, ...]]
Effect = tuple[Any, ...]

NO_SNAPSHOT: Final[Snapshot] = (0, ())
NO_ORIGIN: Final = ("", -1, -1, 0)
NO_TOKEN: Final = (0, 0)


class Entry(NamedTuple):
    """What lies under a key: the header of ``schemas/entry.py``, and the body. ``leased`` is a lease not run out."""

    kind: str
    epoch: str
    lsn: int = 0
    xid: int = 0
    snapshot: Snapshot = NO_SNAPSHOT
    completed: int = 0
    token: str = ""
    leased: bool = False
    format: str = ""
    origin: tuple[str, int, int, int] = NO_ORIGIN
    tags: tuple[tuple[str, str], ...] = ()
    body: Hashable = b""


class Store(NamedTuple):
    """A namespace in Redis: the state hash, entries by key, generations by tag. All pairs are sorted by name."""

    epoch: str = ""
    floor: int = 0
    identity: str = ""
    table_floors: Pairs[tuple[int, int]] = ()
    watermarks: Pairs[int] = ()
    entries: Pairs[Entry] = ()
    tags: Pairs[str] = ()


class Batch(NamedTuple):
    """The argument of ``apply``. ``snapshot`` serves only the model without the rule ``event-keeps-snapshot``.

    Effects are ``(v|a, key, table, lsn, xid, may_create, entry)``, ``(x, key, table, lsn, xid)``, ``(t, table, lsn)``,
    ``(g, tag)`` and ``(n, name)``.
    """

    field: str
    expected: int
    next_offset: int
    epoch: str
    completed: int
    effects: tuple[Effect, ...]
    snapshot: Snapshot = NO_SNAPSHOT


class Outcome(NamedTuple):
    """What a script did: the state after, its reply, what it published."""

    store: Store
    reply: tuple[Any, ...]
    notices: tuple[Notice, ...] = ()


def find(pairs: Pairs[Value], name: str) -> Value | None:
    """The value of a name, if there is one."""
    for key, value in pairs:
        if key == name:
            return value
    return None


def put(pairs: Pairs[Value], name: str, value: Value) -> Pairs[Value]:
    """The pairs with this value for the name."""
    kept = [pair for pair in pairs if pair[0] != name]
    kept.append((name, value))
    kept.sort(key=_name_of)
    return tuple(kept)


def drop(pairs: Pairs[Value], name: str) -> Pairs[Value]:
    """The pairs without the name."""
    return tuple(pair for pair in pairs if pair[0] != name)


def _name_of(pair: tuple[str, Any]) -> str:
    return pair[0]


def header_of(store: Store, key: str, left_out: LeftOut = ALL_RULES) -> Entry | None:
    """The entry of a key, if it belongs to the present epoch."""
    entry = find(store.entries, key)
    if entry is None or (entry.epoch != store.epoch and "epoch-in-entries" not in left_out):
        return None
    return entry


def sees(snapshot: Snapshot, xid: int, left_out: LeftOut = ALL_RULES) -> bool:
    """Whether the snapshot contains the transaction."""
    xmax, running = snapshot
    if xid == 0 or xid >= xmax:
        return False
    if left_out:
        if "running-transactions" in left_out:
            return True
        if "not-xmin" in left_out:
            return xid < min(running, default=xmax)
    return xid not in running


def live(entry: Entry | None, floor: tuple[int, int], left_out: LeftOut = ALL_RULES) -> bool:
    """Whether an entry is a value, or "no such row", that no floor of its table made stale."""
    if entry is None or entry.kind == "p":
        return False
    if left_out and (
        ("truncate-floor" in left_out and entry.lsn > 0) or ("truncate-fills" in left_out and entry.lsn == 0)
    ):
        return True
    return entry.lsn > floor[0] or entry.completed >= floor[1]


def covers(entry: Entry, token: tuple[int, int], left_out: LeftOut = ALL_RULES) -> bool:
    """Whether an entry contains the write that a token stands for."""
    return "token" in left_out or entry.lsn > token[0] or entry.completed >= token[1]


def contains(entry: Entry, lsn: int, xid: int, left_out: LeftOut = ALL_RULES) -> bool:
    """Whether an entry contains the change of this position and transaction. Position 0 is one that nobody knows."""
    if "floor-by-lsn" in left_out and entry.kind == "p" and entry.xid:
        return xid <= entry.xid
    return 0 < lsn <= entry.lsn or sees(entry.snapshot, xid, left_out)


def table_floor(store: Store, table: str) -> tuple[int, int]:
    """The floor of a table."""
    return find(store.table_floors, table) or (0, 0)


def floor_beneath(epoch: str, header: Entry | None, lsn: int) -> Entry:
    """A placeholder with this floor, or the one of what lay there, whose snapshot it keeps."""
    if header is None:
        return Entry("p", epoch, lsn)
    return Entry("p", epoch, max(lsn, header.lsn), 0, header.snapshot, header.completed)


def query_live(store: Store, entry: Entry, tags: Sequence[str]) -> bool:
    """Whether a cached result has all its tags' present generations."""
    return entry.tags == tuple((tag, find(store.tags, tag)) for tag in tags)
