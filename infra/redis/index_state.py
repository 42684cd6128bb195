"""What is remembered of the index's upkeep, in Redis: how far each comparison with the database is, and who makes it.

Losing it costs a comparison that is made again: it belongs to an epoch, and with Redis the epoch is lost, too.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Mapping
from typing import Any, Final, cast

import msgspec
from redis.asyncio import Redis

from infra.redis.calls import redis_errors

# After how long another does the upkeep where its holder is gone.
LEASE_S: Final = 30.0
# Several may want to change one thing, an operator and a worker say: who has not seen the latest changes nothing.
_CHANGE: Final = """
    if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
    if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
    return 1
"""
_CHANGE_FIELD: Final = """
    if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
    return 1
"""
# Only its holder prolongs or ends a lease.
_HELD: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call(ARGV[2], KEYS[1], ARGV[3]) end return 0"


class Walk(msgspec.Struct, frozen=True):
    """How far the comparison of one table with one generation is.

    Attributes:
        epoch: it was begun in; in another one it begins anew.
        after: the last key that was compared; None at the beginning.
        compared: documents so far.
        total: about how many there are.
        is_done: whether every row was compared, and every document that is no row any more.
    """

    epoch: str
    after: tuple[str, ...] | None = None
    compared: int = 0
    total: int = 0
    is_done: bool = False


class Rebuild(msgspec.Struct, frozen=True):
    """A generation that is to take the place of the active one.

    Attributes:
        generation: the name of its collection.
        model: it is made with.
        requested_at_ms: when, in milliseconds since 1970.
        is_paused: whether it waits.
        failure: why it can't be made; None where nothing is in its way.
    """

    generation: str
    model: str
    requested_at_ms: int
    is_paused: bool = False
    failure: str | None = None


class IndexState:
    """The state of one namespace's index. Takes an open client; closes nothing."""

    def __init__(self, client: Redis, namespace: str) -> None:
        """Prepare; no I/O."""
        self._client = client
        self._walks = f"{namespace}:semantic:walks"
        self._rebuild = f"{namespace}:semantic:rebuild"
        self._lease = f"{namespace}:semantic:lease"
        self._made = f"{namespace}:semantic:made"
        self._retired = f"{namespace}:semantic:retired"
        self._token = secrets.token_hex(8)

    async def walks(self) -> dict[str, Walk]:
        """Every walk, by ``generation/table``."""
        with redis_errors():
            found = await cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall(self._walks))
        return {name.decode(): msgspec.json.decode(text, type=Walk) for name, text in found.items()}

    async def change_walk(self, name: str, former: Walk | None, walk: Walk) -> bool:
        """Remember how far one is; False where it is not where it was, since it was restarted or is another's."""
        with redis_errors():
            return bool(
                await self._client.eval(_CHANGE_FIELD, 1, self._walks, name, _text(former), msgspec.json.encode(walk))
            )

    async def restart_walks(self, table: str) -> None:
        """Let a table be compared anew, with every generation."""
        with redis_errors():
            names = [name for name in await self.walks() if name.endswith(f"/{table}")]
            if names:
                await cast("Awaitable[Any]", self._client.hdel(self._walks, *names))

    async def rebuild(self) -> Rebuild | None:
        """The rebuild under way, if there is one."""
        with redis_errors():
            found = await self._client.get(self._rebuild)
        return None if found is None else msgspec.json.decode(found, type=Rebuild)

    async def set_rebuild(self, rebuild: Rebuild | None) -> None:
        """Ask for one, change it, or forget it."""
        with redis_errors():
            if rebuild is None:
                await self._client.delete(self._rebuild)
            else:
                await self._client.set(self._rebuild, msgspec.json.encode(rebuild))

    async def change_rebuild(self, former: Rebuild | None, rebuild: Rebuild | None) -> bool:
        """Put one in the place of another; False where that was changed meanwhile, by an operator say."""
        with redis_errors():
            return bool(await self._client.eval(_CHANGE, 1, self._rebuild, _text(former), _text(rebuild)))

    async def made(self) -> dict[str, int]:
        """When each generation was made, in milliseconds since 1970."""
        return await self._times(self._made)

    async def make(self, name: str, at_ms: int) -> None:
        """Note when a generation was made."""
        await self._set(self._made, {name: str(at_ms).encode()})

    async def retired(self) -> dict[str, int]:
        """Generations that are no longer searched, and since when, in milliseconds since 1970."""
        return await self._times(self._retired)

    async def retire(self, name: str, at_ms: int) -> None:
        """Note since when a generation is no longer searched."""
        await self._set(self._retired, {name: str(at_ms).encode()})

    async def forget(self, name: str) -> None:
        """Forget a generation that is gone."""
        with redis_errors():
            names = [walk for walk in await self.walks() if walk.startswith(f"{name}/")]
            if names:
                await cast("Awaitable[Any]", self._client.hdel(self._walks, *names))
            await cast("Awaitable[Any]", self._client.hdel(self._made, name))
            await cast("Awaitable[Any]", self._client.hdel(self._retired, name))

    async def hold(self) -> bool:
        """Take or prolong the lease of whoever does the upkeep; False where another holds it."""
        with redis_errors():
            if await self._client.set(self._lease, self._token, nx=True, px=int(1000 * LEASE_S)):
                return True
            return bool(await self._if_held("PEXPIRE", str(int(1000 * LEASE_S))))

    async def release(self) -> None:
        """Give the lease back, where it is ours."""
        with redis_errors():
            await self._if_held("PEXPIRE", "1")

    async def _if_held(self, *command: str) -> Any:
        return await self._client.eval(_HELD, 1, self._lease, self._token, *command)

    async def _times(self, key: str) -> dict[str, int]:
        with redis_errors():
            found = await cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall(key))
        return {name.decode(): int(text) for name, text in found.items()}

    async def _set(self, key: str, fields: Mapping[str, bytes]) -> None:
        with redis_errors():
            await cast("Awaitable[Any]", self._client.hset(key, mapping=cast("Any", fields)))


def _text(value: Walk | Rebuild | None) -> bytes:
    return b"" if value is None else msgspec.json.encode(value)
