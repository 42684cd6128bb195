"""The rules of ``infra/redis/scripts``: one pure function a script, over immutable state.

Each function takes the state before and gives the state after, the reply and the notices that were published. Time is
left out: a lease has run out or has not, and whether a decision has become too old is told from outside.
``left_out`` names the rules that the model does without, to see what goes wrong then.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tests.model.names import ALL_RULES, LeftOut
from tests.model.store import (
    NO_TOKEN,
    Batch,
    Effect,
    Entry,
    Outcome,
    Snapshot,
    Store,
    contains,
    covers,
    drop,
    find,
    floor_beneath,
    header_of,
    live,
    put,
    query_live,
    sees,
    table_floor,
)


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
            self._row_changed(effect)
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

    def _row_changed(self, effect: Effect) -> None:
        _, key, table, lsn, xid, may_create, value = effect
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
                self.entries = put(self.entries, key, floor_beneath(self.store.epoch, header, 0))
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
            self.entries = put(self.entries, key, floor_beneath(self.store.epoch, header, lsn))

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
    placeholder = floor_beneath(store.epoch, header, 0)._replace(token=token, leased=True)
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
        is_contained = header.completed < completed and (header.xid == 0 or sees(snapshot, header.xid, left_out))
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
            floor = floor_beneath(store.epoch, header, lsn)
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
    holds = header is not None and header.kind == "p" and header.token == token
    if "query-lease" not in left_out and not holds:
        return refused
    known = store.tags
    for tag, generation in zip(tags, generations, strict=True):
        present = find(known, tag)
        if present is None and "never-recreate" in left_out:
            known = put(known, tag, generation)
        elif present != generation:
            return Outcome(store._replace(entries=drop(store.entries, key)), (0,)) if holds else refused
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
    after = store._replace(epoch=new, floor=floor, identity=identity, table_floors=floors, watermarks=marks)
    return Outcome(after, (1, new), ((new, ()),) if "epoch-notice" not in left_out else ())
