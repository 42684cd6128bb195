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
from schemas.envelope import DELETE, READ, TRUNCATE, ForeignTableError, MissingColumnError, Source, TableEvents
from schemas.errors import MalformedRecordError

_ESCAPED_NUL = b"\\u0000"


class WriteThrough:
    """The sink of row entries."""

    def __init__(self, catalog: Catalog, *, topic_prefix: str, group: str) -> None:
        """Follow the tables whose rows are cached one by one."""
        self.group = group
        self._by_name: Mapping[str, _RowEntries] = {
            table.qualified_name: _RowEntries(table, table.entry_template, catalog)
            for table in catalog.tables
            if table.entry_template is not None
        }
        self._by_topic = {f"{topic_prefix}.{name}": entries for name, entries in self._by_name.items()}

    @property
    def topics(self) -> Sequence[str]:
        """The topics of these tables."""
        return tuple(self._by_topic)

    def read(self, record: Record, reading: Reading) -> Outcome:
        """The effect on the row's entry."""
        return self._by_topic[record.topic].read(record, reading)

    def refuse(self, record: Record, reading: Reading, error: MalformedRecordError | None) -> Unusable:
        """The record with its place in the log, if it says one."""
        return self._by_topic[record.topic].refuse(record, reading, error)

    def drop(self, refused: Unusable, moment: Moment) -> Sequence[Effect]:
        """The entries of the keys that the record names, or every entry of the table where it may mean any row."""
        found = list(self._by_topic[refused.record.topic].drop(refused.record, moment))
        if isinstance(refused.error, ForeignTableError) and refused.error.named in self._by_name:
            found += self._by_name[refused.error.named].drop(refused.record, moment)
        return found


class _RowEntries:
    """The entries of one table."""

    def __init__(self, table: Table, template: Template, catalog: Catalog) -> None:
        self._table = table
        self._name = table.qualified_name
        self._template = template
        self._events = TableEvents(table, catalog.by_qualified_name)
        self._ttl_ms = table.ttl_s * 1000

    def read(self, record: Record, reading: Reading) -> Outcome:
        if record.value is None:
            raise MalformedRecordError("null_value", "the record has no value")
        try:
            event = self._events.row_event(record.value)
        except MissingColumnError:
            self._events.key_values(record.key)
            return self.refuse(record, reading, None)
        source = event.source
        if event.op == TRUNCATE:
            if not source.has_position:
                return self.refuse(record, reading, None)
            lsn, xid = reading.place(source)
            return Change(self._every_entry(lsn), lsn, xid, source.ts_ms)
        values = self._events.key_values(record.key)
        self._events.check_key(values, event.before if event.op == DELETE else event.after)
        if event.op == READ:
            return NOTHING
        if not source.has_position:
            return self.refuse(record, reading, None)
        return self._changed(self._template.fill(values), event.after, record, source, reading)

    def _changed(self, key: str, row: Any, record: Record, source: Source, reading: Reading) -> Change:
        lsn, xid = reading.place(source)
        if row is None:
            build, body = effects.absent, b""
        else:
            build, body = effects.value, encode(row)
            if _ESCAPED_NUL in body and _holds_nul([getattr(row, name) for name in row.__struct_fields__]):
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
        # An event older than an entry may live never creates one: the floor that forbade it may be gone by now. One of
        # a future that no two clocks lie apart says nothing of its age.
        may_create = abs(reading.now_ms - source.ts_ms) < self._ttl_ms
        entry = pack(header, body)
        effect = build(key, self._name, lsn, xid, may_create=may_create, ttl_ms=self._ttl_ms, entry=entry)
        return Change((effect,), lsn, xid, source.ts_ms, deletes=row is None)

    def refuse(self, record: Record, reading: Reading, error: MalformedRecordError | None) -> Unusable:
        seen = self._events.glimpse(record.key, record.value)
        return Unusable(record, error, *reading.place(seen.source), deletes=seen.op == DELETE)

    def drop(self, record: Record, moment: Moment) -> Sequence[Effect]:
        keys = self._events.glimpse(record.key, record.value).keys
        if keys is None:
            return self._every_entry(moment.lsn)
        return [effects.uncacheable(self._template.fill(values), self._name, moment.lsn) for values in keys]

    def _every_entry(self, lsn: int) -> Sequence[Effect]:
        return (effects.table_changed(self._name, lsn), effects.notice(family_tag(self._template.family)))


def _holds_nul(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\x00" in value
