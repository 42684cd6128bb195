"""The steps of readers, of rows and of queries, and of a process's memory that hears of changes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from tests.model import rules
from tests.model.names import LeftOut
from tests.model.rules import Notice, find, put
from tests.model.world import (
    FAMILY,
    TABLE,
    Copy,
    Query,
    Reader,
    ReaderSpec,
    State,
    World,
    order_of,
    snapshot_of,
    visible_version,
)

Step = tuple[str, State]
EVERYTHING = "*"


def steps(world: World, state: State, left_out: LeftOut) -> Iterator[Step]:
    """What readers and the process's memory may do next."""
    for number, spec in enumerate(world.readers):
        reader = state.readers[number]
        if reader.step == "done":
            continue
        if reader.step == "idle" and not _may_start(world, state, number):
            continue
        name = f"reader {chr(65 + number)}"
        if spec.query is None:
            yield from _row_steps(world, state, number, name, left_out)
        else:
            yield from _query_steps(world, state, number, name, spec.query, left_out)
    if state.memory.queue:
        yield "a notice arrives", _deliver(state)


def _may_start(world: World, state: State, number: int) -> bool:
    spec = world.readers[number]
    if spec.token_of >= 0 and state.tokens[spec.token_of] is None:
        return False
    # Readers of one kind are alike: they start in their order.
    return not any(
        world.readers[other] == spec and state.readers[other].step == "idle" for other in range(number)
    )


def _replace(state: State, number: int, reader: Reader) -> State:
    return state._replace(readers=(*state.readers[:number], reader, *state.readers[number + 1 :]))


def _token_name(number: int, left_out: LeftOut) -> str:
    return "counted" if "random-tokens" in left_out else f"lease{number}"


def _row_steps(world: World, state: State, number: int, name: str, left_out: LeftOut) -> Iterator[Step]:
    spec, reader = world.readers[number], state.readers[number]
    key = world.rows[spec.row].key
    if reader.step == "idle":
        noted = Reader(subscription=state.memory.subscription if spec.remembers else 0)
        if "read-after-lease" in left_out:
            yield f"{name} reads {key} from the database", _replace(state, number, _read(world, state, spec, noted, "ask"))
        else:
            yield from _ask(world, state, number, name, noted, "read", left_out)
    elif reader.step == "ask":
        yield from _ask(world, state, number, name, reader, "act", left_out)
    elif reader.step == "read":
        if "one-statement" in left_out:
            body, kind = visible_version(world, state, spec.row)
            half = reader._replace(step="look", body=body, kind=kind)
            yield f"{name} reads {key} from the database", _replace(state, number, half)
        else:
            yield f"{name} reads {key} from the database", _replace(state, number, _read(world, state, spec, reader, "act"))
    elif reader.step == "look":
        snapshot = snapshot_of(world, state)
        whole = reader._replace(step="act", snapshot=snapshot, completed=order_of(snapshot))
        yield f"{name} then asks for its snapshot", _replace(state, number, whole)
    elif reader.step == "act":
        if "position-before-read" in left_out and reader.heard:
            reader = reader._replace(heard=frozenset())
        yield from _act(world, state, number, name, reader, left_out)
    elif reader.step == "keep":
        yield f"{name}'s process decides on its copy", _keep(state, number, key, (key, FAMILY), left_out)


def _read(world: World, state: State, spec: ReaderSpec, reader: Reader, step: str) -> Reader:
    snapshot = snapshot_of(world, state)
    body, kind = visible_version(world, state, spec.row)
    return reader._replace(step=step, body=body, kind=kind, snapshot=snapshot, completed=order_of(snapshot))


def _ask(
    world: World, state: State, number: int, name: str, reader: Reader, then: str, left_out: LeftOut
) -> Iterator[Step]:
    spec = world.readers[number]
    key = world.rows[spec.row].key
    write = (state.tokens[spec.token_of] if spec.token_of >= 0 else None) or rules.NO_TOKEN
    outcome = rules.lease(
        state.store, key, TABLE, token=_token_name(number, left_out), write=write, left_out=left_out
    )
    what = outcome.reply[0]
    after = state._replace(store=outcome.store)
    if what == "hit":
        # Whoever may be given an entry is checked in every state; only a process that remembers makes a difference.
        if spec.remembers:
            entry = outcome.reply[1]
            got = reader._replace(step="keep", body=entry.body, lsn=entry.lsn, completed=entry.completed)
            yield f"{name} hits {key}", _replace(after, number, got)
        return
    asked = reader._replace(step=then, holds=what == "lease")
    label = {"lease": "takes the lease of", "held": "finds the lease held of", "unready": "finds no epoch for"}[what]
    yield f"{name} {label} {key}", _replace(after, number, asked)


def _act(world: World, state: State, number: int, name: str, reader: Reader, left_out: LeftOut) -> Iterator[Step]:
    spec = world.readers[number]
    key = world.rows[spec.row].key
    finished = reader._replace(step="keep") if spec.remembers else Reader(step="done")
    if reader.holds:
        outcome = rules.fill(
            state.store,
            key,
            TABLE,
            token=_token_name(number, left_out),
            kind=reader.kind,
            snapshot=reader.snapshot,
            completed=reader.completed,
            body=reader.body,
            left_out=left_out,
        )
        after = state._replace(store=outcome.store)
        if outcome.reply[0]:
            yield f"{name} fills {key} with version {reader.body}", _replace(after, number, finished)
        else:
            yield f"{name}'s fill is refused", _replace(after, number, reader._replace(holds=False))
        return
    outcome = rules.witness(
        state.store,
        key,
        TABLE,
        kind=reader.kind,
        snapshot=reader.snapshot,
        completed=reader.completed,
        body=reader.body,
        left_out=left_out,
    )
    row = spec.row
    version = reader.body if isinstance(reader.body, int) else 0
    seen = (*state.seen[:row], max(state.seen[row], version), *state.seen[row + 1 :])
    after = state._replace(store=outcome.store, seen=seen)
    yield f"{name} returns version {version} of {key} and leaves its snapshot", _replace(after, number, finished)


def _query_body(world: World, state: State, query: Query) -> Hashable:
    return tuple(visible_version(world, state, row)[0] for row in query.rows)


def _query_steps(
    world: World, state: State, number: int, name: str, query: Query, left_out: LeftOut
) -> Iterator[Step]:
    spec, reader = world.readers[number], state.readers[number]
    if reader.step == "idle":
        noted = Reader(subscription=state.memory.subscription if spec.remembers else 0)
        if query.revealed:
            learned = noted._replace(
                step="ask", body=_query_body(world, state, query), completed=order_of(snapshot_of(world, state))
            )
            yield f"{name} runs the query and learns its tags", _replace(state, number, learned)
        else:
            yield from _ask_query(world, state, number, name, query, noted, "read", left_out)
    elif reader.step == "ask":
        then = "act" if "read-again" in left_out else "read"
        yield from _ask_query(world, state, number, name, query, reader, then, left_out)
    elif reader.step == "read":
        read = reader._replace(
            step="act", body=_query_body(world, state, query), completed=order_of(snapshot_of(world, state))
        )
        yield f"{name} runs the query", _replace(state, number, read)
    elif reader.step == "act":
        if "position-before-read" in left_out and reader.heard:
            reader = reader._replace(heard=frozenset())
        finished = reader._replace(step="keep") if spec.remembers else Reader(step="done")
        if not reader.holds:
            yield f"{name} returns its result", _replace(state, number, finished)
            return
        generations = reader.generations
        if "generations-first" in left_out:
            generations = tuple(find(state.store.tags, tag) or new for tag, new in zip(query.tags, generations, strict=True))
        outcome = rules.query_fill(
            state.store,
            query.key,
            query.tags,
            token=_token_name(number, left_out),
            generations=generations,
            completed=reader.completed,
            body=reader.body,
            left_out=left_out,
        )
        label = f"{name} fills the query" if outcome.reply[0] else f"{name}'s fill is refused"
        yield label, _replace(state._replace(store=outcome.store), number, finished)
    elif reader.step == "keep":
        yield f"{name}'s process decides on its copy", _keep(state, number, query.key, (query.key, *query.tags), left_out)


def _ask_query(
    world: World, state: State, number: int, name: str, query: Query, reader: Reader, then: str, left_out: LeftOut
) -> Iterator[Step]:
    spec = world.readers[number]
    write = (state.tokens[spec.token_of] if spec.token_of >= 0 else None) or rules.NO_TOKEN
    new = "1" if "random-generations" in left_out else f"g{number}"
    outcome = rules.query_lease(
        state.store,
        query.key,
        query.tags,
        token=_token_name(number, left_out),
        generations=[new] * len(query.tags),
        write_completed=write[1],
        left_out=left_out,
    )
    what = outcome.reply[0]
    after = state._replace(store=outcome.store)
    if what == "hit":
        if spec.remembers:
            entry = outcome.reply[1]
            yield (
                f"{name} hits the query",
                _replace(after, number, reader._replace(step="keep", body=entry.body, completed=entry.completed)),
            )
        return
    holds = what == "lease"
    asked = reader._replace(step=then, holds=holds, generations=outcome.reply[1:] if holds else ())
    label = {"lease": "takes the query's lease", "held": "finds the query's lease held", "unready": "finds no epoch"}
    yield f"{name} {label[what]}", _replace(after, number, asked)


# The process's memory.


def _keep(state: State, number: int, key: str, names: tuple[str, ...], left_out: LeftOut) -> State:
    reader, memory = state.readers[number], state.memory
    done = _replace(state, number, Reader(step="done"))
    same = reader.subscription == memory.subscription or "same-subscription" in left_out
    listened = {key} if "ring" in left_out else set(names)
    if not memory.subscription or not same or reader.heard & (listened | {EVERYTHING}):
        return done
    copy = Copy(reader.body, reader.lsn, reader.completed, names)
    return done._replace(memory=memory._replace(copies=put(memory.copies, key, copy)))


def publish(state: State, notices: tuple[Notice, ...]) -> State:
    """Notices set out towards the process, if it is subscribed."""
    memory = state.memory
    if not notices or not memory.subscription:
        return state
    return state._replace(memory=memory._replace(queue=memory.queue + notices))


def _deliver(state: State) -> State:
    memory = state.memory
    epoch, names = memory.queue[0]
    is_new = epoch != memory.epoch
    touched = {EVERYTHING} if is_new else set(names)
    copies = () if is_new else tuple(pair for pair in memory.copies if not touched & set(pair[1].names))
    readers = tuple(
        reader._replace(heard=reader.heard | touched)
        if reader.subscription == memory.subscription and reader.step not in {"idle", "done"}
        else reader
        for reader in state.readers
    )
    after = memory._replace(queue=memory.queue[1:], copies=copies, epoch=epoch)
    return state._replace(memory=after, readers=readers)


def disconnect(state: State, left_out: LeftOut) -> State:
    """The process's connection is lost: it serves nothing, and what was on its way is lost."""
    memory = state.memory
    if not memory.subscription:
        return state
    copies = memory.copies if "empties-on-loss" in left_out else ()
    return state._replace(memory=memory._replace(subscription=0, queue=(), copies=copies))


def connection(state: State, left_out: LeftOut) -> Iterator[Step]:
    """The process loses its connection and subscribes again."""
    memory = state.memory
    if not memory.subscriptions:
        return
    if memory.subscription and state.budget.disconnects:
        less = state._replace(budget=state.budget._replace(disconnects=state.budget.disconnects - 1))
        yield "the process loses its connection", disconnect(less, left_out)
    elif not memory.subscription:
        count = memory.subscriptions + 1
        again = memory._replace(subscription=count, subscriptions=count, epoch=state.store.epoch)
        yield "the process subscribes again", state._replace(memory=again)
