"""The steps of readers, of rows and of queries, and of a process's memory that hears of changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model import rules
from tests.model.names import LeftOut
from tests.model.store import NO_TOKEN, Notice, Store, find, put
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


class Turn(NamedTuple):
    """The turn of one reader."""

    world: World
    state: State
    number: int
    left_out: LeftOut

    @property
    def spec(self) -> ReaderSpec:
        """What the reader is."""
        return self.world.readers[self.number]

    @property
    def reader(self) -> Reader:
        """Where it stands."""
        return self.state.readers[self.number]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"reader {chr(65 + self.number)}"

    @property
    def key(self) -> str:
        """The key that it reads."""
        return self.spec.query.key if self.spec.query is not None else self.world.rows[self.spec.row].key

    @property
    def token(self) -> str:
        """The token of its lease: each reader takes one lease at most."""
        return "counted" if "random-tokens" in self.left_out else f"lease{self.number}"

    @property
    def write(self) -> tuple[int, int]:
        """The write's token that it presents."""
        return (self.state.tokens[self.spec.token_of] if self.spec.token_of >= 0 else None) or NO_TOKEN

    @property
    def finished(self) -> Reader:
        """Where it stands once it has returned."""
        return self.reader._replace(step="keep") if self.spec.remembers else Reader(step="done")

    def after(self, reader: Reader, store: Store | None = None) -> State:
        """The state with the reader changed, and what lies in Redis."""
        readers = (*self.state.readers[: self.number], reader, *self.state.readers[self.number + 1 :])
        return self.state._replace(readers=readers, store=self.state.store if store is None else store)


def steps(world: World, state: State, left_out: LeftOut) -> Iterator[Step]:
    """What readers and the process's memory may do next."""
    for number, spec in enumerate(world.readers):
        reader = state.readers[number]
        if reader.step == "done" or (reader.step == "idle" and not _may_start(world, state, number)):
            continue
        turn = Turn(world, state, number, left_out)
        if "position-before-read" in left_out and reader.step == "act" and reader.heard:
            turn = turn._replace(state=turn.after(reader._replace(heard=frozenset())))
        if reader.step == "keep":
            yield f"{turn.name}'s process decides on its copy", _keep(turn)
        elif spec.query is None:
            yield from _row_steps(turn)
        else:
            yield from _query_steps(turn, spec.query)
    if state.memory.queue:
        yield "a notice arrives", _deliver(state)


def _may_start(world: World, state: State, number: int) -> bool:
    spec = world.readers[number]
    if spec.token_of >= 0 and state.tokens[spec.token_of] is None:
        return False
    # Readers of one kind are alike: they start in their order.
    return not any(world.readers[other] == spec and state.readers[other].step == "idle" for other in range(number))


def _row_steps(turn: Turn) -> Iterator[Step]:
    reader, label = turn.reader, f"{turn.name} reads {turn.key} from the database"
    if reader.step == "idle":
        noted = Reader(subscription=turn.state.memory.subscription if turn.spec.remembers else 0)
        if "read-after-lease" in turn.left_out:
            yield label, turn.after(_read(turn, noted, "ask"))
        else:
            yield from _ask(turn, noted, "read")
    elif reader.step == "ask":
        yield from _ask(turn, reader, "act")
    elif reader.step == "read" and "one-statement" in turn.left_out:
        body, kind = visible_version(turn.world, turn.state, turn.spec.row)
        yield label, turn.after(reader._replace(step="look", body=body, kind=kind))
    elif reader.step == "read":
        yield label, turn.after(_read(turn, reader, "act"))
    elif reader.step == "look":
        snapshot = snapshot_of(turn.world, turn.state)
        whole = reader._replace(step="act", snapshot=snapshot, completed=order_of(snapshot))
        yield f"{turn.name} then asks for its snapshot", turn.after(whole)
    elif reader.holds:
        yield _fill(turn)
    else:
        yield _witness(turn)


def _read(turn: Turn, reader: Reader, step: str) -> Reader:
    snapshot = snapshot_of(turn.world, turn.state)
    body, kind = visible_version(turn.world, turn.state, turn.spec.row)
    return reader._replace(step=step, body=body, kind=kind, snapshot=snapshot, completed=order_of(snapshot))


def _ask(turn: Turn, reader: Reader, then: str) -> Iterator[Step]:
    key = turn.key
    outcome = rules.lease(turn.state.store, key, TABLE, token=turn.token, write=turn.write, left_out=turn.left_out)
    what = outcome.reply[0]
    if what != "hit":
        label = {"lease": "takes the lease of", "held": "finds the lease held of", "unready": "finds no epoch for"}[
            what
        ]
        asked = reader._replace(step=then, holds=what == "lease")
        yield f"{turn.name} {label} {key}", turn.after(asked, outcome.store)
    elif turn.spec.remembers:
        # Whoever may be given an entry is checked in every state; only a process that remembers makes a difference.
        entry = outcome.reply[1]
        got = reader._replace(step="keep", body=entry.body, lsn=entry.lsn, completed=entry.completed)
        yield f"{turn.name} hits {key}", turn.after(got)


def _fill(turn: Turn) -> Step:
    reader = turn.reader
    outcome = rules.fill(
        turn.state.store,
        turn.key,
        TABLE,
        token=turn.token,
        kind=reader.kind,
        snapshot=reader.snapshot,
        completed=reader.completed,
        body=reader.body,
        left_out=turn.left_out,
    )
    if outcome.reply[0]:
        return f"{turn.name} fills {turn.key} with version {reader.body}", turn.after(turn.finished, outcome.store)
    return f"{turn.name}'s fill is refused", turn.after(reader._replace(holds=False))


def _witness(turn: Turn) -> Step:
    reader, row = turn.reader, turn.spec.row
    outcome = rules.witness(
        turn.state.store,
        turn.key,
        TABLE,
        kind=reader.kind,
        snapshot=reader.snapshot,
        completed=reader.completed,
        body=reader.body,
        left_out=turn.left_out,
    )
    version = reader.body if isinstance(reader.body, int) else 0
    seen = turn.state.seen
    given = (*seen[:row], max(seen[row], version), *seen[row + 1 :])
    label = f"{turn.name} returns version {version} of {turn.key} and leaves its snapshot"
    return label, turn.after(turn.finished, outcome.store)._replace(seen=given)


def _query_steps(turn: Turn, query: Query) -> Iterator[Step]:
    reader = turn.reader
    if reader.step == "idle":
        noted = Reader(subscription=turn.state.memory.subscription if turn.spec.remembers else 0)
        if query.revealed:
            yield f"{turn.name} runs the query and learns its tags", turn.after(_run(turn, query, noted, "ask"))
        else:
            yield from _ask_query(turn, query, noted, "read")
    elif reader.step == "ask":
        yield from _ask_query(turn, query, reader, "act" if "read-again" in turn.left_out else "read")
    elif reader.step == "read":
        yield f"{turn.name} runs the query", turn.after(_run(turn, query, reader, "act"))
    elif reader.holds:
        yield _fill_query(turn, query)
    else:
        yield f"{turn.name} returns its result", turn.after(turn.finished)


def _run(turn: Turn, query: Query, reader: Reader, step: str) -> Reader:
    body = tuple(visible_version(turn.world, turn.state, row)[0] for row in query.rows)
    return reader._replace(step=step, body=body, completed=order_of(snapshot_of(turn.world, turn.state)))


def _fill_query(turn: Turn, query: Query) -> Step:
    generations = turn.reader.generations
    if "generations-first" in turn.left_out:
        present = turn.state.store.tags
        generations = tuple(find(present, tag) or new for tag, new in zip(query.tags, generations, strict=True))
    outcome = rules.query_fill(
        turn.state.store,
        query.key,
        query.tags,
        token=turn.token,
        generations=generations,
        completed=turn.reader.completed,
        body=turn.reader.body,
        left_out=turn.left_out,
    )
    label = f"{turn.name} fills the query" if outcome.reply[0] else f"{turn.name}'s fill is refused"
    return label, turn.after(turn.finished, outcome.store)


def _ask_query(turn: Turn, query: Query, reader: Reader, then: str) -> Iterator[Step]:
    new = "1" if "random-generations" in turn.left_out else f"g{turn.number}"
    outcome = rules.query_lease(
        turn.state.store,
        query.key,
        query.tags,
        token=turn.token,
        generations=[new] * len(query.tags),
        write_completed=turn.write[1],
        left_out=turn.left_out,
    )
    what = outcome.reply[0]
    if what != "hit":
        holds = what == "lease"
        asked = reader._replace(step=then, holds=holds, generations=outcome.reply[1:] if holds else ())
        label = {
            "lease": "takes the query's lease",
            "held": "finds the query's lease held",
            "unready": "finds no epoch",
        }
        yield f"{turn.name} {label[what]}", turn.after(asked, outcome.store)
    elif turn.spec.remembers:
        entry = outcome.reply[1]
        got = reader._replace(step="keep", body=entry.body, completed=entry.completed)
        yield f"{turn.name} hits the query", turn.after(got)


# The process's memory.


def _keep(turn: Turn) -> State:
    reader, memory, query = turn.reader, turn.state.memory, turn.spec.query
    names = (turn.key, FAMILY) if query is None else (query.key, *query.tags)
    done = turn.after(Reader(step="done"))
    same = reader.subscription == memory.subscription or "same-subscription" in turn.left_out
    listened = {turn.key} if "ring" in turn.left_out else set(names)
    if not memory.subscription or not same or reader.heard & (listened | {EVERYTHING}):
        return done
    copy = Copy(reader.body, reader.lsn, reader.completed, names)
    return done._replace(memory=memory._replace(copies=put(memory.copies, turn.key, copy)))


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
