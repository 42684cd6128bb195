"""Demand: how many replicas of a consumer are needed, as a pure function of what is known of its partitions.

    loads of partitions ▸ in replicas ▸ whole partitions to each ▸ a band of answers ▸ the former one, clamped

Lag alone makes replicas swing: it falls to nothing, they leave, it returns. Demand is what the arriving records need,
and what is to be caught up within the recovery time. After DS2 (Kalavri et al., OSDI 2018) and Flink's autoscaler, with
whole partitions: a consumer's capacity comes in no smaller pieces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from infra.settings import DemandSettings

Reason = Literal["idle", "floor", "load", "hot_partition", "held", "no_rate", "unknown", "store_away", "saturated",
                 "ceiling", "partitions"]  # fmt: skip
"""Why so many: nothing to do; no fewer than the floor; what the partitions' loads need; a hot partition among them;
fewer would do, but not by much; nobody knows how fast a replica is; a broker does not say how things are; replicas
hardly work though there is enough to do; more would do no more; no more than the ceiling; no more than partitions."""

# What arrives in this time is on its way, not a backlog: workers commit a few times a second.
GRACE_S: Final = 5.0
# A replica may have so much more load than the mean of its partitions says before a hot one among them counts.
_UNEVENNESS: Final = 0.3
# What a partition that takes a whole replica or more may have beside it, in replicas: about what is kept free.
_BESIDE_A_HOT_ONE: Final = 0.1
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


def replicas_for(loads: Sequence[float], rate_per_s: float, utilisation: float) -> tuple[int, Reason]:
    """The fewest replicas that do these loads, if each gets as many partitions as the others.

    It never falls when a load rises: a partition that is more than one replica can do counts as one whole replica, and
    wants beside it no more than is kept free.

    Args:
        loads: of the partitions, in records a second.
        rate_per_s: a replica's true rate: records done in a second of work.
        utilisation: the share of it that is planned with.
    """
    count = len(loads)
    shares = [min(1.0, load / (rate_per_s * utilisation)) for load in loads]
    mean = sum(shares) / count if count else 0.0
    # A replica of which less than this is asked for can have them all; smaller numbers only overflow.
    if mean * count <= _EPSILON:
        return 0, "idle"
    even = 1.0 / mean
    # What the hottest has beside it is others, and those are what they are without it.
    hottest = max(shares)
    others = (mean * count - hottest) / (count - 1) if count > 1 else 0.0
    room = max(1.0 - hottest, _BESIDE_A_HOT_ONE)
    uneven = 1.0 + room / others + _UNEVENNESS if others > _EPSILON else math.inf
    partitions_each = max(1, math.floor(min(count, even, uneven) + _EPSILON))
    needed = math.ceil(count / partitions_each)
    return needed, "hot_partition" if uneven < min(count, even) else "load"


def demand(loads: Sequence[float], rate_per_s: float, targets: DemandSettings, former: int | None) -> Demand:
    """How many replicas are needed: the former answer, as far as the loads still allow it.

    Between what the loads need at the higher utilisation and what they need at the lower one nothing changes, so that
    noise does not.

    Args:
        loads: of the partitions, in records a second.
        rate_per_s: a replica's true rate, above 0.
        targets: what is promised.
        former: the answer before; None at first.
    """
    least, reason = replicas_for(loads, rate_per_s, targets.utilisation)
    most, _ = replicas_for(loads, rate_per_s, targets.relaxed_utilisation)
    if former is None or former < least:
        replicas = least
    elif former > most:
        replicas = most
    else:
        replicas, reason = former, reason if former == least else "held"
    return bounded(Demand(replicas, reason), targets, partitions=len(loads))


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
