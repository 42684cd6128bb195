"""Rates: how fast records arrive, and how fast one replica does them while it works. Over running totals."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Final, Generic, TypeVar

import msgspec

K = TypeVar("K")

_LONG_S: Final = 60.0
# A shorter window counts where its rate is so much above the longer one's: a rise is answered at once.
_SHORTER: Final = ((15.0, 1.15), (5.0, 1.30))
# And where that many records more are no chance: the deviation of a Poisson count is its root.
_DEVIATIONS: Final = 3.0
_DECAY_S: Final = 60.0


class _Sample(msgspec.Struct, Generic[K], frozen=True):
    at_s: float
    totals: Mapping[K, int]


class Arrivals(Generic[K]):
    """The rate at which records arrive in each partition, from where the partitions end."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._samples: deque[_Sample[K]] = deque()

    def see(self, at_s: float, ends: Mapping[K, int]) -> None:
        """Note where the partitions end at this time of a monotone clock."""
        self._samples.append(_Sample(at_s, dict(ends)))
        while len(self._samples) > 2 and self._samples[1].at_s <= at_s - _LONG_S:  # noqa: PLR2004 - a pair is kept
            self._samples.popleft()

    def per_s(self) -> dict[K, float]:
        """Records a second, by partition: over a minute, or over the last seconds where those say clearly more."""
        if len(self._samples) < 2:  # noqa: PLR2004
            return {key: 0.0 for each in self._samples for key in each.totals}
        chosen = self._over(_LONG_S)
        for window_s, factor in _SHORTER:
            shorter = self._over(window_s)
            expected = sum(chosen.values()) * window_s
            surplus = sum(shorter.values()) * window_s - expected
            if surplus > (factor - 1) * expected and surplus > _DEVIATIONS * math.sqrt(max(expected, 1.0)):
                chosen = shorter
        return chosen

    def _over(self, window_s: float) -> dict[K, float]:
        last = self._samples[-1]
        since = [sample for sample in self._samples if sample.at_s >= last.at_s - window_s - 1e-9]
        if len(since) == 1:
            since = list(self._samples)[-2:]
        arrived = dict.fromkeys(last.totals, 0)
        elapsed_s = dict.fromkeys(last.totals, 0.0)
        for one, other in pairwise(since):
            for key, end in other.totals.items():
                # Neither a topic that was made anew nor a partition that was not seen before says how fast it was.
                if key in arrived and one.totals.get(key, math.inf) <= end:
                    arrived[key] += end - one.totals[key]
                    elapsed_s[key] += other.at_s - one.at_s
        return {key: count / elapsed_s[key] if elapsed_s[key] else 0.0 for key, count in arrived.items()}


class TrueRate:
    """Records that one replica does in a second of work, decaying over a minute; as it was, while it has none.

    Throughput as such says nothing of what could be done: a replica that waits for records would pass for a slow one.
    """

    def __init__(self) -> None:
        """Nothing known yet."""
        self._records = 0.0
        self._busy_s = 0.0

    def see(self, records: float, busy_s: float, elapsed_s: float) -> None:
        """Note what was done since the last time, by all replicas, and in how many seconds of work.

        Args:
            records: done.
            busy_s: spent on them, all replicas' together.
            elapsed_s: since the last time.
        """
        if records <= 0 or busy_s <= 0:
            return
        kept = math.exp(-elapsed_s / _DECAY_S)
        self._records = self._records * kept + records
        self._busy_s = self._busy_s * kept + busy_s

    @property
    def per_s(self) -> float | None:
        """Records a second of work; None where nothing was done yet."""
        return self._records / self._busy_s if self._busy_s else None
