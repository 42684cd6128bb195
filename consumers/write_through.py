"""Write-through: a change of a row becomes its entry.

create, update ▸ the row's value        delete ▸ a tombstone        truncate ▸ the floor of the table
too large, TOASTed, lacking a column ▸ the entry goes, and readers fill it again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consumers.sink import NOTHING, Change, Outcome, Reading, Unusable
from infra.kafka.log import Record
from infra.postgres.moments import Moment
from infra.redis import effects
from infra.redis.effects import Effect
from schemas.canonical import encode, has_unavailable
from schemas.catalog import Catalog, Table, Template, family_tag
from schemas.entry import ABSENT, LAYOUT, VALUE, Header, Origin, pack
from schemas.envelope import READ, TRUNCATE, MissingColumnError, Source, TableEvents
from schemas.errors import MalformedRecordError

_ESCAPED_NUL = b"\\u0000"


class WriteThrough:
    """The sink of row entries."""

    def __init__(self, catalog: Catalog, *, topic_prefix: str, group: str) -> None:
        """Follow the tables whose rows are cached one by one."""
        self.group = group
        self._tables: Mapping[str, _RowEntries] = {
            f"{topic_prefix}.{table.qualified_name}": _RowEntries(table, table.entry_template)
            for table in catalog.tables
            if table.entry_template is not None
        }

    @property
    def topics(self) -> Sequence[str]:
        """The topics of these tables."""
        return tuple(self._tables)

    def read(self, record: Record, reading: Reading) -> Outcome:
        """The effect on the row's entry."""
        return self._tables[record.topic].read(record, reading)

    def drop(self, record: Record, moment: Moment) -> Sequence[Effect]:
        """The entry of the record's key, or every entry of the table where it has no key that can be read."""
        return self._tables[record.topic].drop(record, moment)


class _RowEntries:
    """The entries of one table."""

    def __init__(self, table: Table, template: Template) -> None:
        self._table = table
        self._name = table.qualified_name
        self._template = template
        self._events = TableEvents(table)
        self._ttl_ms = table.ttl_s * 1000
        self._key_columns = table.key

    def read(self, record: Record, reading: Reading) -> Outcome:
        if record.value is None:
            raise MalformedRecordError("null_value", "the record has no value")
        try:
            event = self._events.row_event(record.value)
        except MissingColumnError:
            return Unusable(record)
        if event.op == TRUNCATE:
            return self._truncated(event.source, reading)
        values = self._events.key_values(record.key)
        if event.op == READ:
            return NOTHING
        row = event.after
        if row is not None and values != [getattr(row, name) for name in self._table.key]:
            raise MalformedRecordError("key_mismatch", "the key is not the key of the row")
        if not event.source.has_position:
            return Unusable(record)
        return self._changed(self._template.fill(values), row, record, event.source, reading)

    def _changed(self, key: str, row: Any, record: Record, source: Source, reading: Reading) -> Change:
        lsn, xid = source.lsn or 0, reading.moment.snapshot.widen(source.xid32 or 0)
        if row is None:
            build, body = effects.absent, b""
        else:
            build, body = effects.value, encode(row)
            if _ESCAPED_NUL in body and _holds_nul(row):
                raise MalformedRecordError(
                    "impossible_text", "a text holds a NUL character, which no Postgres text can"
                )
            if len(body) > self._table.limit_bytes or has_unavailable(row, self._table):
                return Change((effects.uncacheable(key, self._name, lsn, xid),), lsn, xid, source.ts_ms)
        header = Header(
            LAYOUT,
            ABSENT if row is None else VALUE,
            reading.epoch,
            lsn=lsn,
            xid=xid,
            format=self._table.format,
            origin=Origin(record.topic, record.partition, record.offset, source.ts_ms),
            written_at_ms=reading.now_ms,
        )
        # An event older than an entry may live never creates one: the floor that forbade it may be gone by now.
        may_create = reading.now_ms - source.ts_ms < self._ttl_ms
        entry = pack(header, body)
        effect = build(key, self._name, lsn, xid, may_create=may_create, ttl_ms=self._ttl_ms, entry=entry)
        return Change((effect,), lsn, xid, source.ts_ms)

    def drop(self, record: Record, moment: Moment) -> Sequence[Effect]:
        try:
            values = self._events.key_values(record.key)
        except MalformedRecordError:
            return self._table_effects(moment.lsn)
        return (effects.uncacheable(self._template.fill(values), self._name, moment.lsn),)

    def _truncated(self, source: Source, reading: Reading) -> Change:
        lsn = source.lsn or reading.moment.lsn
        xid = reading.moment.snapshot.widen(source.xid32 or 0) if source.has_position else 0
        return Change(self._table_effects(lsn), lsn, xid, source.ts_ms)

    def _table_effects(self, lsn: int) -> Sequence[Effect]:
        return (effects.table_changed(self._name, lsn), effects.notice(family_tag(self._template.family)))


def _holds_nul(row: object) -> bool:
    return any("\x00" in value for name in row.__struct_fields__ if isinstance(value := getattr(row, name), str))  # type: ignore[attr-defined]
