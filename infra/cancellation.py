"""Ending tasks for good.

Until Python 3.12, ``asyncio.wait_for``, by which asyncpg, redis-py and aiokafka wait, loses a cancellation that comes
in the moment in which what it waits for is done: the task goes on. So it is told again until it has ended.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

_AGAIN_S: Final = 0.1


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks, and wait until they have ended. What they end with is nobody's business any more."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()
