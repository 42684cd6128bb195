"""Rules: what each tells the HPA, from what can be seen of a group from outside."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from freshline.lag.rates import Arrivals
from freshline.lag.report import GroupLag, PartitionLag
from freshline.lag.scaling import Scaling
from infra.settings import DemandSettings
from schemas.work_done import WorkDone


class Seen(msgspec.Struct, frozen=True):
    """A group at one moment.

    Attributes:
        now_s: when.
        ends: of the partitions, as offsets; shape (partitions,).
        lags: of the group, in messages; shape (partitions,).
        seconds: the age of the oldest record that waits.
        members: of the group.
        work: what they said with their commits.
    """

    now_s: int
    ends: NDArray[np.float64]
    lags: NDArray[np.float64]
    seconds: float
    members: int
    work: list[WorkDone]


class Rule(Protocol):
    """Tells the HPA a metric, and what one replica is to have of it."""

    target: float

    def usage(self, seen: Seen) -> float:
        """The metric, of all replicas together."""
        ...


class LagRule:
    """KEDA's: the group's lag over a threshold, no more than there are partitions."""

    def __init__(self, threshold: float) -> None:
        self.target = threshold

    def usage(self, seen: Seen) -> float:
        """The lag, and no more of it than partitions can be asked for."""
        return float(min(seen.lags.sum(), self.target * len(seen.lags)))


class SecondsRule:
    """The age of the oldest record over a target: as many more replicas as it is too old."""

    def __init__(self, target_s: float) -> None:
        self.target = target_s

    def usage(self, seen: Seen) -> float:
        """The age, as if each replica had it."""
        return seen.seconds * seen.members


class DemandRule:
    """Ours, by the same code that runs in a cluster."""

    target = 1.0

    def __init__(self, targets: DemandSettings) -> None:
        self._scaling = Scaling(targets)
        self._arrivals = Arrivals[int]()

    def usage(self, seen: Seen) -> float:
        """How many are needed."""
        self._arrivals.see(seen.now_s, {number: int(end) for number, end in enumerate(seen.ends)})
        arrivals = self._arrivals.per_s()
        partitions = [
            PartitionLag("t", number, "ok", int(lag), 0.0, arrivals.get(number), 0.0)
            for number, lag in enumerate(seen.lags)
        ]
        found = self._scaling.see(seen.now_s, GroupLag("g", partitions, members=seen.members), seen.work)
        return 0.0 if found.demand is None else float(found.demand.replicas)
