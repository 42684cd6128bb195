"""The sight rule: a change is applied only when every reader of the primary can see it.

The log runs ahead of sight: Postgres flushes a commit, waits for a synchronous standby, and only then shows it. Applied
before, a change could be followed by a fill that still reads the old row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Final

from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment, Primary
from infra.progress import Progress

_FIRST_PAUSE_S: Final = 0.0005
_LONGEST_PAUSE_S: Final = 0.1
# How long an invisible transaction is taken for one that is being shown, before asking whether it exists at all.
_PATIENCE_S: Final = 0.05
_ASK_AGAIN_S: Final = 1.0
# How long a record without a position may wait for the transactions of its time; one of them may run for hours.
_LONGEST_OUTLASTING_S: Final = 1.0


class Sight:
    """What is known to be visible. One for each worker."""

    def __init__(self, primary: Primary, metrics: WorkerMetrics, progress: Progress, group: str) -> None:
        """Know nothing yet: call ``refresh`` first."""
        self._primary = primary
        self._waits = metrics.sight_waits.labels(group)
        self._progress = progress
        self._moment: Moment | None = None
        # In all, until transactions could be seen.
        self.waited_s = 0.0

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

    async def outlast(self) -> None:
        """Wait until whatever committed before this call is visible, as far as can be waited for: a second at most.

        For records that say neither position nor transaction: theirs is one of those that are in progress now.

        Raises:
            StoreUnavailableError: the primary does not answer.
        """
        started, pause_s = time.monotonic(), _FIRST_PAUSE_S
        moment = await self.refresh()
        in_progress = moment.snapshot.in_progress
        while not all(map(moment.snapshot.sees, in_progress)) and time.monotonic() - started < _LONGEST_OUTLASTING_S:
            await self._wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            moment = await self.refresh()
        self._waits.observe(time.monotonic() - started)

    async def cover(
        self, xids: Collection[int], lsn: int, stopping: asyncio.Event
    ) -> tuple[Moment, frozenset[int]] | None:
        """Wait until these transactions are visible and the log has reached this position.

        Returns:
            The moment in which they are, and those of them that can't be: never given out, or rolled back. A moment
            whose position is below ``lsn`` says that the position lies beyond the database's own. None where
            ``stopping`` was set before.

        Raises:
            StoreUnavailableError: the primary does not answer.
        """
        moment = await self.moment()
        waiting = {xid for xid in xids if not moment.snapshot.sees(xid)}
        if not waiting and lsn <= moment.lsn:
            return moment, frozenset()
        started = time.monotonic()
        impossible: set[int] = set()
        watched: set[int] = set()
        pause_s, ask_at = _FIRST_PAUSE_S, started + _PATIENCE_S
        while True:
            moment = await self.refresh()
            waiting = {xid for xid in waiting if not moment.snapshot.sees(xid)}
            # A snapshot no longer waits for what was rolled back. What was over before it was first looked at is
            # believed: its event lies no better than any other could.
            impossible |= await self._impossible_among(watched - waiting)
            if waiting and time.monotonic() >= ask_at:
                gone = await self._impossible_among(waiting)
                impossible |= gone
                waiting -= gone
                ask_at = time.monotonic() + _ASK_AGAIN_S
            watched = waiting
            if not waiting:
                break
            if stopping.is_set():
                return None
            # A synchronous standby may be away for hours, and a restart would not bring it back.
            self._progress.waits("a commit to become visible")
            await self._wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._waits.observe(time.monotonic() - started)
        return moment, frozenset(impossible)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.waited_s += seconds

    async def _impossible_among(self, xids: Collection[int]) -> set[int]:
        return {xid for xid in xids if await self._primary.is_future_or_aborted(xid)}
