"""What travels on ``<namespace>.semantic.refresh``: a document whose text in the index is out of date.

    changes of a table ▸ coalesced by document ▸ one of these ▸ the text is read anew, as of its position or later

It says what to do and no more: the text itself is read from Postgres when it is worked on. Its key is the document's,
so that those of one document stay in order.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.errors import MalformedRecordError


class Refresh(msgspec.Struct, frozen=True, omit_defaults=True):
    """One document to refresh, or all of a table.

    Attributes:
        table: its qualified name.
        key: the values of its key columns; None for every document of the table (a TRUNCATE, or changes that were
            lost before anybody read them).
        lsn: position (bytes) of the newest change; 0 where nothing changed and the index is merely to be compared with
            the database (a snapshot's row).
        xid32: low 32 bits of the id of its transaction, 0 where ``lsn`` is.
        tags: what the changes drop: of the document and of its tenants' libraries, old and new.
        committed_at_ms: when the newest of them was committed, in milliseconds since 1970.
        changed_at_ms: likewise the oldest.
        changes: how many they are.
    """

    table: str
    key: tuple[Any, ...] | None = None
    lsn: int = 0
    xid32: int = 0
    tags: tuple[str, ...] = ()
    committed_at_ms: int = 0
    changed_at_ms: int = 0
    changes: int = 1

    @property
    def record_key(self) -> bytes:
        """The key of its record."""
        return encode_json((self.table, self.key))


encode_json: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Refresh).decode
_LIMIT: Final = 1 << 53


def encode_refresh(refresh: Refresh) -> bytes:
    """The value of its record."""
    return encode_json(refresh)


def decode_refresh(value: bytes | None) -> Refresh:
    """What a record says.

    Raises:
        MalformedRecordError: it is no such record.
    """
    if value is None:
        raise MalformedRecordError("null_value", "the record has no value")
    try:
        refresh = _decode(value)
    except RecursionError as error:
        raise MalformedRecordError("too_deep", "the value is nested too deeply") from error
    except ValueError as error:
        raise MalformedRecordError("not_a_refresh", f"the value does not say what to refresh: {error}") from error
    if not (0 <= refresh.lsn < _LIMIT and 0 <= refresh.xid32 < _LIMIT) or bool(refresh.lsn) is not bool(refresh.xid32):
        raise MalformedRecordError("impossible_source", "lsn and xid32 belong together, and can't be what they are")
    return refresh
