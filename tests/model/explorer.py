"""Exhaustive exploration of a world, nearest states first, so that the first counterexample is a shortest one."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import NamedTuple

from tests.model import workers
from tests.model.names import ALL_RULES, LeftOut
from tests.model.steps import note_written, steps
from tests.model.store import Entry, covers, find, header_of, live, query_live, table_floor
from tests.model.world import (
    FLUSHED,
    TABLE,
    WRITTEN,
    Copy,
    State,
    World,
    field_of,
    first_state,
    visible_version,
)


class Result(NamedTuple):
    """What an exploration found: how many states, and the shortest way to a broken promise, if there is one."""

    states: int
    broken: str = ""
    trace: tuple[str, ...] = ()
    complete: bool = True


def explore(world: World, left_out: LeftOut = ALL_RULES, *, limit: int = 2_000_000) -> Result:
    """Every state that can be reached, until a promise is broken or all are known."""
    first = first_state(world)
    origin: dict[State, tuple[State, str] | None] = {first: None}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        for label, after in steps(world, state, left_out):
            if world.ticks:
                after = after._replace(written=note_written(state, after))  # noqa: PLW2901 - the state, completed
            broken, seen = judge(world, after, left_out)
            if seen != after.seen:
                after = after._replace(seen=seen)  # noqa: PLW2901 - the state, completed
            if after in origin:
                continue
            origin[after] = (state, label)
            if broken:
                return Result(len(origin), broken, _trace(origin, after))
            if len(origin) >= limit:
                return Result(len(origin), complete=False)
            queue.append(after)
    return Result(len(origin))


def walk(world: World, left_out: LeftOut = ALL_RULES, *, seed: int, walks: int) -> Result:
    """Random ways through a world that is too large to exhaust: each goes on until nothing more can happen."""
    random = Random(seed)
    visited: set[int] = set()
    for _ in range(walks):
        state = first_state(world)
        trace = []
        while choices := list(steps(world, state, left_out)):
            label, after = random.choice(choices)
            trace.append(label)
            if world.ticks:
                after = after._replace(written=note_written(state, after))
            broken, seen = judge(world, after, left_out)
            state = after._replace(seen=seen)
            visited.add(hash(state))
            if broken:
                return Result(len(visited), broken, tuple(trace), complete=False)
    return Result(len(visited), complete=False)


def _trace(origin: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    labels = []
    while (step := origin[state]) is not None:
        state, label = step
        labels.append(label)
    return tuple(reversed(labels))


def judge(world: World, state: State, left_out: LeftOut) -> tuple[str, tuple[int, ...]]:
    """The promise that this state breaks, if any, and what anyone may have been given by now."""
    store = state.store
    floor = table_floor(store, TABLE)
    quiet = _is_quiet(world, state, left_out)
    seen = state.seen
    for row, spec in enumerate(world.rows):
        entry = header_of(store, spec.key, left_out)
        if entry is None or not live(entry, floor, left_out) or not isinstance(entry.body, int):
            continue
        version = entry.body
        if version < seen[row]:
            return f"a hit on {spec.key} gives version {version} after version {seen[row]} was given", seen
        if version < (applied := _applied(world, state, row)):
            return f"a hit on {spec.key} gives version {version} although the event of {applied} was applied", seen
        if quiet and version != (now := visible_version(world, state, row)[0]):
            return f"at quiet {spec.key} has version {version}, the database {now}", seen
        if broken := _breaks_token(state, row, entry, left_out):
            return broken, seen
        if version > seen[row]:
            seen = (*seen[:row], version, *seen[row + 1 :])
    return _judge_queries(world, state, left_out) or _judge_memory(world, state, left_out), seen


def _is_quiet(world: World, state: State, left_out: LeftOut) -> bool:
    """Whether everything was applied, as far as workers know."""
    if any(phase in {WRITTEN, FLUSHED} for phase in state.phases):
        return False
    for spec, worker in zip(world.workers, state.workers, strict=True):
        if worker.batch is not None or worker.position != len(state.logs[spec.partition]):
            return False
        if "idle-check" not in left_out and workers.misfit(state, spec, worker):
            return False
    return True


def _applied(world: World, state: State, row: int) -> int:
    """The newest version of a row whose event was applied, as the stored watermarks say."""
    newest = 0
    for spec in world.workers:
        mark = find(state.store.watermarks, field_of(spec)) or 0
        for event in state.logs[spec.partition][:mark]:
            concerns = event.row == row and ("rows" in spec.handles or (event.what == "x" and "only" in spec.handles))
            if concerns or (event.what == "t" and "rows" in spec.handles):
                newest = max(newest, event.lsn)
    return newest if state.store.identity == state.identity else 0


def _breaks_token(state: State, row: int, entry: Entry, left_out: LeftOut) -> str:
    for number, token in enumerate(state.tokens):
        if token is None or not covers(entry, token, left_out):
            continue
        own = max((v.lsn for v in state.versions if v.transaction == number and v.row in {row, -1}), default=0)
        if isinstance(entry.body, int) and entry.body < own:
            return f"a read with the token of version {own} gives version {entry.body}"
    return ""


def _stale_part(world: World, state: State, query_rows: tuple[int, ...], tags: set[str], body: object) -> str:
    versions = dict(zip(query_rows, body, strict=True)) if isinstance(body, tuple) else {}
    for spec in world.workers:
        if "tags" not in spec.handles:
            continue
        mark = find(state.store.watermarks, field_of(spec)) or 0
        for event in state.logs[spec.partition][:mark]:
            if tags & {*event.change.old, *event.change.new} and versions.get(event.row, event.lsn) < event.lsn:
                return f"gives version {versions[event.row]} of a row although the event of {event.lsn} was applied"
    return ""


def _judge_queries(world: World, state: State, left_out: LeftOut) -> str:
    store = state.store
    for query in {spec.query for spec in world.readers if spec.query is not None}:
        entry = header_of(store, query.key, left_out)
        if entry is None or entry.kind != "v" or not query_live(store, entry, query.tags):
            continue
        if stale := _stale_part(world, state, query.rows, set(query.tags), entry.body):
            return f"a hit on the query {stale}"
        for number, token in enumerate(state.tokens):
            if token is None or (entry.completed < token[1] and "token" not in left_out):
                continue
            own = {v.row: v.lsn for v in state.versions if v.transaction == number}
            for row, version in zip(query.rows, entry.body, strict=True):  # type: ignore[call-overload]
                if version < own.get(row, 0):
                    return f"a read of the query with the token of version {own[row]} gives version {version}"
    return ""


def _judge_memory(world: World, state: State, left_out: LeftOut) -> str:
    memory = state.memory
    if not memory.subscription:
        return ""
    for key, copy in memory.copies:
        if any(epoch != memory.epoch or set(names) & set(copy.names) for epoch, names in memory.queue):
            continue
        if broken := _judge_copy(world, state, key, copy, left_out):
            return f"a process {broken}"
    return ""


def _judge_copy(world: World, state: State, key: str, copy: Copy, left_out: LeftOut) -> str:
    for row, spec in enumerate(world.rows):
        if spec.key != key or not isinstance(copy.body, int):
            continue
        if copy.body < (applied := _applied(world, state, row)):
            return f"remembers version {copy.body} although it was told of the event of {applied}"
        if _is_quiet(world, state, left_out) and copy.body != visible_version(world, state, row)[0]:
            return f"at quiet remembers version {copy.body}"
        entry = Entry("v", "", copy.lsn, completed=copy.completed, body=copy.body)
        if broken := _breaks_token(state, row, entry, left_out):
            return f"remembers what is too old: {broken}"
    for query in {reader.query for reader in world.readers if reader.query is not None}:
        if query.key == key and (stale := _stale_part(world, state, query.rows, set(query.tags), copy.body)):
            return f"remembers a query that {stale}"
    return ""
