"""Shadow reads: read the cache and the database, compare, count, and serve the database.

A copy that differs is not wrong yet: the change's event may be on its way. So what differs is read again for a while,
in the background, and counted as *different* only if it stays so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from freshline.background import Background
from freshline.l1 import Copy
from freshline.tiers import Answer
from infra.logs import logger
from infra.metrics import ReaderMetrics
from schemas.errors import FreshlineError

PATIENCE_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.05
_CHECKS_AT_ONCE: Final = 100

_log = logger("shadow")


class Pair(msgspec.Struct, frozen=True):
    """The two ways to read the same thing. ``name`` is for people: a key, never a value."""

    name: str
    cached: Callable[[], Awaitable[Answer]]
    actual: Callable[[], Awaitable[Copy]]


class Shadow:
    """Compares the cache with the database."""

    def __init__(self, metrics: ReaderMetrics, background: Background, *, patience_s: float = PATIENCE_S) -> None:
        """A copy may differ from the database for ``patience_s`` seconds before it counts as different."""
        self._outcomes = metrics.shadow
        self._background = background
        self._patience_s = patience_s
        self._checks = 0

    async def read(self, pair: Pair) -> Copy:
        """What the database holds; what the cache would have said is compared with it.

        Raises:
            StoreUnavailableError: Postgres does not answer.
        """
        answer: Answer | None = None
        try:
            answer = await pair.cached()
        except FreshlineError as error:
            _log.warning("shadow_error", key=pair.name, error=str(error))
        actual = await pair.actual()
        if answer is None:
            self._count("error")
        elif answer.tier == "database":
            self._count("miss")
        elif answer.copy.body == actual.body:
            self._count("same")
        elif self._checks >= _CHECKS_AT_ONCE:
            self._count("unchecked")
        else:
            self._checks += 1
            self._background.start(self._check(pair))
        return actual

    async def _check(self, pair: Pair) -> None:
        """Find out whether a difference goes away when its event has arrived."""
        try:
            outcome = "late" if await self._becomes_same(pair) else "different"
        except FreshlineError:
            outcome = "unchecked"
        finally:
            self._checks -= 1
        self._count(outcome)
        if outcome == "different":
            _log.error("shadow_difference", key=pair.name, hint="`freshline explain` says what the key holds and why")

    async def _becomes_same(self, pair: Pair) -> bool:
        clock = asyncio.get_running_loop().time
        until = clock() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            # The row may change all the time: the copy is right if it is what the database held before or after.
            before = await pair.actual()
            answer = await pair.cached()
            after = await pair.actual()
            if answer.tier == "database" or answer.copy.body in {before.body, after.body}:
                return True
            if clock() >= until:
                return False
            pause_s = min(2 * pause_s, max(_FIRST_PAUSE_S, until - clock()))

    def _count(self, outcome: str) -> None:
        self._outcomes.labels(outcome).inc()
