"""What a place holds: the key of every copy, which of them a reader would be served, and why the rest would not be.

Whether an entry of Redis is served is asked of ``Coherence`` itself, in the way that readers ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, Protocol, cast

import msgspec
from redis.asyncio import Redis

from infra.redis.coherence import Coherence, Found
from schemas.catalog import RESERVED_FAMILIES, Catalog, Table
from schemas.entry import PLACEHOLDER, VALUE, Header, unpack
from schemas.errors import PatternError

_SCAN_COUNT: Final = 2_000
_LOOKS_AT_ONCE: Final = 8

OTHER_LAYOUT: Final = "other layout"
OTHER_EPOCH: Final = "earlier epoch"
LEASED: Final = "placeholder"
GONE: Final = "gone meanwhile"
OTHER_FORMAT: Final = "other columns"
INVALIDATED: Final = "invalidated"


class RowCopy(msgspec.Struct, frozen=True):
    """A row that a reader would be served. ``body`` is None for a remembered "no such row"."""

    key: str
    table: Table
    body: bytes | None


class QueryCopy(msgspec.Struct, frozen=True):
    """A cached query that a reader would be served."""

    key: str
    body: bytes


class Unserved(msgspec.Struct, frozen=True):
    """An entry that no reader would be served, and why."""

    key: str
    why: str


class Stranger(msgspec.Struct, frozen=True):
    """A value under a key that is neither a row's nor a query's."""

    key: str


Copy = RowCopy | QueryCopy | Unserved | Stranger


class Place(Protocol):
    """Where copies are."""

    @property
    def name(self) -> str:
        """As people know it."""
        ...

    def keys(self) -> AsyncIterator[list[str]]:
        """The keys of all copies, in pages; one may come twice."""
        ...

    async def classify(self, keys: Sequence[str]) -> list[Copy]:
        """What lies under each of these keys now, in their order."""
        ...


class Memory(Protocol):
    """What a process remembers."""

    def served(self) -> Iterable[tuple[str, bytes | None]]:
        """Every key and body that a caller would be given now; None for "no such row"."""
        ...


class MemoryCopies:
    """The memory of one process."""

    def __init__(self, name: str, memory: Memory, catalog: Catalog) -> None:
        """``name`` is the process's."""
        self.name = f"memory {name}"
        self._memory = memory
        self._catalog = catalog

    async def keys(self) -> AsyncIterator[list[str]]:
        """All keys, at once."""
        yield [key for key, _ in self._memory.served()]

    async def classify(self, keys: Sequence[str]) -> list[Copy]:
        """What is remembered under each of these keys, in their order."""
        served = dict(self._memory.served())
        return [self._copy(key, served[key]) if key in served else Unserved(key, GONE) for key in keys]

    def _copy(self, key: str, body: bytes | None) -> Copy:
        table = table_of(self._catalog, key)
        if table is not None:
            return RowCopy(key, table, body)
        return QueryCopy(key, body) if body is not None else Stranger(key)


class RedisCopies:
    """The entries of one namespace."""

    name: Final = "redis"

    def __init__(self, redis: Redis, coherence: Coherence, catalog: Catalog) -> None:
        """Take open clients; close nothing."""
        self._redis = redis
        self._coherence = coherence
        self._catalog = catalog
        self._turn = asyncio.Semaphore(_LOOKS_AT_ONCE)

    async def keys(self) -> AsyncIterator[list[str]]:
        """The names of all entries, in pages; one may come twice."""
        prefix = f"{self._coherence.namespace}:"
        cursor = 0
        while True:
            cursor, found = await self._redis.scan(cursor, match=f"{prefix}*", count=_SCAN_COUNT)
            names = [cast("bytes", name).decode(errors="surrogateescape").removeprefix(prefix) for name in found]
            page = [name for name in names if name.partition(":")[0] not in RESERVED_FAMILIES]
            if page:
                yield page
            if not cursor:
                return

    async def classify(self, keys: Sequence[str]) -> list[Copy]:
        """What lies under each of these keys, in their order."""
        if not keys:
            return []
        entries = await self._redis.mget([self._coherence.entry_key(key) for key in keys])
        rows: list[tuple[str, Table]] = []
        queries: list[tuple[str, Header]] = []
        copies: dict[str, Copy] = {}
        for key, entry in zip(keys, entries, strict=True):
            unpacked = unpack(cast("bytes", entry)) if entry is not None else None
            if unpacked is None:
                copies[key] = Unserved(key, GONE if entry is None else OTHER_LAYOUT)
            elif unpacked[0].kind == PLACEHOLDER:
                copies[key] = Unserved(key, LEASED)
            elif unpacked[0].tags:
                queries.append((key, unpacked[0]))
            elif (table := table_of(self._catalog, key)) is not None:
                rows.append((key, table))
            else:
                copies[key] = Stranger(key)
        served = await self._coherence.look(rows) if rows else []
        for (key, table), found in zip(rows, served, strict=True):
            copies[key] = (
                RowCopy(key, table, found.body if found.header.kind == VALUE else None)
                if found is not None
                else Unserved(key, await self._why(key, table.format))
            )
        results = await asyncio.gather(*(self._look_query(key, header) for key, header in queries))
        for (key, header), result in zip(queries, results, strict=True):
            copies[key] = (
                QueryCopy(key, result.body)
                if result is not None
                else Unserved(key, await self._why(key, header.format))
            )
        return [copies[key] for key in keys]

    async def _look_query(self, key: str, header: Header) -> Found | None:
        async with self._turn:
            return await self._coherence.look_query(key, [tag for tag, _ in header.tags], fmt=header.format)

    async def _why(self, key: str, fmt: str) -> str:
        """Why a value is not served."""
        entry = await self._redis.get(self._coherence.entry_key(key))
        unpacked = unpack(cast("bytes", entry)) if entry is not None else None
        if unpacked is None:
            return GONE
        header, _ = unpacked
        if header.kind == PLACEHOLDER:
            return LEASED
        if header.epoch != (await self._coherence.state()).epoch:
            return OTHER_EPOCH
        return OTHER_FORMAT if header.format != fmt else INVALIDATED


def table_of(catalog: Catalog, key: str) -> Table | None:
    """The table whose rows have entries of this form, or None."""
    try:
        return catalog.table_of_key(key)
    except PatternError:
        return None
