"""Work that loses cancellations, as drivers do (``infra/cancellation.py``)."""

from __future__ import annotations

import asyncio


class HardOfHearing:
    """Work that goes on until it was cancelled more often than it loses cancellations."""

    def __init__(self, loses: int) -> None:
        self._loses = loses
        self.lost = 0

    async def __call__(self) -> None:
        """Work for a minute after each that is lost."""
        while self.lost < self._loses:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.lost += 1
        await asyncio.sleep(60)
