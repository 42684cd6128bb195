"""Change events as they travel: Debezium's envelope, typed for the two things that read it.

Write-through wants the whole new row, invalidation only the values that tags are made of, old and new. Both decode
straight into structs of just those columns: what the catalog does not list is never even made into an object. What is
no event of its topic's table is refused, and ``glimpse`` says which rows it may have changed all the same.

    https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
_WITH_A_NEW_ROW: Final = frozenset({CREATE, UPDATE, READ})

# No index of Postgres holds a longer value, unless it shrinks to a fraction when compressed.
LONGEST_KEY_BYTES: Final = 16 * 1024
# Scripts reckon in doubles, which are exact below this; no position, transaction or time (ms) comes near it.
_LIMIT: Final = 1 << 53

_Row = TypeVar("_Row")
_Keys = TypeVar("_Keys")


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


class RowEnvelope(msgspec.Struct, Generic[_Row, _Keys], frozen=True):
    """An event with the whole new row, and the key of the old one."""

    op: str
    source: Source
    after: _Row | None = None
    before: _Keys | None = None


class TagEnvelope(msgspec.Struct, Generic[_Row], frozen=True):
    """An event with the old and new values that tags are made of."""

    op: str
    source: Source
    before: _Row | None = None
    after: _Row | None = None


class _KeysOnly(msgspec.Struct, Generic[_Keys], frozen=True):
    op: str = ""
    source: Source = Source()
    before: _Keys | None = None
    after: _Keys | None = None


class _SourceOnly(msgspec.Struct, frozen=True):
    op: str = ""
    source: Source = Source()


class Glimpse(msgspec.Struct, frozen=True):
    """What can be made out of a record that is no sound event.

    Attributes:
        op: its operation, empty where it can't be told.
        source: where it says it comes from; without a position where that can't be told.
        keys: the keys of the rows that it may have changed; None where that may be any row.
    """

    op: str
    source: Source
    keys: tuple[tuple[Any, ...], ...] | None


class TableEvents:
    """Decodes what travels on the topic of one table."""

    def __init__(self, table: Table, known: Collection[str] = ()) -> None:
        """Make the decoders of this table's columns; ``known`` are the qualified names of the catalog's tables."""
        self.table = table
        self._known = frozenset(known)
        row = row_type(table)
        types = row.__annotations__
        key = msgspec.defstruct("Key", [(name, types[name]) for name in table.key], frozen=True)
        maybe_key = msgspec.defstruct("MaybeKey", [(name, types[name] | None, None) for name in table.key], frozen=True)
        # A value that is not there says something else than one that is null.
        tags = msgspec.defstruct(
            "Tags",
            [
                (name, types[name] | None | msgspec.UnsetType, msgspec.UNSET)
                for name in dict.fromkeys((*table.key, *table.tag_columns))
            ],
            frozen=True,
        )
        # The types are made at run time from the catalog: a type checker can't follow them.
        self._rows = msgspec.json.Decoder(RowEnvelope[row, maybe_key])  # type: ignore[valid-type]
        self._tags = msgspec.json.Decoder(TagEnvelope[tags])  # type: ignore[valid-type]
        self._loose = msgspec.json.Decoder(RowEnvelope[dict[str, Any], dict[str, Any]])
        self._keys = msgspec.json.Decoder(key)
        self._keys_only = msgspec.json.Decoder(_KeysOnly[maybe_key])  # type: ignore[valid-type]

    def row_event(self, value: bytes) -> RowEnvelope[Any, Any]:
        """The event with its whole new row.

        Raises:
            MissingColumnError: the row lacks a cached column: a migration is under way.
            OutsideCatalogError: it is of a table that the catalog does not have.
            MalformedRecordError: it is no event of this table.
        """
        event = cast("RowEnvelope[Any, Any]", self._decode(self._rows, value))
        self._check(event.op, event.source, has_after=event.after is not None)
        return event

    def tag_event(self, value: bytes) -> TagEnvelope[Any]:
        """The event with old and new values of its tags' columns; one that the event lacks is ``UNSET``.

        Raises:
            OutsideCatalogError: it is of a table that the catalog does not have.
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
        if len(key) > LONGEST_KEY_BYTES:
            raise MalformedRecordError("bad_key", f"the key has {len(key)} bytes, which no key in Postgres has")
        try:
            found = self._keys.decode(key)
        except (ValueError, RecursionError) as error:
            detail = f"the key is not one of {self.table.qualified_name}: {error}"
            raise MalformedRecordError("bad_key", detail) from error
        values = [getattr(found, name) for name in self.table.key]
        for value in values:
            if isinstance(value, str) and "\x00" in value:
                raise MalformedRecordError("bad_key", "the key holds a NUL character, which no Postgres text can")
        return values

    def check_key(self, values: Sequence[Any], row: Any) -> None:
        """See that a row, or as much of it as there is, has the message key's values.

        Raises:
            MalformedRecordError: it has others.
        """
        if row is not None and list(values) != [getattr(row, name) for name in self.table.key]:
            raise MalformedRecordError("key_mismatch", "the key is not the key of the row")

    def glimpse(self, key: bytes | None, value: bytes | None) -> Glimpse:
        """What can be made out of a record that can't be used. Never raises."""
        seen: Any = _SourceOnly()
        for decoder in (self._keys_only, _SOURCES):
            try:
                seen = decoder.decode(value or b"")
                self._check_position(seen.source)
                break
            except (ValueError, RecursionError, MalformedRecordError):
                seen = _SourceOnly()
        try:
            keys: dict[tuple[Any, ...], None] | None = {tuple(self.key_values(key)): None}
        except MalformedRecordError:
            keys = None
        if seen.op == TRUNCATE:
            keys = None
        if keys is not None and not isinstance(seen, _SourceOnly):
            rows = [row for row in (seen.before, seen.after) if row is not None]
            named = [tuple(getattr(row, name) for name in self.table.key) for row in rows]
            keys |= {values: None for values in named if None not in values}
        return Glimpse(seen.op, seen.source, None if keys is None else tuple(keys))

    def _decode(self, decoder: msgspec.json.Decoder[Any], value: bytes) -> Any:
        try:
            return decoder.decode(value)
        except msgspec.ValidationError as error:
            raise self._explained(value, error) from error
        except RecursionError as error:
            raise MalformedRecordError("too_deep", "the value is nested too deeply") from error
        except ValueError as error:
            raise MalformedRecordError("not_json", f"the value is not JSON: {error}") from error

    def _explained(self, value: bytes, error: msgspec.ValidationError) -> MalformedRecordError:
        try:
            loose = self._loose.decode(value)
        except (ValueError, RecursionError):
            return MalformedRecordError("not_an_event", f"the value is not a change event: {error}")
        try:
            self._check(loose.op, loose.source, has_after=loose.after is not None)
        except MalformedRecordError as better:
            return better
        lacking = [name for name in self.column_names if name not in loose.after] if loose.after is not None else []
        if lacking:
            return MissingColumnError(lacking)
        return MalformedRecordError("wrong_types", f"a column has another type than the catalog says: {error}")

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The cached columns."""
        return tuple(column.name for column in self.table.columns)

    def _check(self, op: str, source: Source, *, has_after: bool) -> None:
        if source.table != self.table.name or source.schema != self.table.schema:
            if not source.schema or not source.table:
                raise MalformedRecordError("unnamed_table", "the event does not say which table it is of")
            named = f"{source.schema}.{source.table}"
            raise (ForeignTableError if named in self._known else OutsideCatalogError)(named)
        if op not in OPERATIONS:
            raise MalformedRecordError("unknown_op", "its operation is none of Debezium's")
        if has_after is not (op in _WITH_A_NEW_ROW):
            what = "has a new row" if has_after else "has no new row"
            raise MalformedRecordError("op_contradicts_row", f"an event of operation {op!r} {what}")
        self._check_position(source)

    @staticmethod
    def _check_position(source: Source) -> None:
        if 0 <= (source.lsn or 0) < _LIMIT and 0 <= (source.xid32 or 0) < _LIMIT and 0 <= source.ts_ms < _LIMIT:
            return
        for name, number in (("lsn", source.lsn), ("txId", source.xid32), ("ts_ms", source.ts_ms)):
            if number is not None and not 0 <= number < _LIMIT:
                raise MalformedRecordError("impossible_source", f"source.{name} can't be: it is negative or too large")


_SOURCES: Final = msgspec.json.Decoder(_SourceOnly)


class MissingColumnError(MalformedRecordError):
    """A row lacks a cached column, as happens while a migration is under way. It can only invalidate."""

    def __init__(self, columns: list[str]) -> None:
        super().__init__("missing_column", f"the row lacks {', '.join(columns)}")


class ForeignTableError(MalformedRecordError):
    """An event is of another table of the catalog than its topic."""

    def __init__(self, named: str) -> None:
        super().__init__("foreign_table", f"the event is of table {named[:100]!r}")
        self.named = named


class OutsideCatalogError(MalformedRecordError):
    """An event is of a table that the catalog does not have, so nothing cached is made of it."""

    def __init__(self, named: str) -> None:
        super().__init__("outside_catalog", f"the event is of table {named[:100]!r}")
        self.named = named


def tag_values(table: Table, row: Any) -> Mapping[str, Any]:
    """The values of a decoded row that the table's tags are made of."""
    return {name: getattr(row, name) for name in table.tag_columns}
