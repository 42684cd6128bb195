# ruff: noqa: A002 - the parameter is called `type`, as it is in msgspec
"""The front of the read side: what a service calls.

get, get_many   rows, by their keys
query           results of queries, by keys of their own, with the tags that they depend on
invalidate      after one's own commit; gives the token that a later read presents
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Self, TypeVar, overload

from redis.asyncio import Redis

from freshline.background import Background
from freshline.guards import PastStoreError
from freshline.l1 import Copy
from freshline.notices import Notices
from freshline.queries import QUERY_LIMIT_BYTES, QUERY_TTL_S, Queries, Query, Run, query_of
from freshline.rows import RowKey, Rows
from freshline.shadow import Pair, Shadow
from freshline.tiers import Answer, Tiers, serves
from freshline.values import Row, Values
from infra.logs import logger
from schemas.catalog import Catalog
from schemas.errors import NotOpenError
from schemas.token import WriteToken

T = TypeVar("T")

_log = logger("cache")


class Mode(StrEnum):
    """How reads go."""

    CACHED = "cached"
    BYPASS = "bypass"
    SHADOW = "shadow"


class Cache:
    """Reads rows and cached queries through the tiers. An async context manager.

    Attributes:
        mode: how reads go from now on; may be changed at any time. Writers invalidate in every mode.
        l1: the process's own memory.
    """

    def __init__(
        self,
        catalog: Catalog,
        tiers: Tiers,
        notices: Notices,
        redis: Redis,
        *,
        mode: Mode = Mode.CACHED,
        query_limit_bytes: int = QUERY_LIMIT_BYTES,
    ) -> None:
        """Take every part ready made and opened. No I/O before it is entered.

        Args:
            catalog: what is cached.
            tiers: the parts that reads share.
            notices: keeps L1 fresh; it has greeted every connection of ``redis``.
            redis: the client that ``tiers`` uses.
            mode: how reads go.
            query_limit_bytes: a larger result of a query is not cached.
        """
        self.mode = mode
        self.l1 = tiers.l1
        self._catalog = catalog
        self._tiers = tiers
        self._notices = notices
        self._redis = redis
        self._background = Background()
        self._shadow = Shadow(tiers.metrics, self._background)
        self._queries = Queries(tiers, limit_bytes=query_limit_bytes)
        self._results = Values()
        self._rows: dict[str, tuple[Rows, Values]] = {}
        self._l1_hits = tiers.metrics.l1_hits
        self._l1_misses = tiers.metrics.misses.labels("l1")

    async def __aenter__(self) -> Self:
        """Begin to listen to the notices."""
        self._background.open()
        self._background.start(self._notices.run(self._redis))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop listening, forget everything."""
        await self._background.close()

    # Rows.

    @overload
    async def get(self, table: str, *key: object, type: None = None, token: WriteToken | None = None) -> Row | None: ...

    @overload
    async def get(self, table: str, *key: object, type: type[T], token: WriteToken | None = None) -> T | None: ...

    async def get(
        self, table: str, *key: object, type: type[T] | None = None, token: WriteToken | None = None
    ) -> Row | T | None:
        """A row, or None where there is none.

        Args:
            table: its name, with or without its schema.
            key: the values of its key columns, in the catalog's order.
            type: what the row is to become, a msgspec Struct or a dataclass say; a dict without it.
            token: of a write that the row must contain.

        Raises:
            CatalogError: the catalog has no such table, or does not cache its rows.
            KeyValueError: no row can have such a key.
            ShapeError: the row does not fit ``type``.
            StoreUnavailableError: it is in no cache, and Postgres does not answer.
            OverloadedError: it is in no cache, and too many reads are at Postgres already.
            NotOpenError: the cache is not open.
        """
        rows, values = self._rows.get(table) or self._rows_of(table)
        if self.mode is Mode.CACHED:
            copy = self.l1.get(rows.name(key))
            if copy is not None and (token is None or token.covered_at(copy.lsn, copy.completed)):
                self._l1_hits.count += 1
            else:
                self._l1_misses.inc()
                copy = (await self._read_missing(rows, [rows.key(key)], token))[0].copy
        else:
            copy = (await self._read_around(rows, [rows.key(key)], token))[0]
        return None if copy.body is None else values.decode(copy.body, type)

    @overload
    async def get_many(
        self, table: str, keys: Sequence[object], *, type: None = None, token: WriteToken | None = None
    ) -> list[Row | None]: ...

    @overload
    async def get_many(
        self, table: str, keys: Sequence[object], *, type: type[T], token: WriteToken | None = None
    ) -> list[T | None]: ...

    async def get_many(
        self, table: str, keys: Sequence[object], *, type: type[T] | None = None, token: WriteToken | None = None
    ) -> Sequence[Row | T | None]:
        """Rows in the order of their keys, None for each that does not exist.

        They are looked up in one round trip, and those that are missing are read in one statement.

        Args:
            table: their name, with or without its schema.
            keys: for each row its key: one value, or a tuple of the values of several key columns.
            type: what each row is to become.
            token: of a write that all rows must contain.

        Raises:
            FreshlineError: as `get`.
        """
        rows, values = self._rows.get(table) or self._rows_of(table)
        wanted = [rows.key(key if isinstance(key, tuple) else (key,)) for key in keys]
        if self.mode is Mode.CACHED:
            copies = await self._read_many(rows, wanted, token)
        else:
            copies = await self._read_around(rows, wanted, token)
        return [None if copy.body is None else values.decode(copy.body, type) for copy in copies]

    async def _read_many(self, rows: Rows, keys: Sequence[RowKey], token: WriteToken | None) -> list[Copy]:
        remembered = {key.name: copy for key in keys if serves(copy := self.l1.get(key.name), token) and copy}
        missing = [key for key in keys if key.name not in remembered]
        self._l1_hits.count += len(keys) - len(missing)
        if missing:
            self._l1_misses.inc(len(missing))
            answers = await self._read_missing(rows, missing, token)
            remembered |= {key.name: answer.copy for key, answer in zip(missing, answers, strict=True)}
        return [remembered[key.name] for key in keys]

    async def _read_missing(self, rows: Rows, keys: Sequence[RowKey], token: WriteToken | None) -> list[Answer]:
        self._check_open()
        answers = await rows.read(keys, token)
        return [answers[key.name] for key in keys]

    async def _read_around(self, rows: Rows, keys: Sequence[RowKey], token: WriteToken | None) -> list[Copy]:
        self._check_open()
        if not keys:
            return []
        if self.mode is Mode.BYPASS:
            copies = await rows.read_database(keys, "bypass")
            return [copies[key.name] for key in keys]
        return list(await asyncio.gather(*(self._shadow.read(self._row_pair(rows, key, token)) for key in keys)))

    def _row_pair(self, rows: Rows, key: RowKey, token: WriteToken | None) -> Pair:
        async def cached() -> Answer:
            copy = self.l1.get(key.name)
            if copy is not None and serves(copy, token):
                return Answer(copy, "l1")
            return (await rows.read([key], token))[key.name]

        async def actual() -> Copy:
            return (await rows.read_database([key], "shadow"))[key.name]

        return Pair(key.name, cached, actual)

    # Queries.

    @overload
    async def query(
        self,
        key: str,
        run: Run,
        *,
        tags: Sequence[str] = (),
        ttl_s: float = QUERY_TTL_S,
        version: str = "",
        type: None = None,
        token: WriteToken | None = None,
    ) -> Any: ...

    @overload
    async def query(
        self,
        key: str,
        run: Run,
        *,
        tags: Sequence[str] = (),
        ttl_s: float = QUERY_TTL_S,
        version: str = "",
        type: type[T],
        token: WriteToken | None = None,
    ) -> T: ...

    async def query(
        self,
        key: str,
        run: Run,
        *,
        tags: Sequence[str] = (),
        ttl_s: float = QUERY_TTL_S,
        version: str = "",
        type: type[T] | None = None,
        token: WriteToken | None = None,
    ) -> Any:
        """The result of a query, cached as long as nothing that its tags stand for has changed.

        Args:
            key: a declared tag, a colon and a name: ``user:42:conversations``. That tag is implied.
            run: gives the result from a connection, whose read-only transaction sees one moment of the database.
            tags: the other tags that the result depends on.
            ttl_s: how long it lives, in seconds.
            version: of the result's form; what was stored under another version is a miss.
            type: what the result is to become; plain JSON values without it.
            token: of a write that the result must contain.

        Raises:
            PatternError: the catalog declares no such tag, so the result would never be invalidated.
            ResultError: the result can't be written as JSON.
            ShapeError: the result does not fit ``type``.
            StoreUnavailableError: it is in no cache, and Postgres does not answer.
            OverloadedError: it is in no cache, and too many reads are at Postgres already.
            NotOpenError: the cache is not open.
        """
        query = query_of(self._catalog, key, tags, version=version, ttl_s=ttl_s)
        self._check_open()
        copy = await self._read_query(query, run, token)
        return self._results.decode(copy.body or b"null", type)

    async def _read_query(self, query: Query, run: Run, token: WriteToken | None) -> Copy:
        if self.mode is Mode.BYPASS:
            return await self._queries.run(query, run, "bypass")

        async def cached() -> Answer:
            copy = self.l1.get(query.memory_key)
            if copy is not None and serves(copy, token):
                self._l1_hits.count += 1
                return Answer(copy, "l1")
            self._l1_misses.inc()
            return await self._queries.read(query, run, token)

        async def actual() -> Copy:
            return await self._queries.run(query, run, "shadow")

        if self.mode is Mode.SHADOW:
            return await self._shadow.read(Pair(query.key, cached, actual))
        return (await cached()).copy

    # Writers.

    async def invalidate(self, *names: str) -> WriteToken:
        """Make copies stale, after one's own commit; reads that present the token see everything committed before.

        Where Redis is away nothing is lost: the changes' events are applied when it is back, and the token holds.

        Args:
            names: keys of rows (``user:42``), and patterns: ``user:42:*`` for all that is cached under a tag,
                ``user:*`` for a whole family and its rows.

        Returns:
            A token of this moment. ``str`` gives its text for a cookie or a header, ``WriteToken.parse`` reads it.

        Raises:
            PatternError: the catalog declares no such key or tag.
            StoreUnavailableError: Postgres does not answer.
            NotOpenError: the cache is not open.
        """
        self._check_open()
        keys, tags, tables = self._targets(names)
        token = (await self._tiers.primary.moment()).token
        outcome = "done"
        try:
            with self._tiers.breaker.guard(always=True):
                await self._tiers.coherence.invalidate(
                    token, floor_ttl_ms=self._catalog.floor_ttl_ms, keys=keys, tags=tags, tables=tables
                )
        except PastStoreError as error:
            outcome = "redis_away"
            _log.warning("invalidation_without_redis", names=names, error=str(error))
        finally:
            # Our own notice may still be on its way, and without Redis there is none.
            self.l1.drop([*(key for key, _ in keys), *tags])
        self._tiers.metrics.invalidations.labels(outcome).inc()
        return token

    def _targets(self, names: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
        keys, tags, tables = [], [], []
        for name in names:
            if "*" not in name:
                keys.append((name, self._catalog.table_of_key(name).qualified_name))
                continue
            tag = self._catalog.parse_pattern(name)
            tags.append(tag)
            table = self._catalog.by_entry_family.get(tag.partition(":")[0])
            if table is not None and tag.endswith(":*"):
                tables.append(table.qualified_name)
        return keys, tags, tables

    # Parts.

    def _rows_of(self, table: str) -> tuple[Rows, Values]:
        found = self._catalog.table(table)
        rows = Rows(found, self._tiers, floor_ttl_ms=self._catalog.floor_ttl_ms)
        made = self._rows[table] = (rows, Values.of_rows(found))
        return made

    def _check_open(self) -> None:
        if not self._background.is_open:
            raise NotOpenError("The cache is not open. Use it inside `async with`.")
