"""Reading as the reference application does: rows and queries through the cache, and its own writes by their token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, Final, Protocol

import msgspec

from freshline.cache import Cache
from freshline.reference.changes import NOTHING, ONE, Changed, Ground
from freshline.reference.population import Ids, Population
from freshline.reference.queries import (
    CONVERSATIONS_OF_USER,
    DASHBOARD_OF_USER,
    MESSAGES_OF_CONVERSATION,
    Query,
    Result,
)
from freshline.reference.statements import CHANGES, QUERIES
from infra.postgres.pool import Pool

_ROWS_OF_ONE_READ: Final = 10
_NO_SUCH_ROW: Final = 1 << 62
# The query gives the newest 50; a list that is nearly full may rightly lack a row.
_NEARLY_FULL: Final = 40


class Violation(msgspec.Struct, frozen=True):
    """A read that was older than the write whose token it presented."""

    key: str
    what: str


class Reads(Protocol):
    """How rows and queries are read."""

    async def any(self, population: Population, random: Random) -> str:
        """Read something, the popular rows more often; says what it was."""
        ...

    async def own_write(self, pool: Pool, ground: Ground) -> tuple[Changed, Violation | None]:
        """Change something, invalidate it, and read it with the token."""
        ...


class CachedReads:
    """Reads through the cache library, as a service would."""

    def __init__(self, cache: Cache) -> None:
        """Take an open cache; close nothing."""
        self._cache = cache
        self._kinds: Mapping[str, tuple[float, Callable[[Population, Random], Awaitable[Any]]]] = {
            "user": (34, self._row("users", lambda known: known.users)),
            "conversation": (20, self._row("conversations", lambda known: known.conversations)),
            "document": (12, self._row("documents", lambda known: known.documents)),
            "users": (8, self._many_users),
            "no_such_row": (2, self._no_such_row),
            "conversations_of_user": (10, self._query(CONVERSATIONS_OF_USER, lambda known: known.users)),
            "dashboard_of_user": (8, self._query(DASHBOARD_OF_USER, lambda known: known.users)),
            "messages_of_conversation": (6, self._query(MESSAGES_OF_CONVERSATION, lambda known: known.conversations)),
        }
        self._names = list(self._kinds)
        self._weights = [weight for weight, _ in self._kinds.values()]

    async def any(self, population: Population, random: Random) -> str:
        """Read something, the popular rows more often; says what it was."""
        (name,) = random.choices(self._names, self._weights)
        await self._kinds[name][1](population, random)
        return name

    async def own_write(self, pool: Pool, ground: Ground) -> tuple[Changed, Violation | None]:
        """Change something, invalidate it, and read it with the token."""
        user = ground.population.users.popular(ground.random)
        if user is None:
            return NOTHING, None
        return await (self._own_row if ground.values.flag() else self._own_query)(pool, ground, user)

    async def _own_row(self, pool: Pool, ground: Ground, user: int) -> tuple[Changed, Violation | None]:
        version = await pool.fetchval(CHANGES["update_user"], user, ground.values.text(), ground.values.flag())
        if version is None:
            return NOTHING, None
        key = f"user:{user}"
        token = await self._cache.invalidate(key, f"{key}:*")
        found = await self._cache.get("users", user, token=token)
        if found is None:
            # He may have gone since; his id is never given out again.
            is_there = await pool.fetchval(QUERIES["version_of_user"], user) is not None
            return ONE, Violation(key, "the row was not found after it was written") if is_there else None
        read: int = found["preferences"].get("version", 0)
        return ONE, Violation(key, f"version {read} after {version} was written") if read < version else None

    async def _own_query(self, pool: Pool, ground: Ground, user: int) -> tuple[Changed, Violation | None]:
        row = await pool.fetchval(CHANGES["insert_conversation"], user, ground.values.text(), ground.values.json())
        ground.population.conversations.add(row)
        token = await self._cache.invalidate(f"user:{user}:*")
        found: Result = await self._cache.query(
            CONVERSATIONS_OF_USER.key(user), lambda connection: CONVERSATIONS_OF_USER.run(connection, user), token=token
        )
        if any(each["id"] == row for each in found) or len(found) > _NEARLY_FULL:
            return ONE, None
        # It may have moved to another user or gone since.
        owner = await pool.fetchval(QUERIES["owner_of_conversation"], row)
        what = f"conversation {row} is missing after it was written"
        return ONE, Violation(CONVERSATIONS_OF_USER.key(user), what) if owner == user else None

    # Kinds of reads.

    def _row(self, table: str, known: Callable[[Population], Ids]) -> Callable[[Population, Random], Awaitable[Any]]:
        async def read(population: Population, random: Random) -> None:
            row = known(population).popular(random)
            if row is not None:
                await self._cache.get(table, row)

        return read

    def _query(
        self, query: Query, known: Callable[[Population], Ids]
    ) -> Callable[[Population, Random], Awaitable[Any]]:
        async def read(population: Population, random: Random) -> None:
            row = known(population).popular(random)
            if row is not None:
                await self._cache.query(query.key(row), lambda connection: query.run(connection, row))

        return read

    async def _many_users(self, population: Population, random: Random) -> None:
        chosen = {row for _ in range(_ROWS_OF_ONE_READ) if (row := population.users.popular(random)) is not None}
        await self._cache.get_many("users", list(chosen))

    async def _no_such_row(self, _: Population, random: Random) -> None:
        await self._cache.get("documents", _NO_SUCH_ROW + random.randrange(100))
