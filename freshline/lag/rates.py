"""Rates: how fast records arrive, and how fast one replica does them while it works. Over running totals."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

K = TypeVar("K")

_LONG_S: Final = 60.0
# A shorter window counts where its rate is so much above the longer one's: a rise is answered at once.
_SHORTER: Final = ((15.0, 1.15), (5.0, 1.30))
# And where that many records more are no chance: the deviation of a Poisson count is its root.
_DEVIATIONS: Final = 3.0
_DECAY_S: Final = 60.0


class _Sample(NamedTuple):
    """Running totals at a time: of each partition what arrived, and for how long that was looked at."""

    at_s: float
    arrived: array[int]
    elapsed_s: array[float]


class Arrivals(Generic[K]):
    """The rate at which records arrive in each partition, from where the partitions end."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        # Where in the arrays of samples a partition is. Ten thousand of them for a minute would be large as objects.
        self._slots: dict[K, int] = {}
        self._ends: dict[K, int] = {}
        self._samples: deque[_Sample] = deque()

    def see(self, at_s: float, ends: Mapping[K, int]) -> None:
        """Note where the partitions end at this time of a monotone clock."""
        former_at_s, arrived, elapsed_s = self._samples[-1] if self._samples else _Sample(at_s, _counts(), _seconds())
        arrived, elapsed_s = arrived[:], elapsed_s[:]
        for key, end in ends.items():
            slot = self._slots.setdefault(key, len(arrived))
            if slot == len(arrived):
                arrived.append(0)
                elapsed_s.append(0.0)
            # Neither a topic that was made anew nor a partition that was not seen before says how fast it was.
            former = self._ends.get(key)
            if former is not None and former <= end:
                arrived[slot] += end - former
                elapsed_s[slot] += at_s - former_at_s
        self._ends = dict(ends)
        self._samples.append(_Sample(at_s, arrived, elapsed_s))
        while len(self._samples) > 2 and self._samples[1].at_s <= at_s - _LONG_S:  # noqa: PLR2004 - a pair is kept
            self._samples.popleft()
        if len(self._slots) > 2 * len(self._ends):
            self._forget()

    def per_s(self) -> dict[K, float]:
        """Records a second, by partition: over a minute, or over the last seconds where those say clearly more.

        One that was not seen twice is left out.
        """
        if len(self._samples) < 2:  # noqa: PLR2004
            return {}
        chosen = self._over(_LONG_S)
        for window_s, factor in _SHORTER:
            shorter = self._over(window_s)
            expected = sum(filter(None, chosen)) * window_s
            surplus = sum(filter(None, shorter)) * window_s - expected
            if surplus > (factor - 1) * expected and surplus > _DEVIATIONS * math.sqrt(max(expected, 1.0)):
                chosen = [long if short is None else short for short, long in zip(shorter, chosen, strict=True)]
        return {key: rate for key, rate in zip(self._ends, chosen, strict=True) if rate is not None}

    def _over(self, window_s: float) -> list[float | None]:
        """The rates of those that are there, in their order; None where that is not known."""
        last = self._samples[-1]
        first = next(sample for sample in self._samples if sample.at_s >= last.at_s - window_s - 1e-9)
        if first is last:
            first = self._samples[-2]
        missing = len(last.arrived) - len(first.arrived)
        before, before_s = first.arrived + _counts([0]) * missing, first.elapsed_s + _seconds([0.0]) * missing
        return [
            (last.arrived[slot] - before[slot]) / (last.elapsed_s[slot] - before_s[slot])
            if last.elapsed_s[slot] > before_s[slot]
            else None
            for slot in map(self._slots.__getitem__, self._ends)
        ]

    def _forget(self) -> None:
        """Let go of partitions that are gone, and said nothing in the whole time that is asked for."""
        first, last = self._samples[0], self._samples[-1]
        quiet = {slot for slot, (a, b) in enumerate(zip(first.elapsed_s, last.elapsed_s, strict=False)) if a == b}
        kept = {key: slot for key, slot in self._slots.items() if key in self._ends or slot not in quiet}
        if 2 * len(kept) > len(self._slots):
            return
        self._slots = {key: number for number, key in enumerate(kept)}
        for number, sample in enumerate(self._samples):
            self._samples[number] = _Sample(
                sample.at_s,
                _counts(sample.arrived[slot] if slot < len(sample.arrived) else 0 for slot in kept.values()),
                _seconds(sample.elapsed_s[slot] if slot < len(sample.elapsed_s) else 0.0 for slot in kept.values()),
            )


def _counts(values: Iterable[int] = ()) -> array[int]:
    return array("q", values)


def _seconds(values: Iterable[float] = ()) -> array[float]:
    return array("d", values)


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
