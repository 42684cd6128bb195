"""Larger worlds: some to exhaust where there is time, some to go through on random ways."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tests.model.world import Change, Query, ReaderSpec, Row, Transaction, WorkerSpec, World
from tests.model.worlds import LATE_FIRST, MOVE, QUERY_READER, READER, REMEMBERING, TAGGED, TRUNCATE, UPDATE

# Larger ones, with FRESHLINE_MODEL_DEPTH=2: some minutes.
DEEP_WORLDS: Final[Mapping[str, World]] = MappingProxyType(
    {
        world.name: world
        for world in (
            World("three readers", LATE_FIRST, readers=(READER, READER, READER), evictions=1, timeouts=1),
            World("zombie and failover", LATE_FIRST, readers=(READER, READER), zombies=1, failovers=1, timeouts=1),
            World(
                "writer and truncation",
                (Transaction(3, UPDATE), Transaction(2, UPDATE, writer=True), Transaction(1, TRUNCATE)),
                readers=(READER, READER),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                truncate_partition=1,
                late_visibility=False,
                max_batch=1,
            ),
            World(
                "truncation and epoch",
                (Transaction(1, UPDATE), Transaction(3, TRUNCATE, after=0), Transaction(2, UPDATE)),
                readers=(READER, READER),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                truncate_partition=1,
                retentions=1,
                epochs=1,
                late_visibility=False,
                max_batch=1,
            ),
            World(
                "memory and failover",
                (Transaction(2, UPDATE), Transaction(1, UPDATE)),
                readers=(REMEMBERING, REMEMBERING),
                failovers=1,
                late_visibility=False,
                max_batch=1,
            ),
            World(
                "rows and queries",
                (Transaction(2, TAGGED), Transaction(1, MOVE)),
                readers=(QUERY_READER, QUERY_READER, READER),
                evictions=1,
                timeouts=1,
                late_visibility=False,
            ),
        )
    }
)

_EVERY_KIND: Final = (
    Transaction(5, UPDATE),
    Transaction(3, UPDATE, writer=True),
    Transaction(4, TRUNCATE),
    Transaction(2, (Change("x"),)),
    Transaction(6, (Change("p", 0, 1),)),
    Transaction(1),
)
_BOTH: Final = Query("q", ("u1",), (0, 1))

# Far too large to exhaust: random ways through them.
WIDE_WORLDS: Final[Mapping[str, World]] = MappingProxyType(
    {
        world.name: world
        for world in (
            World(
                "everything",
                _EVERY_KIND,
                rows=(Row("r", 0), Row("s", 1)),
                readers=(READER, READER, ReaderSpec(1), ReaderSpec(token_of=1), REMEMBERING),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                truncate_partition=1,
                zombies=1,
                evictions=1,
                failovers=1,
                restarts=1,
                timeouts=2,
                ticks=1,
                retentions=1,
                epochs=2,
                disconnects=1,
            ),
            World(
                "nothing is lost",
                _EVERY_KIND,
                rows=(Row("r", 0), Row("s", 1)),
                readers=(READER, READER, READER, ReaderSpec(token_of=1), REMEMBERING),
                workers=(WorkerSpec(0), WorkerSpec(1), WorkerSpec(0, ("only",), "i")),
                truncate_partition=1,
                zombies=2,
                timeouts=3,
                ticks=1,
                disconnects=1,
            ),
            World(
                "epochs",
                _EVERY_KIND,
                rows=(Row("r", 0), Row("s", 1)),
                readers=(READER, READER, READER),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                truncate_partition=1,
                zombies=1,
                timeouts=1,
                retentions=1,
                epochs=2,
            ),
            World(
                "failovers",
                _EVERY_KIND,
                rows=(Row("r", 0), Row("s", 1)),
                readers=(READER, READER, READER, READER, REMEMBERING),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                truncate_partition=1,
                failovers=2,
                epochs=2,
                retentions=1,
                zombies=1,
                timeouts=1,
            ),
            World(
                "queries of two tags",
                (
                    Transaction(2, (Change("v", 0, old=("u1",), new=("u2",)),)),
                    Transaction(1, (Change("v", 1, old=("u1",), new=("u1",)),), writer=True),
                    Transaction(3, (Change("v", 0, old=("u2",), new=("u1",)),)),
                ),
                rows=(Row("r", 0), Row("s", 1)),
                readers=(
                    (ReaderSpec(query=_BOTH, remembers=True),) * 2
                    + (ReaderSpec(query=Query("p", ("u1", "u2"), (0, 1))),) * 2
                    + (ReaderSpec(query=_BOTH, token_of=1), READER)
                ),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                failovers=1,
                restarts=1,
                evictions=2,
                timeouts=2,
                disconnects=1,
                epochs=3,
                retentions=1,
            ),
        )
    }
)
