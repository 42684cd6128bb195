"""The status of a group in a partition, and of a group as a whole, in one word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from freshline.lag.partition import Lag

Status = Literal["ok", "lagging", "stalled", "stopped", "unknown"]

# The worst that is known comes first; what is not known is worse than nothing wrong, but hides nothing.
_WORST_FIRST: Final[tuple[Status, ...]] = ("stopped", "stalled", "unknown", "lagging", "ok")


class Standing(msgspec.Struct, frozen=True):
    """Since when a group's place in a partition has not moved, while there was something to read.

    Attributes:
        offset: the place.
        since_s: by a monotonic clock, in seconds.
        messages: its lag then.
    """

    offset: int
    since_s: float
    messages: int


def stood(former: Standing | None, lag: Lag, now_s: float) -> Standing | None:
    """The same place as before, or another; None where there is nothing to read."""
    if not lag.messages:
        return None
    if former is not None and former.offset == lag.next_offset:
        return former
    return Standing(lag.next_offset, now_s, lag.messages)


def status_of(
    lag: Lag | None, standing: Standing | None, now_s: float, *, has_members: bool, lagging_s: float, stalled_s: float
) -> Status:
    """How it goes in a partition.

    Args:
        lag: None where it is not known.
        standing: since when it has not moved.
        now_s: by the same clock.
        has_members: whether anybody is in the group.
        lagging_s: a record older than this is late.
        stalled_s: who has not moved for so long, while more came, is stalled.
    """
    if lag is None:
        return "unknown"
    if not lag.messages:
        return "ok"
    if not has_members:
        return "stopped"
    if standing is not None and now_s - standing.since_s >= stalled_s and lag.messages > standing.messages:
        return "stalled"
    return "lagging" if lag.seconds > lagging_s else "ok"


def worst(statuses: Iterable[Status]) -> Status:
    """Of a group, from those of its partitions."""
    found = set(statuses)
    return next((status for status in _WORST_FIRST if status in found), "ok")
