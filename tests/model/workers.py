"""The steps of workers and zombies: take a batch, apply it, check the watermark, begin an epoch."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model import readers, rules
from tests.model.names import LeftOut
from tests.model.store import NO_SNAPSHOT, Batch, Effect, Entry, find, put
from tests.model.world import (
    FAMILY,
    NO_FLOOR_YET,
    TABLE,
    VISIBLE,
    Event,
    State,
    WorkerSpec,
    WorkerState,
    World,
    field_of,
    order_of,
    position_of,
    snapshot_of,
)

Step = tuple[str, State]


def steps(world: World, state: State, left_out: LeftOut) -> Iterator[Step]:
    """What workers and zombies may do next."""
    for number, spec in enumerate(world.workers):
        worker = state.workers[number]
        name = f"worker {field_of(spec)}" if len(world.workers) > 1 else "the worker"
        if worker.stage:
            yield from _lower_floor(state, number, name, left_out)
        if worker.position < 0:
            yield from _begin_epoch(world, state, number, name, left_out)
        elif worker.batch is not None:
            yield from _apply(world, state, number, name, left_out)
        else:
            yield from _take(world, state, number, name, left_out)
            if misfit(state, spec, worker) and (
                "idle-check" not in left_out or state.starts[spec.partition] > worker.position
            ):
                yield f"{name} checks its watermark", settle(state, spec, number, left_out)
    if state.zombie is not None:
        too_late = state.hour > state.zombie_hour
        outcome = rules.apply(state.store, state.zombie, too_late=too_late, left_out=left_out)
        if outcome.reply[0]:
            after = readers.publish(state, outcome.notices)._replace(store=outcome.store, zombie=None)
            yield f"a zombie applies offset {state.zombie.expected} again", after


def misfit(state: State, spec: WorkerSpec, worker: WorkerState) -> bool:
    """Whether what is stored is not what the worker believes, or does not fit the log."""
    mark = find(state.store.watermarks, field_of(spec))
    return (
        mark != worker.position
        or state.store.epoch != worker.epoch
        or state.store.identity != state.identity
        or not state.starts[spec.partition] <= mark <= len(state.logs[spec.partition])
    )


def replace_worker(state: State, number: int, worker: WorkerState) -> State:
    """The state with this worker changed."""
    return state._replace(workers=(*state.workers[:number], worker, *state.workers[number + 1 :]))


def settle(state: State, spec: WorkerSpec, number: int, left_out: LeftOut) -> State:
    """The worker goes where the stored watermark is, or must begin an epoch if it does not fit the log."""
    mark = find(state.store.watermarks, field_of(spec))
    start = state.starts[spec.partition]
    fits = (
        state.store.epoch != ""
        and state.store.identity == state.identity
        and mark is not None
        and start <= mark <= len(state.logs[spec.partition])
    )
    if fits and mark is not None:
        return replace_worker(state, number, WorkerState(mark, state.store.epoch))
    if "epoch" in left_out and state.store.epoch:
        moved = state.store._replace(watermarks=put(state.store.watermarks, field_of(spec), start))
        return replace_worker(state, number, WorkerState(start, state.store.epoch))._replace(store=moved)
    return replace_worker(state, number, WorkerState(-1, state.store.epoch))


def _take(world: World, state: State, number: int, name: str, left_out: LeftOut) -> Iterator[Step]:
    spec, worker = world.workers[number], state.workers[number]
    log = state.logs[spec.partition]
    first = worker.position
    if first < state.starts[spec.partition]:
        return
    snapshot = snapshot_of(world, state)
    for last in range(first + 1, min(first + world.max_batch, len(log)) + 1):
        events = log[first:last]
        if not all(_may_apply(state, event, left_out) for event in events):
            break
        batch = Batch(
            field_of(spec),
            first,
            last,
            worker.epoch,
            order_of(snapshot),
            tuple(
                effect
                for event in events
                for effect in _effects(
                    spec,
                    _entry(world, event, worker.epoch),
                    event,
                    now=position_of(state),
                    may_create=event.hour == state.hour or "age" in left_out,
                    left_out=left_out,
                )
            ),
            snapshot if "event-keeps-snapshot" in left_out else NO_SNAPSHOT,
        )
        offsets = f"offset {first}" if last == first + 1 else f"offsets {first} to {last - 1}"
        taken = replace_worker(state, number, worker._replace(batch=batch, hour=state.hour))
        yield f"{name} takes {offsets}", taken
        if state.budget.zombies and state.zombie is None:
            less = state.budget._replace(zombies=state.budget.zombies - 1)
            stopped = taken._replace(zombie=batch, zombie_hour=state.hour, budget=less)
            yield f"{name} takes {offsets}, and so does one that is then stopped", stopped


def _may_apply(state: State, event: Event, left_out: LeftOut) -> bool:
    """Whether the event is visible to every reader, or the model does without that rule."""
    rule = "sight-of-unreadable" if event.what in {"u", "U"} else "sight"
    return state.phases[event.transaction] == VISIBLE or rule in left_out


def _entry(world: World, event: Event, epoch: str) -> Entry:
    """The entry that an event writes."""
    return Entry(event.what, epoch, event.lsn, world.transactions[event.transaction].xid, body=event.lsn)


def _effects(
    spec: WorkerSpec, entry: Entry, event: Event, *, now: int, may_create: bool, left_out: LeftOut
) -> Iterator[Effect]:
    key = event.key
    if event.what in {"t", "U"}:
        if "rows" in spec.handles:
            yield ("t", TABLE, event.lsn if event.what == "t" else now)
            yield ("n", FAMILY)
    elif event.what == "u":
        yield ("x", key, TABLE, now, 0)
    elif event.what == "x" and {"rows", "only"} & set(spec.handles):
        yield ("x", key, TABLE, event.lsn, entry.xid)
    elif "rows" in spec.handles:
        yield (event.what, key, TABLE, event.lsn, entry.xid, may_create, entry)
    if "tags" in spec.handles:
        old = () if "old-and-new" in left_out else event.change.old
        for tag in dict.fromkeys((*old, *event.change.new)):
            yield ("g", tag)


def _apply(world: World, state: State, number: int, name: str, left_out: LeftOut) -> Iterator[Step]:
    spec, worker = world.workers[number], state.workers[number]
    batch = worker.batch
    if batch is None:
        return
    too_late = state.hour > worker.hour
    outcome = rules.apply(state.store, batch, too_late=too_late, left_out=left_out)
    if outcome.reply[0]:
        after = readers.publish(state, outcome.notices)._replace(store=outcome.store)
        done = WorkerState(batch.next_offset, worker.epoch, stage=worker.stage, lsn=worker.lsn)
        yield f"{name} applies the batch", replace_worker(after, number, done)
        if "watermark-with-effects" in left_out:
            moved = state.store._replace(watermarks=put(state.store.watermarks, batch.field, batch.next_offset))
            crashed = replace_worker(state, number, done)._replace(store=moved)
            yield f"{name} moves the watermark and dies before the effects", crashed
    else:
        yield f"{name} is refused and settles", settle(state, spec, number, left_out)


def _begin_epoch(world: World, state: State, number: int, name: str, left_out: LeftOut) -> Iterator[Step]:
    spec, worker = world.workers[number], state.workers[number]
    settled = settle(state, spec, number, left_out)
    if settled.workers[number].position >= 0:
        yield f"{name} finds an epoch begun", settled
        return
    if not state.budget.epochs:
        return
    if "epoch-floor-after" in left_out and worker.stage == "":
        yield (
            f"{name} reads the log's position",
            replace_worker(state, number, worker._replace(stage="read", lsn=position_of(state))),
        )
        return
    floor = worker.lsn if worker.stage == "read" else NO_FLOOR_YET
    start = state.starts[spec.partition]
    mark = find(state.store.watermarks, field_of(spec))
    committed = {start}
    if mark is not None and state.store.identity == state.identity:
        committed.add(max(start, min(mark, len(state.logs[spec.partition]))))
    new = f"e{world.epochs - state.budget.epochs + 1}"
    for offset in sorted(committed):
        outcome = rules.epoch(
            state.store,
            expected=state.store.epoch,
            new=new,
            floor=floor,
            identity=state.identity,
            watermarks=[(field_of(spec), offset)],
            left_out=left_out,
        )
        begun = WorkerState(offset, new, stage="begun" if floor == NO_FLOOR_YET else "")
        after = readers.publish(state, outcome.notices)._replace(
            store=outcome.store, budget=state.budget._replace(epochs=state.budget.epochs - 1)
        )
        yield f"{name} begins an epoch from offset {offset}", replace_worker(after, number, begun)


def _lower_floor(state: State, number: int, name: str, left_out: LeftOut) -> Iterator[Step]:
    worker = state.workers[number]
    if worker.stage == "begun":
        read = worker._replace(stage="lower", lsn=position_of(state))
        yield f"{name} reads the log's position", replace_worker(state, number, read)
    elif worker.stage == "lower":
        outcome = rules.epoch(
            state.store,
            expected=worker.epoch,
            new=worker.epoch,
            floor=worker.lsn,
            identity=state.store.identity,
            watermarks=[],
            left_out=left_out,
        )
        done = replace_worker(state, number, worker._replace(stage="", lsn=0))
        yield f"{name} gives the epoch its floor", done._replace(store=outcome.store)
