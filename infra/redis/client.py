"""Connections to Redis as a reader needs them: few, quick to give up, and each checked for the server it leads to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

CONNECTIONS: Final = 16

Greet = Callable[[AbstractConnection], Awaitable[None]]


@asynccontextmanager
async def open_client(
    arguments: Mapping[str, Any], *, timeout_s: float, connections: int = CONNECTIONS, greet: Greet | None = None
) -> AsyncIterator[Redis]:
    """A client with binary replies. Does no I/O before its first command.

    Args:
        arguments: where the server is, as ``RedisSettings.client_arguments`` gives them.
        timeout_s: how long to wait for a connection, and for a reply, in seconds.
        connections: how many are open at most; whoever comes later waits for one.
        greet: called with each new connection in place of ``on_connect``, which it must call.
    """
    pool = BlockingConnectionPool.from_url(
        **arguments,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # A connection that the server closed while it was idle is made anew, once. A silent server is not asked again.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        # With RESP3 messages of the server's own could come between replies.
        protocol=2,
        redis_connect_func=greet,
    )
    async with Redis.from_pool(pool) as client:
        yield client


async def renew_connections(client: Redis) -> None:
    """Let every command that begins from now on use a connection that was made from now on.

    A command under way ends on the connection that it has; that one is closed when it is given back. redis-py's
    ``disconnect`` of a pool takes connections away from commands in the middle of a write or of a handshake, which
    then fail in ways that its own retry does not know.
    """
    pool = client.connection_pool
    await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
    # Nothing is awaited in between: a connection is either marked as one in use, or idle, and then taken here.
    idle = []
    while pool.can_get_connection():
        idle.append(pool.get_available_connection())  # type: ignore[no-untyped-call]
    for connection in idle:
        await connection.disconnect(nowait=True)
        await pool.release(connection)
