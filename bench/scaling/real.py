"""The simulator beside Kubernetes's own controller: the same load, as it was sent in ``tests/k8s``.

What a replica did in a second, how long a pod took to read and how long nobody read are what was seen there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bench.scaling.hpa import Behaviour, Policy
from bench.scaling.loads import Floats, Load
from bench.scaling.rules import DemandRule
from bench.scaling.simulation import Outcome, Pace, simulate
from bench.scaling.timelines import Sample, figures
from infra.settings import DemandSettings

CLUSTER: Final = Path(__file__).parents[1] / "results" / "cluster"
PARTITIONS: Final = 8
# What is promised there. Syncs, windows and pods are as much quicker than in a cluster as this is than the default.
RECOVERY_S: Final = 15.0
RATE_PER_S: Final = 870.0
# As in tests/k8s/overlay.
BEHAVIOUR: Final = Behaviour((Policy("Percent", 100, 15),), (Policy("Percent", 50, 15),), 0, 20)
PACE: Final = Pace(look_s=1, sync_s=1, stale_s=2, pod_starts_s=6, rebalance_s=4)


class Error(msgspec.Struct, frozen=True):
    """How far the simulated is from the real.

    Attributes:
        replicas: mean of the absolute difference of their number.
        replica_s: simulated over real.
        worst_lag_s: the greatest age of a record, simulated and real.
        reversals: simulated and real.
    """

    replicas: float
    replica_s: float
    worst_lag_s: tuple[float, float]
    reversals: tuple[int, int]


def read(name: str) -> list[Sample]:
    """A timeline that was kept."""
    return msgspec.json.decode((CLUSTER / f"{name}.json").read_bytes(), type=list[Sample])


def simulated(samples: Sequence[Sample]) -> Outcome:
    """The same load, second by second."""
    load = _by_second(samples, [sample.load_per_s for sample in samples])
    return simulate(
        Load(load / RATE_PER_S, np.full(PARTITIONS, 1 / PARTITIONS), np.full(len(load), np.inf)),
        DemandRule(DemandSettings(ceiling=PARTITIONS, recovery_s=RECOVERY_S)),
        BEHAVIOUR,
        rate_per_s=RATE_PER_S,
        target_s=RECOVERY_S,
        pace=PACE,
    )


def error(samples: Sequence[Sample], outcome: Outcome) -> Error:
    """Of this outcome."""
    replicas = _by_second(samples, [sample.replicas for sample in samples])
    real = figures(samples, RECOVERY_S)
    return Error(
        float(np.abs(outcome.replicas - replicas).mean()),
        float(outcome.replicas.sum() / replicas.sum()),
        (float(outcome.lag_s.max()), real.worst_s),
        (outcome.reversals, real.reversals),
    )


def _by_second(samples: Sequence[Sample], values: Sequence[float]) -> Floats:
    began_s, ended_s = samples[0].at_s, samples[-1].at_s
    places = np.searchsorted([sample.at_s for sample in samples], began_s + np.arange(int(ended_s - began_s)), "right")
    return np.array(values, dtype=np.float64)[places - 1]
