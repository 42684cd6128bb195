"""Change events as they travel: Debezium's envelope, typed for the two things that read it.

Write-through wants the whole new row, invalidation only the values that tags are made of, old and new. Both decode
straight into structs of just those columns: what the catalog does not list is never even made into an object.

    https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from schemas.canonical import row_type
from schemas.catalog import Table
from schemas.errors import MalformedRecordError

CREATE: Final = "c"
UPDATE: Final = "u"
DELETE: Final = "d"
READ: Final = "r"
TRUNCATE: Final = "t"
_ROW_OPERATIONS: Final = frozenset({CREATE, UPDATE, DELETE, READ})
OPERATIONS: Final = _ROW_OPERATIONS | {TRUNCATE}

_Row = TypeVar("_Row")

# What a catalog's key and tag columns look like in JSON: enough to make keys and tags of.
_Scalar = str | int | float | bool | None


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where a change comes from.

    Attributes:
        lsn: its position (bytes) in the log; None from a producer that has none.
        xid32: low 32 bits of the id of its top-level transaction.
        ts_ms: when that was committed, in milliseconds since 1970.
    """

    schema: str = ""
    table: str = ""
    lsn: int | None = None
    xid32: int | None = msgspec.field(name="txId", default=None)
    ts_ms: int = 0

    @property
    def has_position(self) -> bool:
        """Whether it can be said what contains this change."""
        return self.lsn is not None and self.xid32 is not None and self.lsn > 0 and self.xid32 > 0


class RowEnvelope(msgspec.Struct, Generic[_Row], frozen=True):
    """An event with the whole new row."""

    op: str
    source: Source
    after: _Row | None = None


class TagEnvelope(msgspec.Struct, Generic[_Row], frozen=True):
    """An event with the old and new values that tags are made of."""

    op: str
    source: Source
    before: _Row | None = None
    after: _Row | None = None


class TableEvents:
    """Decodes what travels on the topic of one table."""

    def __init__(self, table: Table) -> None:
        """Make the decoders of this table's columns."""
        self.table = table
        row = row_type(table)
        tag_columns = dict.fromkeys((*table.key, *table.tag_columns))
        tags = msgspec.defstruct("Tags", [(name, _Scalar, None) for name in tag_columns], frozen=True)
        # The types are made at run time from the catalog: a type checker can't follow them.
        self._rows = msgspec.json.Decoder(RowEnvelope[row])  # type: ignore[valid-type]
        self._tags = msgspec.json.Decoder(TagEnvelope[tags])  # type: ignore[valid-type]
        self._loose = msgspec.json.Decoder(RowEnvelope[dict[str, Any]])
        types = [row.__annotations__[name] for name in table.key]
        key = msgspec.defstruct("Key", list(zip(table.key, types, strict=True)), frozen=True)
        self._keys = msgspec.json.Decoder(key)

    def row_event(self, value: bytes) -> RowEnvelope[Any]:
        """The event with its whole new row.

        Raises:
            MissingColumnError: the row lacks a cached column: a migration is under way.
            MalformedRecordError: it is no event of this table.
        """
        event = cast("RowEnvelope[Any]", self._decode(self._rows, value))
        self._check(event.op, event.source, has_after=event.after is not None)
        return event

    def tag_event(self, value: bytes) -> TagEnvelope[Any]:
        """The event with old and new values of its tags' columns.

        Raises:
            MalformedRecordError: it is no event of this table.
        """
        event = cast("TagEnvelope[Any]", self._decode(self._tags, value))
        self._check(event.op, event.source, has_after=event.after is not None)
        return event

    def key_values(self, key: bytes | None) -> list[Any]:
        """The values of the message key, in the order of the table's key columns.

        Raises:
            MalformedRecordError: there is none, or it is not a key of this table.
        """
        if key is None:
            raise MalformedRecordError("missing_key", "the record has no key")
        try:
            found = self._keys.decode(key)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            detail = f"the key is not one of {self.table.qualified_name}: {error}"
            raise MalformedRecordError("bad_key", detail) from error
        values = [getattr(found, name) for name in self.table.key]
        if any(isinstance(value, str) and _is_impossible(value) for value in values):
            raise MalformedRecordError("bad_key", "the key holds a NUL character, which no Postgres text can")
        return values

    def _decode(self, decoder: msgspec.json.Decoder[Any], value: bytes) -> Any:
        try:
            return decoder.decode(value)
        except msgspec.ValidationError as error:
            raise self._explained(value, error) from error
        except RecursionError as error:
            raise MalformedRecordError("too_deep", "the value is nested too deeply") from error
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise MalformedRecordError("not_json", f"the value is not JSON: {error}") from error

    def _explained(self, value: bytes, error: msgspec.ValidationError) -> MalformedRecordError:
        try:
            loose = self._loose.decode(value)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return MalformedRecordError("not_an_event", f"the value is not a change event: {error}")
        lacking = [name for name in self.column_names if name not in loose.after] if loose.after is not None else []
        if lacking and loose.op in {CREATE, UPDATE, READ}:
            return MissingColumnError(loose.source, lacking)
        return MalformedRecordError("wrong_types", f"a column has another type than the catalog says: {error}")

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The cached columns."""
        return tuple(column.name for column in self.table.columns)

    def _check(self, op: str, source: Source, *, has_after: bool) -> None:
        if op not in OPERATIONS:
            raise MalformedRecordError("unknown_op", f"operation {op[:20]!r} is none of Debezium's")
        if has_after is not (op in {CREATE, UPDATE, READ}):
            what = "has a new row" if has_after else "has no new row"
            raise MalformedRecordError("op_contradicts_row", f"an event of operation {op!r} {what}")
        named = f"{source.schema}.{source.table}"
        if named != self.table.qualified_name:
            raise ForeignTableError(named)


class MissingColumnError(MalformedRecordError):
    """A row lacks a cached column, as happens while a migration is under way. It can only invalidate."""

    def __init__(self, source: Source, columns: list[str]) -> None:
        super().__init__("missing_column", f"the row lacks {', '.join(columns)}")
        self.source = source


class ForeignTableError(MalformedRecordError):
    """An event names another table than its topic's."""

    def __init__(self, named: str) -> None:
        super().__init__("foreign_table", f"the event is of table {named[:100]!r}")
        self.named = named


def tag_values(table: Table, row: Any) -> Mapping[str, Any]:
    """The values of a decoded row that the table's tags are made of."""
    return {name: getattr(row, name) for name in table.tag_columns}


def _is_impossible(text: str) -> bool:
    return "\x00" in text
