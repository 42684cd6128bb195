"""Positions and sight in Postgres: LSNs, snapshots, and what a snapshot sees.

The log runs ahead of sight: an event can be here while every reader still sees the old row. Whether a change is in
what was read is therefore answered by the whole snapshot (``xid < xmax and xid not in xip``), never by ``xmin``.
"""

from __future__ import annotations

import msgspec

_XID_EPOCH = 1 << 32
_XID_HALF = 1 << 31


def parse_lsn(text: str) -> int:
    """The 64-bit position that Postgres prints as ``16/B374D848``.

    Raises:
        ValueError: the text is not an LSN.
    """
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)


def format_lsn(lsn: int) -> str:
    """The position as Postgres prints it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """What one statement saw: every transaction below ``xmax`` that is not in progress (``xip``).

    Snapshots of one primary are totally ordered in time, and each transaction that completes makes
    ``completed`` larger, so the order of two snapshots is the order of that one number.
    """

    xmax: int
    in_progress: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Read ``xmin:xmax:xip_list``, the text form of ``pg_snapshot``."""
        _, xmax, xip = text.split(":")
        return cls(int(xmax), tuple(int(xid) for xid in xip.split(",")) if xip else ())

    @property
    def completed(self) -> int:
        """How many transaction ids this snapshot no longer waits for: strictly monotone in time."""
        return self.xmax - len(self.in_progress)

    def sees(self, xid: int) -> bool:
        """Whether a committed transaction (64-bit id) is in what this snapshot reads."""
        return xid < self.xmax and xid not in self.in_progress

    def widen(self, xid: int) -> int:
        """The 64-bit id of the transaction whose low 32 bits a log record carries.

        Of all ids with these bits it is the one nearest to ``xmax``: Postgres never lets live ids be further apart
        than 2^31.
        """
        if xid >= _XID_EPOCH:
            return xid
        wide = (self.xmax & ~(_XID_EPOCH - 1)) | xid
        if wide > self.xmax + _XID_HALF and wide >= _XID_EPOCH:
            return wide - _XID_EPOCH
        if wide < self.xmax - _XID_HALF:
            return wide + _XID_EPOCH
        return wide
