"""The heartbeat of notices: processes that keep copies in their own memory take silence for a lost connection."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from consumers.positions import Positions
from infra.redis.coherence import Coherence
from schemas.errors import StoreUnavailableError

BEAT_EVERY_S: Final = 1.0


async def beat(coherence: Coherence, positions: Positions) -> None:
    """Publish a heartbeat now and then, for ever. While Redis is away its silence says enough."""
    while True:
        if positions.epoch:
            with suppress(StoreUnavailableError):
                await coherence.beat(positions.epoch)
        await asyncio.sleep(BEAT_EVERY_S)
