"""What a batch of events does to the copies, in the form that ``apply.lua`` reads."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

Effect = tuple[Any, ...]

# Redis's cmsgpack knows no binary type, so the bytes of an entry travel as a msgpack string of 32-bit length.
_STRING: Final = struct.Struct(">BI")


def _raw(entry: bytes) -> msgspec.Raw:
    return msgspec.Raw(_STRING.pack(0xDB, len(entry)) + entry)


def value(key: str, table: str, lsn: int, xid: int, *, may_create: bool, ttl_ms: int, entry: bytes) -> Effect:
    """The row is now this value."""
    return ("v", key, table, lsn, xid, may_create, ttl_ms, _raw(entry))


def absent(key: str, table: str, lsn: int, xid: int, *, may_create: bool, ttl_ms: int, entry: bytes) -> Effect:
    """The row no longer exists; the entry is its tombstone."""
    return ("a", key, table, lsn, xid, may_create, ttl_ms, _raw(entry))


def uncacheable(key: str, table: str, lsn: int, xid: int = 0) -> Effect:
    """The row changed, and its value can't be cached. An ``xid`` of 0 says that nobody knows which change it was."""
    return ("x", key, table, lsn, xid)


def table_changed(table: str, lsn: int) -> Effect:
    """Every row of the table may have changed."""
    return ("t", table, lsn)


def drop_tag(tag: str) -> Effect:
    """Whatever carries the tag is stale."""
    return ("g", tag)


def document_changed(document: str, lsn: int, tags: Sequence[str]) -> Effect:
    """A document (by its own tag) changed: these tags go, and nothing may be made from it until its passages follow."""
    return ("p", document, lsn, tags)


def document_followed(document: str, lsn: int, tags: Sequence[str]) -> Effect:
    """A document's passages contain what changed up to this position: the tags go once more, and it may be used."""
    return ("f", document, lsn, tags)


def notice(name: str) -> Effect:
    """Nothing in Redis changes, but the processes' own memories must drop what goes by this name."""
    return ("n", name)


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """The effects of consecutive records of one partition.

    Attributes:
        watermark: field of the state hash.
        expected: offset that the stored watermark must have.
        next_offset: offset after the last record.
        epoch: generation that the effects were made under.
        completed: order of a snapshot that sees every transaction of the batch.
        floor_ttl_ms: how long a floor lives.
        written_at_ms: the worker's clock.
    """

    namespace: str
    watermark: str
    expected: int
    next_offset: int
    epoch: str
    completed: int
    floor_ttl_ms: int
    written_at_ms: int
    effects: list[Effect]


class Applied(msgspec.Struct, frozen=True):
    """A batch was applied: entries written, and entries that contained their change already."""

    written: int
    contained: int


class Refused(msgspec.Struct, frozen=True):
    """A batch changed nothing, since it does not build on what is stored.

    Attributes:
        watermark: the stored one, None where there is none.
        epoch: the stored one, empty where there is none.
    """

    watermark: int | None
    epoch: str
