"""The algorithm of Kubernetes's HorizontalPodAutoscaler: tolerance, stabilisation windows, policies.

After kubernetes/pkg/controller/podautoscaler (horizontal.go, replica_calculator.go), 1.34: every sync takes what the
metric asks for, unless it is within the tolerance of what runs; then the windows of recommendations, then the policies,
which bound what may change within their periods. The behaviours are those of the operators' guide.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, Literal

import msgspec

_TOLERANCE: Final = 0.1


class Policy(msgspec.Struct, frozen=True):
    """How much may change within a period: pods, or percent of what there was at its beginning."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


class Behaviour(msgspec.Struct, frozen=True):
    """How fast replicas may come and go.

    Attributes:
        up: bounds of a rise; the one that allows most counts.
        down: bounds of a fall.
        up_window_s: the least that was asked for in this time counts for a rise.
        down_window_s: the most that was asked for in this time counts for a fall.
    """

    up: tuple[Policy, ...]
    down: tuple[Policy, ...]
    up_window_s: int
    down_window_s: int


BEHAVIOURS: Final = {
    "aggressive": Behaviour((Policy("Percent", 100, 15),), (Policy("Percent", 10, 60),), 0, 300),
    "moderate": Behaviour((Policy("Percent", 50, 30),), (Policy("Percent", 10, 60),), 0, 300),
    "conservative": Behaviour((Policy("Percent", 25, 60),), (Policy("Percent", 5, 120),), 60, 600),
}


class Autoscaler:
    """One HPA. It is asked once in each sync, of 15 s by default."""

    def __init__(self, behaviour: Behaviour, *, least: int, most: int) -> None:
        """Nothing was asked for yet."""
        self._behaviour = behaviour
        self._least, self._most = least, most
        self._asked: deque[tuple[int, int]] = deque()
        self._changes: deque[tuple[int, int]] = deque()

    def decide(self, now_s: int, replicas: int, usage: float | None, target: float) -> int:
        """How many replicas there are to be.

        Args:
            now_s: the time.
            replicas: how many there are.
            usage: the metric, of all together; None where there is none, and nothing changes.
            target: what one replica is to have of it (``AverageValue``).
        """
        asked = replicas
        if usage is not None:
            ratio = usage / (target * replicas)
            asked = replicas if abs(1 - ratio) <= _TOLERANCE else math.ceil(usage / target)
        asked = min(max(asked, self._least), self._most)
        wanted = self._stabilised(now_s, replicas, asked)
        bounded = self._bounded(now_s, replicas, wanted)
        if bounded != replicas:
            self._changes.append((now_s, bounded - replicas))
        return bounded

    def _stabilised(self, now_s: int, replicas: int, asked: int) -> int:
        windows = self._behaviour.up_window_s, self._behaviour.down_window_s
        while self._asked and self._asked[0][0] < now_s - max(windows):
            self._asked.popleft()
        up = min([asked, *(each for at_s, each in self._asked if at_s > now_s - windows[0])])
        down = max([asked, *(each for at_s, each in self._asked if at_s > now_s - windows[1])])
        self._asked.append((now_s, asked))
        return min(max(replicas, up), down)

    def _bounded(self, now_s: int, replicas: int, wanted: int) -> int:
        rises = wanted > replicas
        limits: list[int] = []
        for policy in self._behaviour.up if rises else self._behaviour.down:
            began = replicas - sum(by for at_s, by in self._changes if at_s > now_s - policy.period_s)
            if policy.kind == "Pods":
                limits.append(began + policy.value if rises else began - policy.value)
            elif rises:
                limits.append(math.ceil(began * (1 + policy.value / 100)))
            else:
                limits.append(math.floor(began * (1 - policy.value / 100)))
        return min(wanted, max(limits)) if rises else max(wanted, min(limits))
