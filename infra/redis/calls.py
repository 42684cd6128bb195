"""Calling scripts and commands, several in one round trip, and turning the driver's errors into ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import (
    BusyLoadingError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from infra.redis import scripts
from infra.redis.round_trip import Command, round_trip
from schemas.errors import StoreUnavailableError

# Begin the answers of a server that can't write for a while, where redis-py has no class for them.
_REFUSING: Final = ("MISCONF", "NOREPLICAS", "BUSY", "CLUSTERDOWN")


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn the driver's errors into ours.

    Raises:
        StoreUnavailableError: Redis does not answer, or takes no writes.
    """
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError, OSError) as error:
        msg = f"Redis does not answer ({error}). Check FRESHLINE_REDIS__URL and that the server is up."
        raise StoreUnavailableError(msg) from error
    except ResponseError as error:
        if not isinstance(error, (OutOfMemoryError, MasterDownError)) and not str(error).startswith(_REFUSING):
            raise
        msg = f"Redis takes no writes ({error}). It needs memory, its replicas or its disk back."
        raise StoreUnavailableError(msg) from error


class ScriptCaller:
    """Calls the protocol's scripts by name. Takes an open client with binary replies; closes nothing."""

    def __init__(self, client: Redis) -> None:
        """Read the scripts. No I/O."""
        self._client = client
        self._sources = {name: scripts.source(name) for name in scripts.NAMES}
        self._digests = {
            name: sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self._sources.items()
        }

    async def one(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """What a script replies.

        Raises:
            StoreUnavailableError: Redis does not answer, or takes no writes.
        """
        (reply,) = await self.many([(name, keys, arguments)])
        return reply

    async def many(
        self, calls: Sequence[tuple[str, Sequence[str], Sequence[Any]]], sent: Callable[[], None] | None = None
    ) -> list[Any]:
        """What several scripts reply, called one after the other in one round trip.

        Args:
            calls: of each its name, its keys and its arguments.
            sent: called when all of them are on their way.

        Raises:
            StoreUnavailableError: Redis does not answer, or takes no writes.
        """

        async def send(digest_or_source: Callable[[str], str], verb: str) -> list[Any]:
            with redis_errors():
                return await round_trip(
                    self._client,
                    [(verb, digest_or_source(name), len(keys), *keys, *arguments) for name, keys, arguments in calls],
                    sent,
                )

        replies = await send(self._digests.__getitem__, "EVALSHA")
        if any(isinstance(reply, NoScriptError) for reply in replies):
            # The server was restarted. EVAL loads; whatever was done already is refused by its watermark or lease.
            replies = await send(self._sources.__getitem__, "EVAL")
        return _raised(replies)

    async def replies(self, commands: Sequence[Command]) -> list[Any]:
        """What several commands reply, in one round trip.

        Raises:
            StoreUnavailableError: Redis does not answer, or takes no writes.
        """
        with redis_errors():
            return _raised(await round_trip(self._client, commands))


def _raised(replies: list[Any]) -> list[Any]:
    """The replies, unless an error is among them: then that is raised."""
    for reply in replies:
        if isinstance(reply, RedisError):
            with redis_errors():
                raise reply
    return replies
