"""One acknowledged subscription: on one connection, to one incarnation of a server, over at the first doubt.

redis-py's own ``PubSub`` reconnects and subscribes again by itself, and whoever listens never learns that messages
were lost in between. So the connection is used directly, and never reconnects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError


async def incarnation_of(connection: AbstractConnection) -> str:
    """The ``run_id`` of the server process at the other end; empty where we may not ask for it."""
    await connection.send_command("INFO", "server")
    try:
        reply = await connection.read_response()
    except NoPermissionError:
        return ""
    text = reply.decode() if isinstance(reply, bytes) else str(reply)
    return next((line[7:].strip() for line in text.splitlines() if line.startswith("run_id:")), "")


class Subscription:
    """Messages of one channel. Made by `subscribe`."""

    def __init__(self, connection: AbstractConnection, channel: bytes, incarnation: str) -> None:
        """``incarnation`` is the ``run_id`` of the server."""
        self._connection = connection
        self._channel = channel
        self.incarnation = incarnation

    async def message(self, timeout_s: float) -> bytes | None:
        """The next message; None where none came for this long.

        Raises:
            redis.exceptions.ConnectionError: the connection is gone, and with it messages.
        """
        while True:
            reply = await self._read(timeout_s)
            match reply:
                case None:
                    return None
                case [b"message", self._channel, bytes(payload)]:
                    return payload
                case _:
                    raise RedisConnectionError("The subscription got something that is no message of its channel")

    async def acknowledged(self, timeout_s: float) -> None:
        """Wait until the server has confirmed the subscription.

        Raises:
            redis.exceptions.ConnectionError: it did not.
        """
        match await self._read(timeout_s):
            case [b"subscribe", self._channel, _]:
                return
            case _:
                raise RedisConnectionError("The subscription was not acknowledged")

    async def close(self) -> None:
        """End it; whoever waits for a message gets an error."""
        await self._connection.disconnect(nowait=True)

    async def _read(self, timeout_s: float) -> Any:
        return await self._connection.read_response(timeout=timeout_s)


@asynccontextmanager
async def subscribe(client: Redis, channel: str, *, timeout_s: float) -> AsyncIterator[Subscription]:
    """Subscribe on a connection of its own, made like those of the client.

    Raises:
        redis.exceptions.RedisError: the server does not answer, or refuses.
        OSError: it can't be reached.
    """
    pool = client.connection_pool
    arguments = {
        **pool.connection_kwargs,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": None,
        "socket_timeout": timeout_s,
    }
    connection: AbstractConnection = pool.connection_class(**arguments)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        subscription = Subscription(connection, channel.encode(), await incarnation_of(connection))
        await connection.send_command("SUBSCRIBE", channel)
        await subscription.acknowledged(timeout_s)
        yield subscription
    finally:
        await connection.disconnect(nowait=True)
