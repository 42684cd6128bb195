"""What a worker writes beside the offsets that it commits: what it has done so far, and how long it worked for that.

Whoever watches lag reads it with the offsets, so how fast a replica really is needs no other connection to it.
"""

from __future__ import annotations

from typing import Self

import msgspec


class WorkDone(msgspec.Struct, frozen=True):
    """Totals of one worker since it began.

    A batch costs something however small it is, so what a worker can do is seen only where its batches are full.

    Attributes:
        worker: tells it from all others, and from itself before a restart.
        records: done.
        busy_s: spent on them, in seconds.
        full_records: done in full batches but the first: there was more to do than it took at once.
        full_busy_s: spent on those.
    """

    worker: str
    records: int
    busy_s: float
    full_records: int = 0
    full_busy_s: float = 0.0

    def encode(self) -> str:
        """As the metadata of a commit."""
        return _encode(self).decode()

    @classmethod
    def decode(cls, metadata: str) -> Self | None:
        """From the metadata of a commit; None where it is somebody else's."""
        try:
            return msgspec.json.decode(metadata, type=cls)
        except msgspec.MsgspecError:
            return None


_encode = msgspec.json.Encoder().encode
