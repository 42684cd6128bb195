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
# Or, where that is longer, as a batch takes so many times: of a slow one nothing is heard until it is done.
_WINDOW_BATCHES: Final = 4
_LATELY_BATCHES: Final = 2
# More work than this times the time between two looks, said at once, was a batch that took longer than that.
_LONGER: Final = 1.5
# No batch takes longer. A worker that nothing was heard of for a while says as much at once.
_LONGEST_BATCH_S: Final = 60.0
# What a worker did before it was first seen counts as so many seconds of work.
_FORMER_WORK_S: Final = 60.0


class _Step(msgspec.Struct, frozen=True):
    elapsed_s: float
    records: float
    full_busy_s: float
    longest_batch_s: float


class Capacity:
    """Of one group, from what its workers say they have done."""

    def __init__(self) -> None:
        """Nothing known yet."""
        self._totals: dict[str, WorkDone] = {}
        # In full batches, and in all: the second is only a bound, since with more to do each would do more.
        self._rate, self._least_rate = TrueRate(), TrueRate()
        self._steps: deque[_Step] = deque()
        self._seen_at_s: float | None = None

    def see(self, now_s: float, work: Iterable[WorkDone]) -> None:
        """Take what the workers say, at this time of a monotonic clock. Not to be called where nobody was heard."""
        newest: dict[str, WorkDone] = {}
        for each in work:
            # A worker commits for several partitions, and not always for all of them. Where others have taken over
            # those of its newest commits, only older ones are left.
            former = newest.get(each.worker) or self._totals.get(each.worker)
            if former is None or former.records < each.records:
                newest[each.worker] = each
        if self._seen_at_s is None:
            for each in newest.values():
                self._see_former(each)
        else:
            elapsed_s = now_s - self._seen_at_s
            new: list[WorkDone] = []
            for each in newest.values():
                former = self._totals.get(each.worker)
                if former is None and each.busy_s > max(_LONGER * elapsed_s, _LATELY_S):
                    # It worked before, where nobody heard of it.
                    self._see_former(each)
                else:
                    new.append(_since(each, former))
            full_busy_s = sum(each.full_busy_s for each in new)
            self._rate.see(sum(each.full_records for each in new), full_busy_s, elapsed_s)
            self._least_rate.see(sum(each.records for each in new), sum(each.busy_s for each in new), elapsed_s)
            longest_s = max((each.busy_s for each in new if each.worker in self._totals), default=0.0)
            self._steps.append(
                _Step(
                    elapsed_s,
                    sum(each.records for each in new),
                    full_busy_s,
                    min(longest_s, _LONGEST_BATCH_S) if longest_s > _LONGER * elapsed_s else 0.0,
                )
            )
            while sum(each.elapsed_s for each in self._steps) - self._steps[0].elapsed_s >= self.window_s:
                self._steps.popleft()
        # Another may have taken over the partitions that one committed, and he comes back with others.
        self._totals |= newest
        self._seen_at_s = now_s

    @property
    def rate_per_s(self) -> float | None:
        """Records that one replica does in a second of work; None where nothing was done yet."""
        return self._rate.per_s or self._least_rate.per_s

    @property
    def is_ever_full(self) -> bool:
        """Whether there was ever more to do than was taken at once. If not, the rate is but a bound."""
        return self._rate.per_s is not None

    @property
    def window_s(self) -> float:
        """Over how long what they do is averaged."""
        return max(_WINDOW_S, _WINDOW_BATCHES * self._longest_batch_s)

    @property
    def done_per_s(self) -> float | None:
        """Records that all replicas do, a second; None where that is not known yet."""
        return self._over(self.window_s, lambda step: step.records)

    @property
    def done_lately_per_s(self) -> float | None:
        """The same, of the last seconds."""
        return self._over(max(_LATELY_S, _LATELY_BATCHES * self._longest_batch_s), lambda step: step.records)

    @property
    def busy(self) -> float | None:
        """How many replicas' time goes into full batches; None where that is not known yet."""
        return self._over(self.window_s, lambda step: step.full_busy_s)

    @property
    def _longest_batch_s(self) -> float:
        return max((step.longest_batch_s for step in self._steps), default=0.0)

    def _see_former(self, work: WorkDone) -> None:
        """What was done before anybody looked tells how fast, but not when."""
        for rate, records, busy_s in (
            (self._rate, work.full_records, work.full_busy_s),
            (self._least_rate, work.records, work.busy_s),
        ):
            if busy_s > 0:
                share = min(1.0, _FORMER_WORK_S / busy_s)
                rate.see(records * share, busy_s * share, 0.0)

    def _over(self, window_s: float, value_of: Callable[[_Step], float]) -> float | None:
        elapsed_s = total = 0.0
        for step in reversed(self._steps):
            if elapsed_s >= window_s:
                break
            elapsed_s += step.elapsed_s
            total += value_of(step)
        return total / elapsed_s if elapsed_s else None


def _since(now: WorkDone, former: WorkDone | None) -> WorkDone:
    if former is None:
        return now
    return WorkDone(
        now.worker,
        now.records - former.records,
        now.busy_s - former.busy_s,
        now.full_records - former.full_records,
        now.full_busy_s - former.full_busy_s,
    )
