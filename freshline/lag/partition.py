"""The lag of a group in one partition: how many records it has yet to apply, and how old the oldest of them is.

Offsets alone are not enough. Between what a group committed and the end there may be nothing that anybody can read
(markers of transactions, what they took back, what compaction took away), and what it committed may lie where the
partition no longer is.
"""

from __future__ import annotations

from typing import Final

import msgspec

from infra.kafka.observer import Bounds, Committed, Unread

_MS: Final = 1000


class Lag(msgspec.Struct, frozen=True):
    """How far a group is behind in a partition.

    Attributes:
        messages: the distance of offsets to the end; 0 where nothing that can be read is left.
        seconds: the age of the oldest record that it has not applied, by the record's time.
        next_offset: where the group goes on.
        overtaken: records that retention took away before the group came to them, as a distance of offsets.
    """

    messages: int
    seconds: float
    next_offset: int
    overtaken: int = 0


def next_offset(committed: Committed | None, bounds: Bounds) -> int:
    """Where a member of the group goes on reading: at the beginning, where nothing valid was committed.

    (A group that is set to begin at the end instead has no such partition for longer than it takes to commit.)
    """
    if committed is None or not bounds.start <= committed.offset <= bounds.log_end:
        return bounds.start
    return committed.offset


def lag_of(committed: Committed | None, bounds: Bounds, unread: Unread | None, now_ms: float) -> Lag:
    """How far a group is behind.

    Args:
        committed: by the group; None where it committed nothing there.
        bounds: of the partition, asked for after that.
        unread: what can be read from ``next_offset`` on; None where that is not before the end.
        now_ms: in milliseconds since 1970.
    """
    at = next_offset(committed, bounds)
    overtaken = max(0, bounds.start - committed.offset) if committed is not None else 0
    # What came after the end was asked for belongs to the next round.
    if unread is None or unread.timestamp_ms is None or unread.offset >= bounds.end:
        return Lag(0, 0.0, at, overtaken)
    return Lag(bounds.end - at, max(0.0, now_ms - unread.timestamp_ms) / _MS, at, overtaken)
