"""Readiness and liveness by progress: a process that reads nothing while there is something to read is not alive."""

from __future__ import annotations

import math
import time
from typing import Final

_STUCK_AFTER_S: Final = 60.0


class Progress:
    """What a worker last did. Times are in seconds of the process's clock."""

    def __init__(self, stuck_after_s: float = _STUCK_AFTER_S) -> None:
        """``stuck_after_s``: after how long without a turn, or without progress while there is lag, it is stuck."""
        self._stuck_after_s = stuck_after_s
        # Before the first turn nothing is late: a model may take minutes to load. A startup probe sees to that.
        self._turned_at = self._progressed_at = math.inf
        self._waiting_for: str | None = None
        self._settled = False

    def turned(self) -> None:
        """The loop went round; the first time, it has begun."""
        self._turned_at = time.monotonic()
        self._progressed_at = min(self._progressed_at, self._turned_at)

    def progressed(self) -> None:
        """Something was applied, or there is nothing to apply."""
        self._settled = True
        self._waiting_for = None
        self.turned()
        self._progressed_at = self._turned_at

    def waits(self, store: str) -> None:
        """A store is away. Waiting for it is not being stuck: a restart would not bring it back."""
        self._waiting_for = store
        self.turned()
        self._progressed_at = self._turned_at

    @property
    def is_ready(self) -> bool:
        """Whether it has its place in the log and no store is away."""
        return self._settled and self._waiting_for is None and self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether it goes round and, while there is lag, gets somewhere."""
        now = time.monotonic()
        return now - self._turned_at < self._stuck_after_s and now - self._progressed_at < self._stuck_after_s

    def describe(self) -> str:
        """One word for people."""
        if not self.is_alive:
            return "stuck"
        if self._waiting_for is not None:
            return f"waiting: {self._waiting_for}"
        return "ready" if self._settled else "joining"
