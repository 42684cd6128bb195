"""Saturation: more replicas that do no more, since what they all wait for is the store.

    steady with n ▸ what fewer did lately ▸ hardly more? ▸ no more than that needs, for a while ▸ try one more

More consumers on a store that can do no more make it slower for everybody, and whoever scales on lag sends more.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec

# Of the time over which is averaged what they do: so much longer are they as many.
_STEADY: Final = 4 / 3
# What it is compared with need not have been there for as long: a rise takes few breaks.
_STEADY_BEFORE: Final = 2 / 3
_BUSY: Final = 0.90
# Of what as many replicas more should do more, at least so much, or it is not their number.
_LEAST_GAIN: Final = 0.30
_REMEMBERED_S: Final = 360.0
_FIRST_CAP_S: Final = 600.0
_LONGEST_CAP_S: Final = 3_600.0
_EPSILON: Final = 1e-9


class _Level(msgspec.Struct, frozen=True):
    at_s: float
    members: int
    done_per_s: float


class Saturation:
    """Of one group. Times are of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._levels: deque[_Level] = deque()
        self._members = 0
        self._steady_since_s = -math.inf
        self._cap: int | None = None
        self._capped_until_s = -math.inf
        self._cap_s = _FIRST_CAP_S
        # What all did when the store could do no more, and what one did when it could.
        self._capped_done_per_s = self._unhindered_per_s = 0.0

    def see(self, now_s: float, members: int, done_per_s: float, busy: float, over_s: float) -> None:
        """Note what so many replicas do.

        Args:
            now_s: the time.
            members: how many there are.
            done_per_s: records they do, a second.
            busy: how many replicas' time goes into that.
            over_s: of how many seconds both are the mean.
        """
        while self._levels and self._levels[0].at_s < now_s - _REMEMBERED_S:
            self._levels.popleft()
        if members != self._members:
            self._members, self._steady_since_s = members, now_s
        steady_s = now_s - self._steady_since_s
        if steady_s < _STEADY_BEFORE * over_s or members < 1 or busy < _BUSY * members:
            return
        if steady_s >= _STEADY * over_s:
            self._compare(now_s, members, done_per_s)
        self._levels.append(_Level(now_s, members, done_per_s))

    def cap(self, now_s: float) -> int | None:
        """The most replicas that are of use now; None where nothing speaks against more."""
        if self._cap is None:
            return None
        if now_s >= self._capped_until_s:
            # One more is let in; where that is no better either, this is held for longer.
            return self._cap + 1
        return self._cap

    def _compare(self, now_s: float, members: int, done_per_s: float) -> None:
        fewer = [level for level in self._levels if level.members < members]
        unhindered_per_s = max((level.done_per_s / level.members for level in fewer), default=self._unhindered_per_s)
        if not fewer and self._cap is not None and members > self._cap and now_s >= self._capped_until_s:
            # They became more too slowly to compare with those before, or those were never busy.
            fewer = [_Level(now_s, self._cap, self._capped_done_per_s)]
        if not fewer:
            return
        best = max(fewer, key=lambda level: level.done_per_s)
        expected = best.done_per_s / best.members * (members - best.members)
        if done_per_s - best.done_per_s < _LEAST_GAIN * expected:
            self._saturated(now_s, done_per_s, unhindered_per_s)
        elif self._cap is not None and members > self._cap:
            self._cap, self._cap_s = None, _FIRST_CAP_S

    def _saturated(self, now_s: float, done_per_s: float, unhindered_per_s: float) -> None:
        needed = max(1, math.ceil(done_per_s / unhindered_per_s - _EPSILON))
        if self._cap is not None and now_s < self._capped_until_s:
            self._cap = min(self._cap, needed)
            return
        self._cap_s = _FIRST_CAP_S if self._cap is None else min(2 * self._cap_s, _LONGEST_CAP_S)
        self._cap, self._capped_until_s = needed, now_s + self._cap_s
        self._capped_done_per_s, self._unhindered_per_s = done_per_s, unhindered_per_s
        # What was before says nothing of the next try.
        self._levels.clear()
