"""Demand: how many replicas of a consumer are needed, as a pure function of what is known of its partitions.

    loads of partitions ▸ packed into replicas ▸ a band of answers ▸ the former one, clamped

Lag alone makes replicas swing: it falls to nothing, they leave, it returns. Demand is what the arriving records need,
and what is to be caught up within the recovery time. After DS2 (Kalavri et al., OSDI 2018) and Flink's autoscaler, with
whole partitions: a consumer's capacity comes in no smaller pieces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from freshline.lag.packing import replicas_for
from infra.settings import DemandSettings

Reason = Literal["idle", "floor", "load", "hot_partition", "held", "no_rate", "unknown", "store_away", "saturated",
                 "ceiling", "partitions"]  # fmt: skip
"""Why so many: nothing to do; no fewer than the floor; what the partitions' loads need; a hot partition among them;
fewer would do, but not by much; nobody knows how fast a replica is, since none ever had more to do than it could take
at once; a broker does not say how things are; replicas hardly work though there is enough to do; more would do no more;
no more than the ceiling; no more than partitions."""

Topics: TypeAlias = Sequence[Sequence[float]]
"""Of each topic the loads of its partitions, in records a second."""

# What arrives in this time is on its way, not a backlog: workers commit a few times a second.
GRACE_S: Final = 5.0
# So near to the next whole number it is that number: sums of floats are a little off.
_EPSILON: Final = 1e-9


class Demand(msgspec.Struct, frozen=True):
    """How many replicas are needed, and why."""

    replicas: int
    reason: Reason


def load_per_s(arrival_per_s: float, lag_messages: float, recovery_s: float) -> float:
    """Records a second that a partition's consumer must do: what arrives, and the backlog's part.

    Args:
        arrival_per_s: records that arrive, a second.
        lag_messages: records that wait.
        recovery_s: within how many seconds they are to be worked off.
    """
    backlog = lag_messages - GRACE_S * arrival_per_s
    return max(0.0, arrival_per_s) + max(0.0, backlog) / recovery_s


def demand(topics: Topics, rate_per_s: float, targets: DemandSettings, former: int | None) -> Demand:
    """How many replicas are needed: the former answer, as far as the loads still allow it.

    Between what the loads need at the higher utilisation and what they need at the lower one nothing changes, so that
    noise does not.

    Args:
        topics: the loads of their partitions, in records a second.
        rate_per_s: a replica's true rate, above 0.
        targets: what is promised.
        former: the answer before; None at first.
    """
    reason: Reason
    least, reason = replicas_for(topics, rate_per_s, targets.utilisation)
    most, _ = replicas_for(topics, rate_per_s, targets.relaxed_utilisation)
    if former is None or former < least:
        replicas = least
    elif former > most:
        replicas = most
    else:
        replicas, reason = former, reason if former == least else "held"
    return bounded(Demand(replicas, reason), targets, partitions=sum(len(loads) for loads in topics))


def bounded(wanted: Demand, targets: DemandSettings, *, partitions: int) -> Demand:
    """Within floor and ceiling, and no more than there are partitions: one that has none can do nothing."""
    if wanted.replicas > partitions > 0:
        wanted = Demand(partitions, "partitions")
    if wanted.replicas > targets.ceiling:
        wanted = Demand(targets.ceiling, "ceiling")
    if wanted.replicas < targets.floor:
        wanted = Demand(targets.floor, "floor" if wanted.reason == "load" else wanted.reason)
    return wanted


def published(wanted: int, running: int) -> int:
    """What is told to the HPA so that it rises, too, where it would ignore the difference.

    It ignores whatever is within 0.9 to 1.1 of what runs: its ``--horizontal-pod-autoscaler-tolerance``, by default.
    """
    deaf_up_to = math.floor(1.1 * running + _EPSILON)
    return deaf_up_to + 1 if running < wanted <= deaf_up_to else wanted
