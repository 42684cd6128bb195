"""Every step that may come next in a world: of the database, its workers, readers and writers, and of misfortune."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from tests.model import readers, workers
from tests.model.names import LeftOut
from tests.model.rules import invalidate
from tests.model.store import Entry, Pairs, Store, drop, find, put
from tests.model.world import (
    FLUSHED,
    OPEN,
    VISIBLE,
    WRITTEN,
    Change,
    Event,
    State,
    Transaction,
    Version,
    World,
    order_of,
    position_of,
    snapshot_of,
)

Step = tuple[str, State]


def steps(world: World, state: State, left_out: LeftOut) -> Iterator[Step]:
    """Each step that may come next: what happens, and the state after it."""
    yield from _database(world, state)
    yield from workers.steps(world, state, left_out)
    yield from readers.steps(world, state, left_out)
    yield from _writers(world, state, left_out)
    yield from _misfortune(world, state, left_out)


def _locked(world: World, state: State, but: int) -> set[int]:
    """The rows that other transactions hold, -1 for all of them."""
    held: set[int] = set()
    for number, transaction in enumerate(world.transactions):
        if number != but and state.phases[number] in {WRITTEN, FLUSHED}:
            held.update(_rows_of(world, transaction))
    return held


def _rows_of(world: World, transaction: Transaction) -> set[int]:
    rows: set[int] = set()
    for change in transaction.changes:
        if change.what == "t":
            rows.update(range(len(world.rows)))
        else:
            rows.add(change.row)
            if change.what == "p":
                rows.add(change.to)
    return rows


def _database(world: World, state: State) -> Iterator[Step]:
    for number, transaction in enumerate(world.transactions):
        phase = state.phases[number]
        if phase == VISIBLE or not transaction.changes:
            continue
        name = f"T{transaction.xid}"
        if phase == OPEN:
            if transaction.after >= 0 and state.phases[transaction.after] != VISIBLE:
                continue
            if _rows_of(world, transaction) & _locked(world, state, number):
                continue
            yield f"{name} writes", _write(state, number, transaction)
        elif phase == WRITTEN:
            flushed = _flush(world, state, number)
            if not world.late_visibility:
                flushed = _with_phase(flushed, number, VISIBLE)
            yield f"{name} commits" + (" (not yet visible)" if world.late_visibility else ""), flushed
        else:
            yield f"{name} becomes visible", _with_phase(state, number, VISIBLE)


def _with_phase(state: State, number: int, phase: int) -> State:
    return state._replace(phases=(*state.phases[:number], phase, *state.phases[number + 1 :]))


def _write(state: State, number: int, transaction: Transaction) -> State:
    lsn = state.next_lsn
    versions = list(state.versions)
    for change in transaction.changes:
        if change.what == "p":
            versions += [Version(lsn, number, change.row, "a"), Version(lsn, number, change.to, "v")]
        else:
            versions.append(Version(lsn, number, -1 if change.what == "t" else change.row, change.what))
        lsn += 2
    return _with_phase(state, number, WRITTEN)._replace(next_lsn=lsn, versions=tuple(versions))


def _flush(world: World, state: State, number: int) -> State:
    logs = list(state.logs)
    first = min(version.lsn for version in state.versions if version.transaction == number)

    def append(lsn: int, change: Change, row: int, what: str) -> None:
        partition = world.truncate_partition if what == "t" else world.rows[row].partition
        logs[partition] += (Event(lsn, number, change, row, world.rows[row].key, what, state.hour),)

    for lsn, change in zip(count(first, 2), world.transactions[number].changes):
        if change.what == "p":
            append(lsn, change, change.row, "a")
            append(lsn, change, change.to, "v")
        else:
            append(lsn, change, change.row, change.what)
    return _with_phase(state, number, FLUSHED)._replace(logs=tuple(logs))


def _writers(world: World, state: State, left_out: LeftOut) -> Iterator[Step]:
    for number, transaction in enumerate(world.transactions):
        if not transaction.writer or state.phases[number] != VISIBLE or state.invalidated[number]:
            continue
        token = state.tokens[number]
        name = f"the writer of T{transaction.xid}"
        if token is None:
            taken = (position_of(state), order_of(snapshot_of(world, state)))
            tokens = (*state.tokens[:number], taken, *state.tokens[number + 1 :])
            yield f"{name} takes a token", state._replace(tokens=tokens)
            continue
        rows = sorted(_rows_of(world, transaction))
        tags = sorted({tag for change in transaction.changes for tag in (*change.old, *change.new)})
        outcome = invalidate(
            state.store,
            lsn=token[0],
            completed=token[1],
            keys=[(world.rows[row].key, "t") for row in rows],
            tags=tags,
            writer_xid=transaction.xid,
            left_out=left_out,
        )
        own = {v.row: v.lsn for v in state.versions if v.transaction == number}
        seen = tuple(max(known, own.get(row, 0)) for row, known in enumerate(state.seen))
        after = readers.publish(state, outcome.notices)._replace(
            store=outcome.store,
            seen=seen,
            invalidated=(*state.invalidated[:number], True, *state.invalidated[number + 1 :]),
        )
        yield f"{name} invalidates", after


def _misfortune(world: World, state: State, left_out: LeftOut) -> Iterator[Step]:
    budget = state.budget
    if budget.evictions:
        yield from _evictions(world, state)
    if budget.timeouts:
        yield from _timeouts(state)
    if budget.failovers or budget.restarts:
        yield from _losses(state, left_out)
    if budget.ticks or state.written:
        yield from _time(state)
    if budget.retentions:
        yield from _retention(state)
    if budget.renewals and all(state.phases[event.transaction] == VISIBLE for log in state.logs for event in log):
        less = state._replace(budget=budget._replace(renewals=budget.renewals - 1))
        empty = tuple(() for _ in state.logs)
        yield "the topics are made anew", less._replace(logs=empty, starts=(0,) * len(empty), identity="log1")
    yield from readers.connection(state, left_out)


def _evictions(world: World, state: State) -> Iterator[Step]:
    budget, store = state.budget, state.store
    less = state._replace(budget=budget._replace(evictions=budget.evictions - 1))
    for key, _ in store.entries:
        seen = tuple(0 if world.rows[row].key == key else known for row, known in enumerate(state.seen))
        after = store._replace(entries=drop(store.entries, key))
        yield f"{key} is evicted", less._replace(store=after, seen=seen)
    for tag, _ in store.tags:
        yield f"tag {tag} is evicted", less._replace(store=store._replace(tags=drop(store.tags, tag)))


def _timeouts(state: State) -> Iterator[Step]:
    budget, store = state.budget, state.store
    less = state._replace(budget=budget._replace(timeouts=budget.timeouts - 1))
    for key, entry in store.entries:
        if entry.leased:
            out = put(store.entries, key, entry._replace(leased=False))
            yield f"the lease of {key} runs out", less._replace(store=store._replace(entries=out))
        if entry.kind == "p" and entry.lsn == 0 and entry.completed == 0:
            gone = store._replace(entries=drop(store.entries, key))
            yield f"the placeholder of {key} expires", less._replace(store=gone)


def _losses(state: State, left_out: LeftOut) -> Iterator[Step]:
    budget = state.budget
    if budget.failovers:
        if state.replica is None:
            yield "the replica gets this far", state._replace(replica=state.store)
        elif state.replica != state.store:
            less = state._replace(replica=None, budget=budget._replace(failovers=budget.failovers - 1))
            yield "Redis fails over to the replica", _lose(less, state.replica, left_out)
    if budget.restarts:
        less = state._replace(budget=budget._replace(restarts=budget.restarts - 1))
        yield "Redis restarts empty", _lose(less, Store(), left_out)


def _time(state: State) -> Iterator[Step]:
    budget, store = state.budget, state.store
    if budget.ticks:
        less = state._replace(budget=budget._replace(ticks=budget.ticks - 1))
        yield "an entry's time to live passes", less._replace(hour=state.hour + 1)
    for key, hour in state.written:
        if hour < state.hour and find(store.entries, key) is not None:
            yield f"{key} expires", state._replace(store=store._replace(entries=drop(store.entries, key)))


def _lose(state: State, store: Store, left_out: LeftOut) -> State:
    """Redis goes back: what anyone was given before may be newer than what they are given now."""
    lost = readers.disconnect(state, left_out)
    return lost._replace(store=store, seen=(0,) * len(state.seen))


def _retention(state: State) -> Iterator[Step]:
    less = state._replace(budget=state.budget._replace(retentions=state.budget.retentions - 1))
    for partition, log in enumerate(state.logs):
        start = state.starts[partition]
        if start < len(log) and state.phases[log[start].transaction] == VISIBLE:
            starts = (*state.starts[:partition], start + 1, *state.starts[partition + 1 :])
            yield f"retention removes offset {start} of partition {partition}", less._replace(starts=starts)


def note_written(before: State, after: State) -> Pairs[int]:
    """The hour in which each key was last given a time to live: a lease keeps the one of what lay there."""
    if before.store.entries == after.store.entries:
        return after.written
    written = before.written
    for key, entry in after.store.entries:
        old = find(before.store.entries, key)
        if old == entry or (old is not None and _is_lease_of(entry, old)):
            continue
        written = put(written, key, after.hour)
    return written


def _is_lease_of(entry: Entry, old: Entry) -> bool:
    return bool(entry.token) and entry.lsn == old.lsn and entry.snapshot == old.snapshot
