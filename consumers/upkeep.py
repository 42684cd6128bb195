"""What a worker does now and then, however busy or idle it is: commit, and check that all still fits.

The check is what makes a worker that has nothing to apply notice that Redis lost its last writes, that another worker
began an epoch, or that the log is another one.
"""

from __future__ import annotations

import time
from typing import Final

from consumers.applying import Applier
from consumers.positions import Positions
from infra.kafka.log import ChangeLog, Partition
from infra.progress import Progress

_COMMIT_EVERY_S: Final = 1.0
_CHECK_EVERY_S: Final = 2.0
# Behind a distant store nothing is applied meanwhile, and whatever is applied is checked there anyway.
_CHECK_SHARE: Final = 0.05


class Upkeep:
    """Committing and checking, each when it is due."""

    def __init__(self, log: ChangeLog, positions: Positions, applier: Applier, progress: Progress) -> None:
        """Nothing is committed yet, and all is due."""
        self._log = log
        self._positions = positions
        self._applier = applier
        self._progress = progress
        self._committed: dict[Partition, int] = {}
        self._due_commit = self._due_check = 0.0

    async def turn(self, *, idle: bool) -> None:
        """Do what is due; ``idle`` says that nothing was fetched.

        Raises:
            StoreUnavailableError: a store does not answer.
        """
        now = time.monotonic()
        self._progress.turned()
        if idle:
            await self._applier.finish()
        if now >= self._due_commit:
            self._due_commit = now + _COMMIT_EVERY_S
            await self.commit()
        if now >= self._due_check:
            await self._applier.finish()
            started = time.monotonic()
            await self._check(idle=idle)
            took_s = time.monotonic() - started
            self._due_check = now + (_CHECK_EVERY_S if idle else max(_CHECK_EVERY_S, took_s / _CHECK_SHARE))

    async def commit(self) -> None:
        """Finish what is being applied and tell Kafka: a new epoch begins from what was committed.

        Raises:
            StoreUnavailableError: a store does not answer.
        """
        await self._applier.finish()
        changed = {p: o for p, o in self._positions.settled().items() if self._committed.get(p) != o}
        if changed and await self._log.commit(changed, self._applier.done.encode()):
            self._committed.update(changed)

    async def _check(self, *, idle: bool) -> None:
        await self._positions.check()
        settled = self._positions.settled()
        if not settled:
            if not self._positions.are_doubted:
                self._progress.progressed()
            return
        if not idle:
            # Records come, so they are in the log; where they no longer follow each other, reading them tells.
            return
        bounds = await self._log.bounds(settled)
        self._positions.doubt([p for p, offset in settled.items() if not bounds[p][0] <= offset <= bounds[p][1]])
        positions = await self._log.positions(settled)
        if all(position >= bounds[p][1] for p, position in positions.items()):
            self._progress.progressed()
