"""What protects the stores and the callers from each other when something is away or overloaded.

Breaker         a store that does not answer costs one timeout now and then, not one for each read
DatabaseLimit   reads that the cache can't answer come to Postgres a few at a time
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from redis.exceptions import RedisError

from infra.logs import logger
from schemas.errors import FreshlineError, OverloadedError, StoreUnavailableError

PAUSE_S: Final = 1.0

_log = logger("reader")


class PastStoreError(FreshlineError):
    """A store is not to be used now. Never seen by callers: the read goes past it."""


class Breaker:
    """Lets calls of a store through while they succeed; after a failure only one now and then, until one succeeds."""

    def __init__(
        self,
        store: str = "redis",
        *,
        pause_s: float = PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[bool], None] = lambda _is_away: None,
    ) -> None:
        """Closed.

        Args:
            store: its name, for the log.
            pause_s: how long after a failure, or an attempt, the next call is let through, in seconds.
            clock: a monotonic clock, in seconds.
            on_change: told whether it is away, whenever that changes.
        """
        self._store = store
        self._pause_s = pause_s
        self._clock = clock
        self._on_change = on_change
        self._next_attempt: float | None = None

    @property
    def is_away(self) -> bool:
        """Whether the last call failed."""
        return self._next_attempt is not None

    @contextmanager
    def guard(self, *, always: bool = False) -> Iterator[None]:
        """Around one call; one that is made ``always`` is let through whatever is known.

        Raises:
            PastStoreError: it failed, or there was no use in trying.
        """
        if self._next_attempt is not None:
            now = self._clock()
            if now < self._next_attempt and not always:
                raise PastStoreError(f"{self._store} did not answer a moment ago")
            self._next_attempt = now + self._pause_s
        try:
            yield
        except (StoreUnavailableError, RedisError) as error:
            if self._next_attempt is None:
                _log.warning(f"{self._store}_away", error=str(error), hint="reads go past it until it answers")
                self._on_change(True)
            self._next_attempt = self._clock() + self._pause_s
            raise PastStoreError(str(error)) from error
        if self._next_attempt is not None:
            self._next_attempt = None
            _log.info(f"{self._store}_back")
            self._on_change(False)


class DatabaseLimit:
    """How many reads may be past the cache at once."""

    def __init__(self, concurrent: int, *, wait_s: float) -> None:
        """``wait_s`` is how long a read waits for its turn, in seconds."""
        self._concurrent = concurrent
        self._wait_s = wait_s
        self._turns = asyncio.Semaphore(concurrent)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Around one read.

        Raises:
            OverloadedError: it waited too long.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise OverloadedError(
                f"{self._concurrent} reads are at Postgres past the cache, and this one waited {self._wait_s:g} s for "
                "its turn. Shed load, or raise FRESHLINE_READER__DATABASE_LIMIT if Postgres can bear it."
            ) from error
        try:
            yield
        finally:
            self._turns.release()
