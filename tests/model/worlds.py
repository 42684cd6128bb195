"""The worlds that are explored, and in which of them each rule shows what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tests.model.world import Change, Query, ReaderSpec, Row, Transaction, WorkerSpec, World

UPDATE: Final = (Change("v"),)
TRUNCATE: Final = (Change("t"),)
READER: Final = ReaderSpec()
REMEMBERING: Final = ReaderSpec(remembers=True)

MOVE: Final = (Change("v", old=("u1",), new=("u2",)),)
TAGGED: Final = (Change("v", old=("u1",), new=("u1",)),)
_QUERY: Final = Query("q", ("u1",), (0,))
_OTHER: Final = Query("p", ("u1",), (0,))
_REVEALED: Final = Query("q", ("u1",), (0,), revealed=True)
QUERY_READER: Final = ReaderSpec(query=_QUERY)

# Begin order is not commit order: the later writer has the smaller id, and a bystander stays in progress throughout.
LATE_FIRST: Final = (Transaction(3, UPDATE), Transaction(2, UPDATE, after=0), Transaction(1))

WORLDS: Final[Mapping[str, World]] = MappingProxyType(
    {
        world.name: world
        for world in (
            World("two readers", LATE_FIRST, readers=(READER, READER), evictions=1, timeouts=1),
            World("sight", (Transaction(1, UPDATE),), readers=(READER, READER), evictions=1, timeouts=1),
            World("zombie", LATE_FIRST, readers=(READER,), zombies=1, evictions=1),
            World(
                "failover",
                (Transaction(2, UPDATE), Transaction(1, UPDATE)),
                readers=(READER, READER),
                failovers=1,
                late_visibility=False,
            ),
            World(
                "restart",
                (Transaction(2, UPDATE), Transaction(1, UPDATE)),
                readers=(READER,),
                restarts=1,
                epochs=1,
                late_visibility=False,
            ),
            World(
                "first epoch",
                (Transaction(2, UPDATE), Transaction(1, UPDATE, after=0)),
                readers=(READER,),
                starts_empty=True,
                epochs=1,
                late_visibility=False,
                max_batch=1,
            ),
            World(
                "retention",
                (Transaction(2, UPDATE), Transaction(1, UPDATE)),
                readers=(READER,),
                retentions=1,
                epochs=1,
                late_visibility=False,
            ),
            World(
                "writer",
                (Transaction(3, UPDATE), Transaction(2, UPDATE, writer=True), Transaction(1)),
                readers=(READER, ReaderSpec(token_of=1)),
                evictions=1,
                late_visibility=False,
            ),
            World(
                "floor of another row's writer",
                (Transaction(2, UPDATE), Transaction(1, (Change("v", 0),), writer=True)),
                readers=(READER, READER),
                timeouts=1,
            ),
            World(
                "ages",
                (Transaction(2, UPDATE), Transaction(1, UPDATE, writer=True)),
                readers=(READER,),
                ticks=1,
                late_visibility=False,
                max_batch=1,
            ),
            World(
                "only invalidates",
                (Transaction(2, UPDATE), Transaction(1, (Change("x"),), after=0)),
                readers=(READER,),
                workers=(WorkerSpec(), WorkerSpec(handles=("only",), group="i")),
                late_visibility=False,
            ),
            World(
                "what can't be read",
                (Transaction(3, (Change("u"),)), Transaction(2, UPDATE, after=0), Transaction(1)),
                readers=(READER, READER),
                timeouts=1,
            ),
            World(
                "what can't be read at all",
                (Transaction(3, UPDATE), Transaction(2, (Change("U"),)), Transaction(1, (Change("v", 1),))),
                rows=(Row("r", 0), Row("s", 1)),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                readers=(READER,),
                max_batch=1,
            ),
            World(
                "truncate",
                (Transaction(3, UPDATE), Transaction(1, TRUNCATE), Transaction(2, UPDATE)),
                readers=(READER,),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                truncate_partition=1,
                late_visibility=False,
            ),
            World(
                "truncate then more",
                (
                    Transaction(1, TRUNCATE),
                    Transaction(3, UPDATE, after=0),
                    Transaction(2, UPDATE, after=1),
                    Transaction(4, (Change("v", 1),), after=2),
                ),
                readers=(READER,),
                rows=(Row("r", 0), Row("s", 1)),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                truncate_partition=1,
                late_visibility=False,
                max_batch=1,
            ),
            World(
                "truncate and epoch",
                (Transaction(1, UPDATE), Transaction(2, UPDATE), Transaction(3, TRUNCATE, after=1)),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                truncate_partition=1,
                retentions=1,
                epochs=1,
                late_visibility=False,
            ),
            World(
                "topics made anew",
                (Transaction(1, UPDATE), Transaction(2, UPDATE, after=0)),
                readers=(READER,),
                rows=(Row("r", 1),),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                renewals=1,
                epochs=2,
                late_visibility=False,
                max_batch=1,
            ),
            World(
                "primary key changes",
                (Transaction(1, (Change("p", 0, 1),)), Transaction(2, (Change("v", 1),), after=0)),
                rows=(Row("r", 0), Row("s", 1, present=False)),
                readers=(ReaderSpec(0), ReaderSpec(1)),
                workers=(WorkerSpec(0), WorkerSpec(1)),
                late_visibility=False,
                max_batch=1,
            ),
            World(
                "twice in one transaction",
                (Transaction(2, (Change("v"), Change("v"))), Transaction(1, (Change("a"),))),
                readers=(READER, READER),
                zombies=1,
                late_visibility=False,
            ),
            World(
                "queries",
                (Transaction(1, TAGGED),),
                readers=(QUERY_READER, QUERY_READER),
                evictions=1,
                timeouts=1,
                workers=(WorkerSpec(handles=("tags",)),),
            ),
            World(
                "queries beside rows",
                (Transaction(2, TAGGED), Transaction(1, TAGGED)),
                readers=(QUERY_READER, READER),
                late_visibility=False,
            ),
            World(
                "two queries of one tag",
                (Transaction(1, TAGGED),),
                readers=(QUERY_READER, ReaderSpec(query=_OTHER)),
                evictions=1,
                workers=(WorkerSpec(handles=("tags",)),),
            ),
            World(
                "row moves",
                (Transaction(1, MOVE),),
                readers=(QUERY_READER,),
                workers=(WorkerSpec(handles=("tags",)),),
                late_visibility=False,
            ),
            World(
                "revealed tags",
                (Transaction(1, TAGGED),),
                readers=(ReaderSpec(query=_REVEALED),) * 2,
                evictions=1,
                workers=(WorkerSpec(handles=("tags",)),),
            ),
            World(
                "queries and epoch",
                (Transaction(1, TAGGED),),
                readers=(QUERY_READER, QUERY_READER),
                retentions=1,
                epochs=1,
                failovers=1,
                workers=(WorkerSpec(handles=("tags",)),),
                late_visibility=False,
            ),
            World(
                "query with token",
                (Transaction(1, TAGGED, writer=True),),
                readers=(QUERY_READER, ReaderSpec(query=_QUERY, token_of=0)),
                evictions=1,
                workers=(WorkerSpec(handles=("tags",)),),
                late_visibility=False,
            ),
            World(
                "memory",
                (Transaction(2, UPDATE), Transaction(1, UPDATE)),
                readers=(REMEMBERING,),
                evictions=1,
                disconnects=1,
                late_visibility=False,
                max_batch=1,
            ),
            World(
                "memory beside a reader",
                (Transaction(2, UPDATE),),
                readers=(REMEMBERING, READER),
                evictions=1,
                disconnects=1,
                max_batch=1,
            ),
            World(
                "memory and epoch",
                (Transaction(1, UPDATE),),
                readers=(REMEMBERING, REMEMBERING),
                retentions=1,
                epochs=1,
                failovers=1,
            ),
            World(
                "memory of queries",
                (Transaction(1, TAGGED),),
                readers=(ReaderSpec(query=_QUERY, remembers=True),) * 2,
                disconnects=1,
                evictions=1,
                workers=(WorkerSpec(handles=("tags",)),),
            ),
        )
    }
)

# For each rule, the world in which leaving it out is explored.
SHOWN_IN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "lease": "two readers",
        "lease-keeps-floor": "writer",
        "random-tokens": "two readers",
        "read-after-lease": "two readers",
        "one-statement": "two readers",
        "running-transactions": "two readers",
        "not-xmin": "two readers",
        "event-kills-lease": "restart",
        "event-replaces": "two readers",
        "event-keeps-snapshot": "two readers",
        "old-event-kills-lease": "ages",
        "sight": "sight",
        "sight-of-unreadable": "what can't be read",
        "watermark": "zombie",
        "watermark-with-effects": "two readers",
        "idle-check": "failover",
        "epoch": "retention",
        "epoch-in-entries": "retention",
        "epoch-floor": "restart",
        "epoch-floor-after": "first epoch",
        "epoch-keeps-table-floors": "truncate and epoch",
        "epoch-forgets-watermarks": "topics made anew",
        "floor": "writer",
        "floor-by-lsn": "writer",
        "only-invalidates-floor": "only invalidates",
        "truncate-floor": "truncate",
        "truncate-fills": "truncate",
        "stale-keeps-snapshot": "truncate then more",
        "token": "writer",
        "age": "ages",
        "age-in-script": "ages",
        "witness": "two readers",
        "witness-value": "two readers",
        "generations-first": "two queries of one tag",
        "query-lease": "queries and epoch",
        "never-recreate": "queries",
        "random-generations": "two queries of one tag",
        "read-again": "revealed tags",
        "watermark-alone": "queries beside rows",
        "old-and-new": "row moves",
        "same-subscription": "memory",
        "every-notice": "memory beside a reader",
        "position-before-read": "memory",
        "empties-on-loss": "memory",
        "ring": "memory of queries",
        "epoch-notice": "memory and epoch",
    }
)
