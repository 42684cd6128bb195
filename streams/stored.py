"""The form of what lies in the table, and so in its changelog.

A key names the partition, who wrote it and the document. Everyone writes under a name of their own: a member that does
not know yet that it lost a partition can neither overwrite nor remove what its successor keeps there. The successor
takes over what it finds, whoever wrote it, and removes it once its own record is acknowledged.
"""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.refresh import Refresh, decode_refresh, encode_refresh

# Under this name lies the id of the topic that the partition's offsets are of.
TOPIC_ID: Final = "topic-id"


class StoredKey(msgspec.Struct, frozen=True, array_like=True):
    """A key of the table: ``writer`` is empty for the topic's id."""

    partition: int
    writer: str
    name: str


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(StoredKey).decode


def document_key(partition: int, writer: str, record_key: bytes) -> bytes:
    """Where one's own share of what is pending of a document lies."""
    return _encode(StoredKey(partition, writer, record_key.decode()))


def topic_id_key(partition: int) -> bytes:
    """Where the id of the topic lies."""
    return _encode(StoredKey(partition, "", TOPIC_ID))


def parse_key(key: bytes) -> StoredKey:
    """A key of the table, taken apart."""
    return _decode(key)


def encode_pending(pending: Refresh) -> bytes:
    """The value under a document's key."""
    return encode_refresh(pending)


def decode_pending(value: bytes) -> Refresh:
    """What lies under a document's key."""
    return decode_refresh(value)
