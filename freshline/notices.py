"""Listens to the notices, so that L1 drops what has changed, and serves nothing while it can't hear.

    connect ▸ which incarnation? ▸ SUBSCRIBE ▸ acknowledged ▸ notice, notice, … ▸ (error, silence, another incarnation)
       ▲                                                                             │ L1 forgets everything
       └─────────────────────────────────── pause ◀──────────────────────────────────┘

What commands read must be of the server that tells the notices, so every connection is asked for its server's
``run_id``; where two differ, both sides connect anew.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from freshline.l1 import L1, SILENCE_S
from infra.logs import logger
from infra.redis.client import renew_connections
from infra.redis.subscription import Subscription, incarnation_of, subscribe

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
# Until a Redis user may be given the right to ask for the server's incarnation.
_FORBIDDEN_PAUSE_S: Final = 60.0

_log = logger("notices")
_decode = msgspec.msgpack.Decoder(tuple[str, list[str]]).decode


class Notices:
    """The subscription of one process."""

    def __init__(self, l1: L1, channel: str, *, silence_s: float = SILENCE_S) -> None:
        """Listen to ``channel`` on behalf of ``l1``; ``silence_s`` is how long no notice means lost, in seconds."""
        self._l1 = l1
        self._channel = channel
        self._silence_s = silence_s
        self._subscription: Subscription | None = None
        self._incarnations_of_commands: set[str] = set()

    async def greet(self, connection: AbstractConnection) -> None:
        """Take note of a new connection for commands; the client calls it in place of ``on_connect``."""
        await connection.on_connect()
        incarnation = await incarnation_of(connection)
        self._incarnations_of_commands.add(incarnation)
        subscription = self._subscription
        if subscription is not None and incarnation != subscription.incarnation:
            self._l1.lost("incarnation")
            await subscription.close()

    async def run(self, client: Redis) -> None:
        """Listen until cancelled, subscribing anew whenever a subscription is over."""
        pause_s = _FIRST_PAUSE_S
        while True:
            reason = "connection"
            try:
                async with subscribe(client, self._channel, timeout_s=self._silence_s) as subscription:
                    if not subscription.incarnation:
                        _log.warning("l1_off", hint="grant the Redis user +info: without run_id L1 can't be used")
                        await asyncio.sleep(_FORBIDDEN_PAUSE_S)
                        continue
                    await self._adopt(client, subscription)
                    pause_s = _FIRST_PAUSE_S
                    reason = await self._listen(subscription)
            except (RedisError, OSError) as error:
                _log.debug("subscription_lost", error=str(error))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                reason = "malformed"
                _log.warning("malformed_notice", channel=self._channel, error=str(error))
            finally:
                self._subscription = None
                self._l1.lost(reason)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _adopt(self, client: Redis, subscription: Subscription) -> None:
        """Make sure that no connection for commands leads to another server than this one."""
        has_others = not self._incarnations_of_commands <= {subscription.incarnation}
        self._incarnations_of_commands = {subscription.incarnation}
        # From here on `greet` compares.
        self._subscription = subscription
        if has_others:
            await renew_connections(client)
        self._l1.subscribed()

    async def _listen(self, subscription: Subscription) -> str:
        """Tell L1 what is heard; returns why it is over."""
        while True:
            payload = await subscription.message(self._silence_s)
            if payload is None:
                return "silence"
            epoch, names = _decode(payload)
            self._l1.heard(epoch, names)
