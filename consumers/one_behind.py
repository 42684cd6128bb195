"""Writing what is ready while the next is prepared: one task behind whoever goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

from infra.cancellation import cancel


class OneBehind:
    """One task at a time, beside the preparation of the next. An async context manager that awaits what it started."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if self._task is not None:
            if kind is not None:
                # Whatever of it is done may be done again.
                await cancel(self._task)
            else:
                await asyncio.wait([self._task])

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start it; what was started before is finished."""
        self._task = asyncio.create_task(work)

    async def finish(self) -> None:
        """Await what was started."""
        if self._task is not None:
            await self._task
            self._task = None
