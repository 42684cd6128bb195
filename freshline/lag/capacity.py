"""Capacity: what the replicas of a group do, how busy they are with it, and how fast one of them really is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from freshline.lag.rates import TrueRate
from schemas.work_done import WorkDone

# As long as workers take to commit, several times: below that what they did looks like nothing, then like too much.
_WINDOW_S: Final = 15.0
# Who did nothing for so long, with enough to do, is kept from it.
_LATELY_S: Final = 5.0
# What a worker did before it was first seen counts as so many seconds of work.
_FORMER_WORK_S: Final = 60.0


class _Step(msgspec.Struct, frozen=True):
    elapsed_s: float
    records: float
    busy_s: float


class Capacity:
    """Of one group, from what its workers say they have done."""

    def __init__(self) -> None:
        """Nothing known yet."""
        self._totals: dict[str, WorkDone] = {}
        self._rate = TrueRate()
        self._steps: deque[_Step] = deque()
        self._seen_at_s: float | None = None

    def see(self, now_s: float, work: Iterable[WorkDone]) -> None:
        """Take what the workers say, at this time of a monotonic clock."""
        newest: dict[str, WorkDone] = {}
        for each in work:
            # A worker commits for several partitions, and not always for all of them.
            if each.worker not in newest or newest[each.worker].records < each.records:
                newest[each.worker] = each
        if self._seen_at_s is None:
            for each in newest.values():
                share = min(1.0, _FORMER_WORK_S / each.busy_s) if each.busy_s else 0.0
                self._rate.see(each.records * share, each.busy_s * share, 0.0)
        else:
            records = busy_s = 0.0
            for each in newest.values():
                former = self._totals.get(each.worker)
                records += each.records - (former.records if former else 0)
                busy_s += each.busy_s - (former.busy_s if former else 0.0)
            step = _Step(now_s - self._seen_at_s, max(0.0, records), max(0.0, busy_s))
            self._rate.see(step.records, step.busy_s, step.elapsed_s)
            self._steps.append(step)
            while sum(each.elapsed_s for each in self._steps) - self._steps[0].elapsed_s >= _WINDOW_S:
                self._steps.popleft()
        self._totals, self._seen_at_s = newest, now_s

    @property
    def rate_per_s(self) -> float | None:
        """Records that one replica does in a second of work; None where nothing was done yet."""
        return self._rate.per_s

    @property
    def done_per_s(self) -> float | None:
        """Records that all replicas do, a second; None where that is not known yet."""
        return self._over(_WINDOW_S, lambda step: step.records)

    @property
    def done_lately_per_s(self) -> float | None:
        """The same, of the last seconds."""
        return self._over(_LATELY_S, lambda step: step.records)

    @property
    def busy(self) -> float | None:
        """How many replicas' time goes into that; None where that is not known yet."""
        return self._over(_WINDOW_S, lambda step: step.busy_s)

    def _over(self, window_s: float, value_of: Callable[[_Step], float]) -> float | None:
        elapsed_s = total = 0.0
        for step in reversed(self._steps):
            if elapsed_s >= window_s:
                break
            elapsed_s += step.elapsed_s
            total += value_of(step)
        return total / elapsed_s if elapsed_s else None
