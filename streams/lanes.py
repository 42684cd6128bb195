"""Where a partition is read from, and how far it is covered.

A partition is *covered* up to an offset when every change before it is in an acknowledged record, or in what the table
was acknowledged to hold. Only that is committed.
"""

from __future__ import annotations

from typing import NamedTuple

from infra.kafka.topic_ids import UNKNOWN


class Found(NamedTuple):
    """What is known of a partition when it is assigned.

    Attributes:
        committed: the group's offset; None where there is none.
        known_id: the topic's id as the table remembers it; None where it remembers none.
        topic_id: the topic's id now.
        first: the log's first offset.
        end: the offset after its last.
    """

    committed: int | None
    known_id: str | None
    topic_id: str
    first: int
    end: int


class Start(NamedTuple):
    """Where to read on, and whether changes before it were lost before anybody read them."""

    offset: int
    is_gap: bool


def start_of(found: Found) -> Start:
    """Decide where to read on."""
    is_another = UNKNOWN not in {found.known_id or UNKNOWN, found.topic_id} and found.known_id != found.topic_id
    if is_another:
        return Start(found.first, is_gap=True)
    if found.committed is None:
        return Start(found.first, is_gap=found.first > 0)
    if not found.first <= found.committed <= found.end:
        return Start(found.first, is_gap=True)
    # The id is written before the first commit: without it the table was lost, and what was pending with it.
    return Start(found.committed, is_gap=found.known_id is None)


class Lane:
    """One partition that is being read.

    Attributes:
        next_offset: the offset that is read next.
        covered: everything before it is in acknowledged records, or acknowledged to be in the table.
        committed: what the group committed.
        awaited: the offset that was sought, because records before it were dropped on their way; until it comes
            nothing is read.
    """

    __slots__ = ("_unreadable", "awaited", "committed", "covered", "next_offset")

    def __init__(self, offset: int) -> None:
        self.next_offset = self.covered = self.committed = offset
        self.awaited: int | None = None
        self._unreadable: set[int] = set()

    def read(self, offset: int) -> None:
        """The record at this offset was read, and those before it."""
        self.next_offset = offset + 1
        self.awaited = None
        while self.next_offset in self._unreadable:
            self._unreadable.discard(self.next_offset)
            self.next_offset += 1

    def pass_over(self, offset: int) -> None:
        """Nobody can read the record at this offset. Those before it may still be on their way."""
        if offset == self.next_offset:
            self.read(offset)
        elif offset > self.next_offset:
            self._unreadable.add(offset)
