"""The reference application at work: writers and readers side by side, paced, counted, and stopped in order.

    writers ──changes──▶ Postgres          readers ──rows, queries──▶ the cache
       └──▶ invalidate ▸ read with the token: an older copy is a violation

Order of shutdown: 1. no new change begins, 2. those that run are committed, 3. readers end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Final

import asyncpg
import msgspec

from freshline.reference.changes import CONFLICTS, KINDS, WEIGHTS, Changed, Ground, insert_conversation, insert_user
from freshline.reference.population import Population
from freshline.reference.reads import Reads, Violation
from freshline.reference.values import Values
from infra.postgres.pool import Pool
from schemas.errors import StoreUnavailableError

OWN_WRITE: Final = "own_write"
_AWAY: Final = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError)
_PAUSE_WHEN_AWAY_S: Final = 0.2
# A writer that fell behind makes up for this much, and no more.
_LARGEST_DEBT_S: Final = 1.0


class Plan(msgspec.Struct, frozen=True):
    """What the load is to do.

    Attributes:
        seed: of the random numbers. What the writers choose follows from it; how they meet does not.
        writers: how many write side by side.
        readers: how many read side by side.
        changes_per_s: rows changed a second, by all writers; None for as many as possible.
        reads_per_s: reads a second, by all readers; None for as many as possible.
        changes: it ends after so many changed rows, None for never.
        duration_s: it ends after so many seconds, None for never.
        weights: how often each kind of change is chosen, relative to the others.
        own_writes: how often a writer invalidates and reads its own write, in the same measure.
        users: so many at least there are before it begins.
        largest_document_bytes: of the documents' texts.
    """

    seed: int = 1
    writers: int = 4
    readers: int = 4
    changes_per_s: float | None = 200.0
    reads_per_s: float | None = 400.0
    changes: int | None = None
    duration_s: float | None = None
    weights: Mapping[str, float] = msgspec.field(default_factory=lambda: WEIGHTS)
    own_writes: float = 6.0
    users: int = 300
    largest_document_bytes: int = 200_000


class Counts(msgspec.Struct):
    """What has happened so far.

    Attributes:
        rows: rows changed and committed, those that follow by a cascade not counted.
        transactions: committed (or, for rollbacks, undone) changes, by kind.
        conflicts: changes that another writer's made impossible, by kind.
        reads: reads, by what was read.
        away: changes and reads that found a store away.
        violations: reads that were older than the write whose token they presented.
    """

    rows: int = 0
    transactions: Counter[str] = msgspec.field(default_factory=Counter)
    conflicts: Counter[str] = msgspec.field(default_factory=Counter)
    reads: Counter[str] = msgspec.field(default_factory=Counter)
    away: int = 0
    violations: list[Violation] = msgspec.field(default_factory=list)


class _Pace:
    """Lets through so many units a second; several wait for it side by side."""

    def __init__(self, per_s: float | None) -> None:
        self._per_s = per_s
        self._due = time.monotonic()

    async def wait(self, units: float, stop: asyncio.Event) -> None:
        if self._per_s is None:
            await asyncio.sleep(0)
            return
        now = time.monotonic()
        self._due = max(self._due, now - _LARGEST_DEBT_S) + units / self._per_s
        if self._due > now:
            await pause(self._due - now, stop)


class Load:
    """One run of the reference application. Takes open clients; closes nothing."""

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        reads: Reads,
        *,
        population: Population | None = None,
        on_commit: Callable[[Changed], None] = lambda _: None,
    ) -> None:
        """Prepare; no I/O.

        Args:
            plan: what to do.
            pool: of connections that may write, one for each writer at least.
            reads: reading through the cache.
            population: the rows that are known; learned from the database where it is empty.
            on_commit: called right after each commit.
        """
        self.plan = plan
        self.counts = Counts()
        self.population = population or Population()
        self._pool = pool
        self._reads = reads
        self._on_commit = on_commit
        self._stopping = asyncio.Event()
        self._kinds = [name for name, weight in plan.weights.items() if weight > 0]
        self._weights = [plan.weights[name] for name in self._kinds]
        if plan.own_writes:
            self._kinds.append(OWN_WRITE)
            self._weights.append(plan.own_writes)

    def stop(self) -> None:
        """Begin no new change and no new read; ``run`` returns when those that run have ended."""
        self._stopping.set()

    async def run(self) -> Counts:
        """Work until stopped, or until the plan is fulfilled."""
        await self._settle_in()
        writers_done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            timer = group.create_task(self._end_in_time())
            readers = [group.create_task(self._read(number, writers_done)) for number in range(self.plan.readers)]
            pace = _Pace(self.plan.changes_per_s)
            writers = [group.create_task(self._write(number, pace)) for number in range(self.plan.writers)]
            await asyncio.gather(*writers)
            writers_done.set()
            timer.cancel()
            if not writers:
                await asyncio.gather(*readers)
        return self.counts

    async def _settle_in(self) -> None:
        """Learn which rows there are, and see to it that there are enough."""
        ground = self._ground("settle in")
        async with self._pool.acquire() as connection:
            if not len(self.population.users):
                await self.population.learn(connection)
            while len(self.population.users) < self.plan.users and not self._stopping.is_set():
                for change in (insert_user, insert_conversation):
                    self._count(change.__name__, await change(connection, ground))

    async def _end_in_time(self) -> None:
        if self.plan.duration_s is not None:
            await pause(self.plan.duration_s, self._stopping)
            self._stopping.set()

    # Writing.

    async def _write(self, number: int, pace: _Pace) -> None:
        ground = self._ground(f"writer {number}")
        while not self._is_done():
            (kind,) = ground.random.choices(self._kinds, self._weights)
            units = 1.0
            try:
                if kind == OWN_WRITE:
                    changed = await self._write_and_read(ground)
                else:
                    async with self._pool.acquire() as connection:
                        changed = await KINDS[kind](connection, ground)
                        self._on_commit(changed)
                self._count(kind, changed)
                units = max(1, changed.rows)
            except CONFLICTS:
                self.counts.conflicts[kind] += 1
            except (*_AWAY, StoreUnavailableError):
                self.counts.away += 1
                await pause(_PAUSE_WHEN_AWAY_S, self._stopping)
            await pace.wait(units, self._stopping)

    async def _write_and_read(self, ground: Ground) -> Changed:
        changed, violation = await self._reads.own_write(self._pool, ground)
        if violation is not None:
            self.counts.violations.append(violation)
        return changed

    def _is_done(self) -> bool:
        return self._stopping.is_set() or (self.plan.changes is not None and self.counts.rows >= self.plan.changes)

    def _count(self, kind: str, changed: Changed) -> None:
        self.counts.transactions[kind] += 1
        self.counts.rows += changed.rows

    # Reading.

    async def _read(self, number: int, writers_done: asyncio.Event) -> None:
        random = Random(f"{self.plan.seed}/reader {number}")  # noqa: S311 - a load keeps no secrets
        pace = _Pace(None if self.plan.reads_per_s is None else self.plan.reads_per_s / self.plan.readers)
        while not self._stopping.is_set() and not writers_done.is_set():
            try:
                self.counts.reads[await self._reads.any(self.population, random)] += 1
            except (*_AWAY, StoreUnavailableError):
                self.counts.away += 1
                await pause(_PAUSE_WHEN_AWAY_S, self._stopping)
            await pace.wait(1, self._stopping)

    def _ground(self, name: str) -> Ground:
        random = Random(f"{self.plan.seed}/{name}")  # noqa: S311 - a load keeps no secrets
        values = Values(random, largest_document_bytes=self.plan.largest_document_bytes)
        return Ground(self.population, random, values)


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait so long, or until told to stop."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
