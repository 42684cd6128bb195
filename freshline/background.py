"""Tasks of a library inside someone's service: ended when it is closed, and no failure of theirs ends the service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from infra.cancellation import cancel
from infra.logs import logger
from schemas.errors import NotOpenError

T = TypeVar("T")

_log = logger("background")


async def interruptible(work: Coroutine[Any, Any, T]) -> T:
    """What this work gives. It ends when we are cancelled, also where a driver in it loses the cancellation."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    finally:
        await cancel(task)
    return task.result()


class Background:
    """A task group that logs what fails instead of cancelling whoever opened it."""

    def __init__(self) -> None:
        """Closed: ``open`` it first."""
        self._tasks: set[asyncio.Task[None]] | None = None

    @property
    def is_open(self) -> bool:
        """Whether tasks can be started."""
        return self._tasks is not None

    def open(self) -> None:
        """From now on tasks can be started."""
        self._tasks = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task until it ends, or until this is closed.

        Raises:
            NotOpenError: it is closed.
        """
        if self._tasks is None:
            work.close()
            raise NotOpenError("The cache is not open. Use it inside `async with`.")
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks, self._tasks = self._tasks or set(), None
        await cancel(*tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._tasks is not None:
            self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background_task_failed", error=repr(error), exc_info=error)
