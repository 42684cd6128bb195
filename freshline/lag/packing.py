"""Packing: how many replicas whole partitions need, if a group spreads each topic evenly, and all topics together.

    loads ▸ in replicas ▸ for 1, 2, 3, … replicas: what would the worst one have? ▸ the first that it can do

A consumer's capacity comes in no smaller pieces than partitions: without that, demand sits just under what is needed
for ever. How partitions are spread stands in ``infra/kafka/assignment.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

# A replica may have so much more load than the mean of its partitions says before a hot one among them counts.
_UNEVENNESS: Final = 0.3
# What a partition that takes a whole replica or more may have beside it, in replicas: about what is kept free.
_BESIDE_A_HOT_ONE: Final = 0.1
# So near to the next whole number it is that number: sums of floats are a little off.
_EPSILON: Final = 1e-9


class _Topic(msgspec.Struct, frozen=True):
    """Loads of its partitions, in replicas."""

    partitions: int
    mean: float
    hottest: float
    others: float
    """The mean of those beside the hottest."""

    def least(self, replicas: int) -> int:
        """How many of its partitions each replica has."""
        return self.partitions // replicas

    def most(self, replicas: int) -> int:
        """How many of its partitions some replica has."""
        return math.ceil(self.partitions / replicas)


def replicas_for(
    topics: Sequence[Sequence[float]], rate_per_s: float, utilisation: float
) -> tuple[int, Literal["idle", "load", "hot_partition"]]:
    """The fewest replicas that do these loads, and what decided.

    It never falls when a load rises: a partition that is more than one replica can do counts as one whole replica, and
    wants beside it no more than is kept free.

    Args:
        topics: of each the loads of its partitions, in records a second.
        rate_per_s: a replica's true rate: records done in a second of work.
        utilisation: the share of it that is planned with.
    """
    found = [_topic([min(1.0, load / (rate_per_s * utilisation)) for load in loads]) for loads in topics if loads]
    # A replica of which less than this is asked for can have them all; smaller numbers only overflow.
    if sum(topic.mean * topic.partitions for topic in found) <= _EPSILON:
        return 0, "idle"
    count = sum(topic.partitions for topic in found)
    fits_evenly = next(n for n in range(1, count + 1) if _most(found, n, math.ceil(count / n)) <= 1 + _EPSILON)
    needed = next(n for n in range(fits_evenly, count + 1) if _hot_ones_have_room(found, n, math.ceil(count / n)))
    return needed, "load" if needed == fits_evenly else "hot_partition"


def _topic(shares: Sequence[float]) -> _Topic:
    count, hottest, total = len(shares), max(shares), sum(shares)
    others = (total - hottest) / (count - 1) if count > 1 else 0.0
    return _Topic(count, total / count, hottest, max(0.0, others))


def _most(topics: Sequence[_Topic], replicas: int, room: int) -> float:
    """What that many partitions can be together, some from each topic, on one of so many replicas."""
    load = sum(topic.least(replicas) * topic.mean for topic in topics)
    more = room - sum(topic.least(replicas) for topic in topics)
    uneven = sorted((topic.mean for topic in topics if topic.partitions % replicas), reverse=True)
    return load + sum(uneven[: max(0, more)])


def _hot_ones_have_room(topics: Sequence[_Topic], replicas: int, each: int) -> bool:
    """Whether the replica that has a topic's hottest partition can do what else it has."""
    for place, topic in enumerate(topics):
        most = topic.most(replicas)
        beside = _most([*topics[:place], *topics[place + 1 :]], replicas, each - most)
        beside += max(0.0, most - 1 - _UNEVENNESS) * topic.others
        if beside > max(1.0 - topic.hottest, _BESIDE_A_HOT_ONE) + _EPSILON:
            return False
    return True
