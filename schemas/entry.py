"""What lies under a key in Redis: a header that the protocol reads, and a body that only readers do.

    | length of the header (2 bytes) | header (msgpack array) | body (canonical bytes) |

The Lua scripts of ``infra/redis`` read and write the same header: its order and meaning change only with ``LAYOUT``,
and an entry of another layout counts as absent, which costs a miss.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

import msgspec

from schemas.wal import Snapshot

LAYOUT: Final = 1

Kind = Literal["v", "a", "p"]
VALUE: Final = "v"
ABSENT: Final = "a"
PLACEHOLDER: Final = "p"

_LENGTH = struct.Struct(">H")


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """The event that wrote an entry: where it lies in the log, and when its transaction was committed.

    Without a topic it is the origin of what no event wrote.
    """

    topic: str = ""
    partition: int = -1
    offset: int = -1
    committed_at_ms: int = 0


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What the protocol knows of a key. No field is ever null, since Lua's arrays can't hold one.

    Attributes:
        layout: the layout of this header.
        kind: a value, a remembered "no such row", or a placeholder.
        epoch: generation of the epoch it belongs to; in another epoch it is a miss.
        lsn: of the event that wrote the entry, 0 where a reader filled it; a placeholder's floor.
        xid: the (64-bit) transaction of that event, or 0.
        snapshot: what the reader saw that filled the entry, kept when events replace it; on a placeholder, the
            newest snapshot that a reader returned a value from without storing it; of ``xmax`` 0 where there is none.
        completed: that snapshot's order in time, 0 without one.
        token: of the lease on a placeholder, or empty.
        lease_until_ms: when that lease may be taken over, in milliseconds of the server's clock.
        format: fingerprint of the columns of the body.
        origin: the event that wrote it; of no topic where a reader did.
        tags: of a cached query, its tags and the generation that each had.
        written_at_ms: when it was written, in milliseconds since 1970.
    """

    layout: int
    kind: Kind
    epoch: str
    lsn: int = 0
    xid: int = 0
    snapshot: Snapshot = Snapshot(0)
    completed: int = 0
    token: str = ""
    lease_until_ms: int = 0
    format: str = ""
    origin: Origin = Origin()
    tags: tuple[tuple[str, str], ...] = ()
    written_at_ms: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Header).decode


def pack(header: Header, body: bytes = b"") -> bytes:
    """The bytes of an entry."""
    head = _encode(header)
    return _LENGTH.pack(len(head)) + head + body


def unpack(entry: bytes) -> tuple[Header, bytes] | None:
    """Header and body of an entry; None for bytes of another layout or that are no entry at all."""
    try:
        (length,) = _LENGTH.unpack_from(entry)
        header = _decode(memoryview(entry)[2 : 2 + length])
    except (struct.error, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if header.layout != LAYOUT:
        return None
    return header, entry[2 + length :]
