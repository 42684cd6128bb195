"""What a worker writes beside the offsets that it commits: what it has done so far, and how long it worked for that.

Whoever watches lag reads it with the offsets, so how fast a replica really is needs no other connection to it.
"""

from __future__ import annotations

from typing import Self

import msgspec


class WorkDone(msgspec.Struct, frozen=True):
    """Totals of one worker since it began.

    Attributes:
        worker: tells it from all others, and from itself before a restart.
        records: done.
        busy_s: spent on them, in seconds.
    """

    worker: str
    records: int
    busy_s: float

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
