"""Invalidation: a change of a row drops the tags that its old and its new values name.

Dropping depends on the watermark alone, never on whether the row's own entry contained the change. Producers may also
ask for it themselves, on the topic ``freshline.invalidate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumers.sink import NOTHING, Change, Outcome, Reading, Unusable
from infra.kafka.log import Record
from infra.postgres.moments import Moment
from infra.redis import effects
from infra.redis.effects import Effect
from schemas import invalidation
from schemas.catalog import Catalog, Table, family_tag
from schemas.envelope import DELETE, READ, TRUNCATE, TableEvents, tag_values
from schemas.errors import MalformedRecordError, PatternError


class InvalidationSink:
    """The sink of tags."""

    def __init__(self, catalog: Catalog, *, topic_prefix: str, requests_topic: str, group: str) -> None:
        """Follow every table that has tags, and the topic of requests."""
        self.group = group
        self._requests_topic = requests_topic
        self._catalog = catalog
        self._tables: Mapping[str, _Tags] = {
            f"{topic_prefix}.{table.qualified_name}": _Tags(table) for table in catalog.tables if table.tags
        }

    @property
    def topics(self) -> Sequence[str]:
        """The topics of these tables, and the one of requests."""
        return (*self._tables, self._requests_topic)

    def read(self, record: Record, reading: Reading) -> Outcome:
        """The tags to drop."""
        if record.topic == self._requests_topic:
            return Change(self._requested(record, reading.moment))
        return self._tables[record.topic].read(record, reading)

    def drop(self, record: Record, moment: Moment) -> Sequence[Effect]:  # noqa: ARG002 - a tag has no floor
        """Every tag that the record may have changed; nothing for a request that nobody can understand."""
        table = self._tables.get(record.topic)
        return table.drop(record) if table is not None else ()

    def _requested(self, record: Record, moment: Moment) -> Sequence[Effect]:
        request = invalidation.decode_invalidation(record.value)
        try:
            return requested_effects(self._catalog, request, moment.lsn)
        except PatternError as error:
            raise MalformedRecordError("undeclared_pattern", str(error)) from error


def requested_effects(catalog: Catalog, request: invalidation.Invalidation, lsn: int) -> Sequence[Effect]:
    """What a request drops. ``lsn`` is a position that no change meant by it lies beyond.

    Raises:
        PatternError: the catalog declares no such key or tag.
    """
    if request.key is not None:
        return (effects.uncacheable(request.key, catalog.table_of_key(request.key).qualified_name, lsn),)
    tag = catalog.parse_pattern(request.pattern or "")
    found = [effects.drop_tag(tag)]
    table = catalog.by_entry_family.get(tag.partition(":")[0])
    if tag.endswith(":*") and table is not None:
        found.append(effects.table_changed(table.qualified_name, lsn))
    return found


class _Tags:
    """The tags of one table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._events = TableEvents(table)
        self._everything = tuple(
            effects.drop_tag(family_tag(family))
            for family in dict.fromkeys(template.family for template in table.tag_templates)
        )
        self._never_null = frozenset(column.name for column in table.columns if not column.nullable)

    def read(self, record: Record, reading: Reading) -> Outcome:
        if record.value is None:
            raise MalformedRecordError("null_value", "the record has no value")
        event = self._events.tag_event(record.value)
        source = event.source
        if event.op == READ:
            return NOTHING
        xid = reading.moment.snapshot.widen(source.xid32 or 0) if source.has_position else 0
        if event.op == TRUNCATE:
            return Change(self._everything, source.lsn or 0, xid, source.ts_ms)
        values = self._events.key_values(record.key)
        row = event.after if event.after is not None else event.before
        if row is not None and values != [getattr(row, name) for name in self._table.key]:
            raise MalformedRecordError("key_mismatch", "the key is not the key of the row")
        if not source.has_position:
            return Unusable(record)
        found: dict[Effect, None] = {}
        for version in (event.before, event.after):
            if version is not None:
                found.update(dict.fromkeys(self._of(tag_values(self._table, version))))
        if event.op == DELETE and event.before is None:
            found.update(dict.fromkeys(self._of(self._key_only(values))))
        return Change(tuple(found), source.lsn or 0, xid, source.ts_ms)

    def drop(self, record: Record) -> Sequence[Effect]:
        try:
            values = self._events.key_values(record.key)
        except MalformedRecordError:
            return self._everything
        return tuple(dict.fromkeys(self._of(self._key_only(values))))

    def _key_only(self, values: Sequence[object]) -> Mapping[str, object]:
        known = dict(zip(self._table.key, values, strict=True))
        return {name: known.get(name) for name in self._table.tag_columns}

    def _of(self, values: Mapping[str, object]) -> list[Effect]:
        """Drop the tags of these values; a null where none can be says nothing, so that whole family goes."""
        found = []
        for template in self._table.tag_templates:
            parts = [values[name] for name in template.columns]
            if None not in parts:
                found.append(effects.drop_tag(template.fill(parts)))
            elif any(values[name] is None and name in self._never_null for name in template.columns):
                found.append(effects.drop_tag(family_tag(template.family)))
        return found
