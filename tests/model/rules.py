"""The rules of ``infra/redis/scripts``: one pure function a script, over immutable state.

Each function takes the state before and gives the state after, the reply and the notices that were published. Time is
left out: a lease has run out or has not, and whether a decision has become too old is told from outside.
``left_out`` names the rules that the model does without, to see what goes wrong then.
"""

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


def _floor(epoch: str, header: Entry | None, lsn: int) -> Entry:
    if header is None:
        return Entry("p", epoch, lsn)
    return Entry("p", epoch, max(lsn, header.lsn), 0, header.snapshot, header.completed)


def apply(store: Store, batch: Batch, *, too_late: bool = False, left_out: LeftOut = ALL_RULES) -> Outcome:
    """``apply.lua``. ``too_late`` says that the batch waited so long that its events may be too old to create."""
    offset = find(store.watermarks, batch.field)
    matches = (-1 if offset is None else offset) == batch.expected or "watermark" in left_out
    if not store.epoch or store.epoch != batch.epoch or not matches:
        return Outcome(store, (0, "" if offset is None else str(offset), store.epoch))
    work = _Applying(store, batch, too_late=too_late and "age-in-script" not in left_out, left_out=left_out)
    for effect in batch.effects:
        work.do(effect)
    next_offset = batch.next_offset
    if "watermark" in left_out:
        next_offset = max(next_offset, offset or 0)
    work.watermarks = put(store.watermarks, batch.field, next_offset)
    notices = ((store.epoch, tuple(work.names)),) if work.names else ()
    return Outcome(work.after(), (1, work.written, work.contained), notices)


class _Applying:
    """One run of ``apply.lua``."""

    def __init__(self, store: Store, batch: Batch, *, too_late: bool, left_out: LeftOut) -> None:
        self.store = store
        self.batch = batch
        self.too_late = too_late
        self.left_out = left_out
        self.entries = store.entries
        self.tags = store.tags
        self.floors = store.table_floors
        self.watermarks = store.watermarks
        self.names: dict[str, None] = {}
        self.written = self.contained = 0

    def after(self) -> Store:
        return self.store._replace(
            entries=self.entries, tags=self.tags, table_floors=self.floors, watermarks=self.watermarks
        )

    def do(self, effect: Effect) -> None:
        what, name = effect[0], effect[1]
        counted = self.written, self.contained
        if what in {"v", "a"}:
            self._row_changed(*effect[1:])
        elif what == "g":
            if self.contained and "watermark-alone" in self.left_out:
                return
            self.tags = drop(self.tags, name)
        elif what == "x":
            self._row_uncacheable(*effect[1:])
        elif what == "t":
            self._table_changed(*effect[1:])
            return
        if "every-notice" in self.left_out and what in {"v", "a", "x"} and self.written == counted[0]:
            return
        self.names[name] = None

    def _floor_of(self, table: str) -> tuple[int, int]:
        return find(self.floors, table) or (0, 0)

    def _header(self, key: str) -> tuple[Entry | None, Entry | None]:
        stored = find(self.entries, key)
        return stored, header_of(self.store._replace(entries=self.entries), key, self.left_out)

    def _row_changed(
        self, key: str, table: str, lsn: int, xid: int, may_create: bool, value: Entry
    ) -> None:
        left_out = self.left_out
        floor = self._floor_of(table)
        stored, header = self._header(key)
        is_live = live(header, floor, left_out)
        known = header is not None and contains(header, lsn, xid, left_out)
        if is_live and known:
            self.contained += 1
            return
        if is_live and "event-replaces" in left_out:
            return
        is_stale = header is not None and not is_live and header.kind != "p"
        if is_stale and "stale-keeps-snapshot" in left_out:
            header, known = None, False
        creates = (
            may_create
            and not self.too_late
            and not known
            and (lsn > floor[0] or "truncate-floor" in left_out)
            and (lsn > self.store.floor or "epoch-floor" in left_out)
        )
        if is_live or creates:
            self.entries = put(self.entries, key, self._keep_snapshot(value, header))
            self.written += 1
        elif header is not None:
            if header.kind != "p" or (header.token and self._kills(header, lsn)):
                self.entries = put(self.entries, key, _floor(self.store.epoch, header, 0))
        elif stored is not None:
            self.entries = drop(self.entries, key)

    def _kills(self, placeholder: Entry, lsn: int) -> bool:
        if "event-kills-lease" in self.left_out:
            return False
        return not (lsn <= placeholder.lsn and "old-event-kills-lease" in self.left_out)

    def _keep_snapshot(self, value: Entry, header: Entry | None) -> Entry:
        if "event-keeps-snapshot" in self.left_out:
            return value._replace(snapshot=self.batch.snapshot, completed=self.batch.completed)
        if header is None or header.snapshot[0] == 0:
            return value
        return value._replace(snapshot=header.snapshot, completed=header.completed)

    def _row_uncacheable(self, key: str, table: str, lsn: int, xid: int) -> None:
        _, header = self._header(key)
        if live(header, self._floor_of(table), self.left_out) and header and contains(header, lsn, xid, self.left_out):
            self.contained += 1
        elif "only-invalidates-floor" in self.left_out:
            self.entries = drop(self.entries, key)
        else:
            self.entries = put(self.entries, key, _floor(self.store.epoch, header, lsn))

    def _table_changed(self, table: str, lsn: int) -> None:
        known = self._floor_of(table)
        self.floors = put(self.floors, table, (max(known[0], lsn), max(known[1], self.batch.completed)))


def lease(
    store: Store,
    key: str,
    table: str,
    *,
    token: str,
    format: str = "",  # noqa: A002 - the header's own word
    write: tuple[int, int] = NO_TOKEN,
    left_out: LeftOut = ALL_RULES,
) -> Outcome:
    """``lease.lua``."""
    if not store.epoch:
        return Outcome(store, ("unready",))
    header = header_of(store, key, left_out)
    if live(header, table_floor(store, table), left_out) and header is not None:
        if header.format == format and covers(header, write, left_out):
            return Outcome(store, ("hit", header))
    elif header is not None and header.kind == "p":
        if header.token and header.leased:
            return Outcome(store, ("held",))
    elif "stale-keeps-snapshot" in left_out:
        header = None
    if "lease-keeps-floor" in left_out:
        header = None
    placeholder = _floor(store.epoch, header, 0)._replace(token=token, leased=True)
    return Outcome(store._replace(entries=put(store.entries, key, placeholder)), ("lease",))


def fill(
    store: Store,
    key: str,
    table: str,
    *,
    token: str,
    kind: str,
    snapshot: Snapshot,
    completed: int,
    body: Hashable,
    format: str = "",  # noqa: A002 - the header's own word
    left_out: LeftOut = ALL_RULES,
) -> Outcome:
    """``fill.lua``."""
    refused = Outcome(store, (0,))
    if not store.epoch:
        return refused
    header = header_of(store, key, left_out)
    if "lease" not in left_out and (header is None or header.kind != "p" or header.token != token):
        return refused
    if completed < table_floor(store, table)[1] and "truncate-fills" not in left_out:
        return refused
    if header is not None and completed < header.completed:
        return refused
    entry = Entry(kind, store.epoch, 0, 0, snapshot, completed, format=format, body=body)
    return Outcome(store._replace(entries=put(store.entries, key, entry)), (1,))


def witness(
    store: Store,
    key: str,
    table: str,
    *,
    kind: str,
    snapshot: Snapshot,
    completed: int,
    body: Hashable,
    format: str = "",  # noqa: A002 - the header's own word
    left_out: LeftOut = ALL_RULES,
) -> Outcome:
    """``witness.lua``."""
    nothing = Outcome(store, (0,))
    if not store.epoch:
        return nothing
    floor = table_floor(store, table)
    header = header_of(store, key, left_out)
    if live(header, floor, left_out) and header is not None:
        is_contained = header.completed < completed and (
            header.xid == 0 or sees(snapshot, header.xid, left_out)
        )
        if not is_contained or "witness-value" in left_out:
            return nothing
        entry = Entry(
            kind, store.epoch, header.lsn, header.xid, snapshot, completed, "", False, format, header.origin, (), body
        )
        return Outcome(store._replace(entries=put(store.entries, key, entry)), (1,))
    if "witness" in left_out:
        return nothing
    if header is not None and header.kind != "p" and "stale-keeps-snapshot" in left_out:
        header = None
    entry = Entry("p", store.epoch, 0, 0, snapshot, completed)
    if header is not None:
        if header.completed >= completed:
            return nothing
        entry = entry._replace(lsn=header.lsn, token=header.token, leased=header.leased)
    return Outcome(store._replace(entries=put(store.entries, key, entry)), (1,))


def invalidate(
    store: Store,
    *,
    lsn: int,
    completed: int,
    keys: Sequence[tuple[str, str]] = (),
    tags: Sequence[str] = (),
    tables: Sequence[str] = (),
    writer_xid: int = 0,
    left_out: LeftOut = ALL_RULES,
) -> Outcome:
    """``invalidate.lua``. ``writer_xid`` serves only the model without the rule ``floor-by-lsn``."""
    entries = store.entries
    for key, _table in keys:
        header = header_of(store, key, left_out) if store.epoch else None
        is_new = header is not None and header.kind != "p" and (header.lsn > lsn or header.completed >= completed)
        if is_new:
            continue
        if not store.epoch or "floor" in left_out:
            entries = drop(entries, key)
        else:
            floor = _floor(store.epoch, header, lsn)
            entries = put(entries, key, floor._replace(xid=writer_xid) if "floor-by-lsn" in left_out else floor)
        store = store._replace(entries=entries)
    generations = store.tags
    for tag in tags:
        generations = drop(generations, tag)
    floors = store.table_floors
    for table in tables:
        known = find(floors, table) or (0, 0)
        floors = put(floors, table, (max(known[0], lsn), max(known[1], completed)))
    names = (*(key for key, _table in keys), *tags)
    after = store._replace(tags=generations, table_floors=floors)
    return Outcome(after, (len(names),), ((store.epoch, names),))


def query_lease(
    store: Store,
    key: str,
    tags: Sequence[str],
    *,
    token: str,
    generations: Sequence[str],
    format: str = "",  # noqa: A002 - the header's own word
    write_completed: int = 0,
    left_out: LeftOut = ALL_RULES,
) -> Outcome:
    """``query_lease.lua``. ``generations`` serve the tags that have none."""
    if not store.epoch:
        return Outcome(store, ("unready",))
    header = header_of(store, key, left_out)
    if header is not None and header.kind == "v":
        fresh = header.completed >= write_completed or "token" in left_out
        if header.format == format and fresh and query_live(store, header, tags):
            return Outcome(store, ("hit", header))
    elif header is not None and header.kind == "p" and header.leased:
        return Outcome(store, ("held",))
    known = store.tags
    taken = []
    for tag, new in zip(tags, generations, strict=True):
        generation = find(known, tag)
        if generation is None:
            known = put(known, tag, new)
            generation = new
        taken.append(generation)
    placeholder = Entry("p", store.epoch, token=token, leased=True)
    after = store._replace(tags=known, entries=put(store.entries, key, placeholder))
    return Outcome(after, ("lease", *taken))


def query_live(store: Store, entry: Entry, tags: Sequence[str]) -> bool:
    """Whether a cached result has all its tags' present generations."""
    return entry.tags == tuple((tag, find(store.tags, tag)) for tag in tags)


def query_fill(
    store: Store,
    key: str,
    tags: Sequence[str],
    *,
    token: str,
    generations: Sequence[str],
    completed: int,
    body: Hashable,
    format: str = "",  # noqa: A002 - the header's own word
    left_out: LeftOut = ALL_RULES,
) -> Outcome:
    """``query_fill.lua``."""
    refused = Outcome(store, (0,))
    if not store.epoch:
        return refused
    header = header_of(store, key, left_out)
    if "query-lease" not in left_out and (header is None or header.kind != "p" or header.token != token):
        return refused
    known = store.tags
    for tag, generation in zip(tags, generations, strict=True):
        present = find(known, tag)
        if present is None and "never-recreate" in left_out:
            known = put(known, tag, generation)
        elif present != generation:
            return refused
    pairs = tuple(zip(tags, generations, strict=True))
    entry = Entry("v", store.epoch, completed=completed, format=format, tags=pairs, body=body)
    return Outcome(store._replace(tags=known, entries=put(store.entries, key, entry)), (1,))


def epoch(
    store: Store,
    *,
    expected: str,
    new: str,
    floor: int,
    identity: str,
    watermarks: Sequence[tuple[str, int]],
    left_out: LeftOut = ALL_RULES,
) -> Outcome:
    """``epoch.lua``."""
    if store.epoch != expected:
        return Outcome(store, (0, store.epoch))
    is_same = store.identity == identity
    marks = store.watermarks if is_same or "epoch-forgets-watermarks" in left_out else ()
    for field, offset in watermarks:
        marks = put(marks, field, offset)
    floors = store.table_floors if is_same and "epoch-keeps-table-floors" not in left_out else ()
    after = store._replace(
        epoch=new, floor=floor, identity=identity, table_floors=floors, watermarks=marks
    )
    return Outcome(after, (1, new), ((new, ()),) if "epoch-notice" not in left_out else ())
