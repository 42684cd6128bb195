"""Reads cached queries through the tiers.

    L1 ▸ look in L2 ▸ lease, with the tags' generations ┬ hit
                                                        ├ leased ▸ run ▸ fill under those generations
                                                        ├ held by another ▸ wait ▸ lease again ▸ … ▸ run
                                                        └ unready, or Redis is away ▸ run, a few at a time

A query runs in one read-only transaction of its own, whose snapshot is taken after the generations: whatever it does
not see drops one of them later.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

from freshline.guards import PastStoreError
from freshline.l1 import Copy, Position
from freshline.tiers import Answer, Fillers, Patience, Tiers, copy_of, serves
from infra.postgres.pool import Connection
from infra.redis.coherence import Found, Held, Leased
from schemas.catalog import Catalog, family_tag
from schemas.errors import FreshlineError, PatternError
from schemas.token import WriteToken

QUERY_TTL_S: Final = 300.0
QUERY_LIMIT_BYTES: Final = 256 * 1024
# So that what no reader stored any more is gone at once.
_RELEASE_TTL_MS: Final = 1

Run: TypeAlias = Callable[[Connection], Awaitable[Any]]


class ResultError(FreshlineError):
    """The result of a query can't be written as JSON."""


class Query(msgspec.Struct, frozen=True):
    """A cached query.

    Attributes:
        key: it lies under.
        tags: what it depends on, its families among them; also the names that L1 keeps it under.
        format: entries of another one are misses.
        ttl_s: how long the result lives, in seconds.
    """

    key: str
    tags: tuple[str, ...]
    format: str
    ttl_s: float

    @property
    def memory_key(self) -> str:
        """Its key in L1."""
        return self.key if self.format == "q" else f"{self.key} {self.format}"


def query_of(catalog: Catalog, key: str, tags: Sequence[str], *, version: str, ttl_s: float) -> Query:
    """The query of this key, if its tags are declared. The tag that its key begins with is implied.

    Raises:
        PatternError: the catalog declares no such tag, so the result would never be invalidated; or the key is a
            pattern, or a row's.
    """
    if "*" in key:
        raise PatternError(f"Key {key!r} of a query is a pattern. Name one result, as in 'user:42:conversations'.")
    family, *values = key.split(":")
    arities = sorted(arity for arity in catalog.tag_arities.get(family, ()) if arity < len(values))
    table = catalog.by_entry_family.get(family)
    if not arities or (table is not None and len(values) == len(table.key)):
        known = ", ".join(sorted({f"'{text}:…'" for table in catalog.tables for text in table.tags}))
        raise PatternError(
            f"Key {key!r} of a query must be a declared tag, a colon and a name of its own: one of {known}. "
            "Or declare the tag that you miss in a table of the catalog."
        )
    primary = ":".join((family, *values[: arities[-1]]))
    own = dict.fromkeys(catalog.check_tag(tag) for tag in (primary, *tags))
    families = dict.fromkeys(family_tag(tag.split(":", 1)[0]) for tag in own)
    return Query(key, (*own, *families), f"q{version}", ttl_s)


def _plain(value: Any) -> Any:
    if isinstance(value, asyncpg.Record):
        return dict(value)
    raise NotImplementedError(f"Objects of type {type(value).__name__} can't be written as JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


class Queries:
    """Reads cached queries."""

    def __init__(self, tiers: Tiers, *, limit_bytes: int = QUERY_LIMIT_BYTES) -> None:
        """A result whose JSON is larger than ``limit_bytes`` is not cached."""
        self._tiers = tiers
        self._limit_bytes = limit_bytes
        self._fillers = Fillers()

    # Past the cache.

    async def run(self, query: Query, run: Run, reason: str) -> Copy:
        """Its result now.

        Raises:
            StoreUnavailableError: Postgres does not answer.
            ResultError: the result can't be written as JSON.
        """
        self._tiers.metrics.database_reads.labels(reason).inc()
        async with self._tiers.primary.looking() as (connection, moment):
            result = await run(connection)
        return Copy(self._encoded(query, result), 0, moment.snapshot.completed)

    @staticmethod
    def _encoded(query: Query, result: Any) -> bytes:
        try:
            return _encode(result)
        except (NotImplementedError, TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise ResultError(
                f"The result of query {query.key!r} can't be cached: {error}. Return what JSON can hold, a list of "
                "dicts say."
            ) from error

    # Through the tiers.

    async def read(self, query: Query, run: Run, token: WriteToken | None = None) -> Answer:
        """Its result, which L1 does not have.

        Args:
            query: which.
            run: gives the result from a connection.
            token: of a write that the result must contain.

        Raises:
            StoreUnavailableError: it is in no cache, and Postgres does not answer.
            OverloadedError: it is in no cache, and too many reads are at Postgres already.
            ResultError: the result can't be written as JSON.
        """
        try:
            return await self._look(query, token) or await self._lease_until_read(query, run, token)
        except PastStoreError:
            return await self._past(query, run, "redis_away")

    async def _look(self, query: Query, token: WriteToken | None) -> Answer | None:
        position = self._tiers.l1.position()
        with self._tiers.breaker.guard():
            found = await self._tiers.coherence.look_query(query.key, query.tags, fmt=query.format)
        if found is not None and serves(copy_of(found), token):
            return self._accepted(query, found, position)
        self._tiers.metrics.misses.labels("l2").inc()
        return None

    def _accepted(self, query: Query, found: Found, since: Position | None) -> Answer:
        copy = copy_of(found)
        self._tiers.metrics.hits.labels("l2").inc()
        age_s = max(0.0, time.time() - found.header.written_at_ms / 1000)
        self._keep(query, copy, since, ttl_s=query.ttl_s - age_s)
        return Answer(copy, "l2")

    async def _lease_until_read(self, query: Query, run: Run, token: WriteToken | None) -> Answer:
        patience = Patience(self._tiers.timing.query_lease_s)
        while True:
            position = self._tiers.l1.position()
            with self._tiers.breaker.guard():
                reply = await self._tiers.coherence.lease_query(
                    query.key,
                    query.tags,
                    fmt=query.format,
                    token=secrets.token_hex(8),
                    generations=[secrets.token_hex(8) for _ in query.tags],
                    lease_ms=round(self._tiers.timing.query_lease_s * 1000),
                    # Longer than any result under it lives, or the tag's end would be the result's.
                    tag_ttl_ms=round(2000 * max(query.ttl_s, QUERY_TTL_S)),
                    after=token,
                )
            match reply:
                case Found():
                    return self._accepted(query, reply, position)
                case Leased():
                    return await self._fill(query, run, reply)
                case Held(remaining_ms):
                    if not patience.remaining_s:
                        return await self._past(query, run, "held")
                    if not await self._fillers.wait([query.key], patience.remaining_s):
                        await patience.pause(remaining_ms / 1000)
                case _:
                    return await self._past(query, run, "unready")

    async def _fill(self, query: Query, run: Run, lease: Leased) -> Answer:
        with self._fillers.filling([query.key]):
            position = self._tiers.l1.position()
            try:
                copy = await self.run(query, run, "fill")
            except BaseException:
                await self._release(query, lease)
                raise
            body = copy.body or b""
            if len(body) > self._limit_bytes:
                self._tiers.metrics.fills.labels("too_large").inc()
                await self._release(query, lease)
            elif await self._store(query, lease, body, copy.completed):
                self._keep(query, copy, position, ttl_s=query.ttl_s)
        self._tiers.metrics.hits.labels("database").inc()
        return Answer(copy, "database")

    async def _store(self, query: Query, lease: Leased, body: bytes, completed: int) -> bool:
        outcome = "lost"
        try:
            with self._tiers.breaker.guard():
                is_stored = await self._tiers.coherence.fill_query(
                    query.key,
                    query.tags,
                    lease,
                    fmt=query.format,
                    completed=completed,
                    ttl_ms=round(query.ttl_s * 1000),
                    body=body,
                )
            outcome = "stored" if is_stored else "refused"
        except PastStoreError:
            is_stored = False
        self._tiers.metrics.fills.labels(outcome).inc()
        return is_stored

    async def _release(self, query: Query, lease: Leased) -> None:
        """Give the lease back: what is stored in its place is of no format, and gone in a moment."""
        try:
            with self._tiers.breaker.guard():
                await self._tiers.coherence.fill_query(
                    query.key, query.tags, lease, fmt="", completed=0, ttl_ms=_RELEASE_TTL_MS, body=b""
                )
        except PastStoreError:
            pass  # then it ends by itself

    async def _past(self, query: Query, run: Run, reason: str) -> Answer:
        async with self._tiers.limit.turn():
            copy = await self.run(query, run, reason)
        self._tiers.metrics.hits.labels("database").inc()
        return Answer(copy, "database")

    def _keep(self, query: Query, copy: Copy, since: Position | None, *, ttl_s: float) -> None:
        self._tiers.l1.keep(query.memory_key, query.tags, copy, since=since, ttl_s=ttl_s)
