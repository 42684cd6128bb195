"""The sight rule: a change is applied only when every reader of the primary can see it.

The log runs ahead of sight: Postgres flushes a commit, waits for a synchronous standby, and only then shows it. Applied
before, a change could be followed by a fill that still reads the old row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment, Primary

_FIRST_PAUSE_S: Final = 0.0005
_LONGEST_PAUSE_S: Final = 0.1
# How long an invisible transaction is taken for one that is being shown, before asking whether it exists at all.
_PATIENCE_S: Final = 0.05


class Sight:
    """What is known to be visible. One for each worker."""

    def __init__(self, primary: Primary, metrics: WorkerMetrics, group: str) -> None:
        """Know nothing yet: call ``refresh`` first."""
        self._primary = primary
        self._waits = metrics.sight_waits.labels(group)
        self._moment: Moment | None = None

    async def refresh(self) -> Moment:
        """Look at the primary now.

        Raises:
            StoreUnavailableError: it does not answer.
        """
        self._moment = await self._primary.moment()
        return self._moment

    async def moment(self) -> Moment:
        """The last moment that is known."""
        return self._moment if self._moment is not None else await self.refresh()

    async def cover(self, xids: Iterable[int], lsn: int) -> tuple[Moment, frozenset[int]]:
        """Wait until these transactions are visible and the log has reached this position.

        Returns:
            The moment in which they are, and those of them that can't be: never given out, or rolled back. A moment
            whose position is below ``lsn`` says that the position lies beyond the database's own.

        Raises:
            StoreUnavailableError: the primary does not answer.
        """
        moment = await self.moment()
        waiting = {xid for xid in xids if not moment.snapshot.sees(xid)}
        if not waiting and lsn <= moment.lsn:
            return moment, frozenset()
        started = time.monotonic()
        impossible: set[int] = set()
        pause_s = _FIRST_PAUSE_S
        asked_at = started
        while True:
            moment = await self.refresh()
            waiting = {xid for xid in waiting if not moment.snapshot.sees(xid)}
            if not waiting:
                break
            if time.monotonic() - asked_at > _PATIENCE_S:
                gone = {xid for xid in waiting if await self._primary.is_future_or_aborted(xid)}
                impossible |= gone
                waiting -= gone
                asked_at = time.monotonic() + 1
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._waits.observe(time.monotonic() - started)
        return moment, frozenset(impossible)
