"""What was seen of a group that is scaled in a cluster, about once a second, and the figures of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """One second of a timeline. None is what Prometheus does not know."""

    at_s: float
    load_per_s: float
    lag_messages: float | None
    lag_s: float | None
    demand: float | None
    reason: str | None
    replicas: int
    running: int


class Figures(msgspec.Struct, frozen=True):
    """What a timeline comes to.

    Attributes:
        over_s: seconds in which the oldest record that waited was older than the target.
        worst_s: its greatest age.
        replica_s: replica-seconds that were asked for.
        changes: of the number of replicas.
        reversals: changes in the other direction than the one before.
    """

    over_s: float
    worst_s: float
    replica_s: float
    changes: int
    reversals: int


def figures(samples: Sequence[Sample], target_s: float) -> Figures:
    """Of these samples, each of which holds until the next."""
    spans = [(one, other.at_s - one.at_s) for one, other in pairwise(samples)]
    moves = [other.replicas - one.replicas for one, other in pairwise(samples) if one.replicas != other.replicas]
    return Figures(
        round(sum(span for sample, span in spans if (sample.lag_s or 0) > target_s), 1),
        round(max(sample.lag_s or 0 for sample in samples), 1),
        round(sum(sample.replicas * span for sample, span in spans), 1),
        len(moves),
        sum(one * other < 0 for one, other in pairwise(moves)),
    )
