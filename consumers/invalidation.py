"""Invalidation: a change of a row drops the tags that its old and its new values name.

Dropping depends on the watermark alone, never on whether the row's own entry contained the change. Producers may also
ask for it themselves, on the topic ``freshline.invalidate`` (``consumers/requests.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from consumers.requests import Requests
from consumers.sink import NOTHING, Change, Outcome, Reading, Unusable
from infra.kafka.log import Record
from infra.postgres.moments import Moment
from infra.redis import effects
from infra.redis.effects import Effect
from schemas.catalog import Catalog, Table, Template, family_tag
from schemas.debezium import UNAVAILABLE
from schemas.envelope import (
    DELETE,
    LONGEST_KEY_BYTES,
    READ,
    TRUNCATE,
    ForeignTableError,
    TableEvents,
    tag_values,
)
from schemas.errors import MalformedRecordError


class InvalidationSink:
    """The sink of tags."""

    def __init__(self, catalog: Catalog, *, topic_prefix: str, requests_topic: str, group: str) -> None:
        """Follow every table that has tags, and the topic of requests."""
        self.group = group
        self._requests_topic = requests_topic
        self._requests = Requests(catalog)
        self._by_name: Mapping[str, _Tags] = {
            table.qualified_name: _Tags(table, catalog) for table in catalog.tables if table.tags
        }
        self._by_topic = {f"{topic_prefix}.{name}": tags for name, tags in self._by_name.items()}

    @property
    def topics(self) -> Sequence[str]:
        """The topics of these tables, and the one of requests."""
        return (*self._by_topic, self._requests_topic)

    def read(self, record: Record, reading: Reading) -> Outcome:
        """The tags to drop."""
        if record.topic == self._requests_topic:
            return self._requests.read(record)
        return self._by_topic[record.topic].read(record, reading)

    def refuse(self, record: Record, reading: Reading, error: MalformedRecordError | None) -> Unusable:
        """The record with its place in the log, if it says one."""
        if record.topic == self._requests_topic:
            return self._requests.refuse(record, error)
        return self._by_topic[record.topic].refuse(record, reading, error)

    def drop(self, refused: Unusable, moment: Moment) -> Sequence[Effect]:
        """Every tag that the record may have changed, or what a request asks for as far as that can be told."""
        if refused.record.topic == self._requests_topic:
            return self._requests.drop(refused, moment)
        found = dict.fromkeys(self._by_topic[refused.record.topic].drop(refused.record))
        if isinstance(refused.error, ForeignTableError) and refused.error.named in self._by_name:
            found.update(dict.fromkeys(self._by_name[refused.error.named].drop(refused.record)))
        return tuple(found)


class _Tags:
    """The tags of one table."""

    def __init__(self, table: Table, catalog: Catalog) -> None:
        self._table = table
        self._events = TableEvents(table, catalog.by_qualified_name)
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
        lsn, xid = reading.place(source)
        if event.op == TRUNCATE:
            return Change(self._everything, lsn, xid, source.ts_ms)
        values = self._events.key_values(record.key)
        self._events.check_key(values, event.after if event.after is not None else event.before)
        if not source.has_position:
            return self.refuse(record, reading, None)
        found: dict[Effect, None] = {}
        for version in (event.before, event.after):
            if version is not None:
                found.update(dict.fromkeys(self._of(tag_values(self._table, version))))
        if event.op == DELETE and event.before is None:
            found.update(dict.fromkeys(self._of(self._key_only(values))))
        return Change(tuple(found), lsn, xid, source.ts_ms, deletes=event.op == DELETE)

    def refuse(self, record: Record, reading: Reading, error: MalformedRecordError | None) -> Unusable:
        seen = self._events.glimpse(record.key, record.value)
        return Unusable(record, error, *reading.place(seen.source), deletes=seen.op == DELETE)

    def drop(self, record: Record) -> Sequence[Effect]:
        keys = self._events.glimpse(record.key, record.value).keys
        if keys is None:
            return self._everything
        return [effect for values in keys for effect in self._of(self._key_only(values))]

    def _key_only(self, values: Sequence[object]) -> Mapping[str, object]:
        known = dict(zip(self._table.key, values, strict=True))
        return {name: known.get(name, msgspec.UNSET) for name in self._table.tag_columns}

    def _of(self, values: Mapping[str, object]) -> list[Effect]:
        """Drop the tags of these values. Where one can't be told, its whole family goes."""
        return [
            effects.drop_tag(tag)
            for template in self._table.tag_templates
            if (tag := self._tag(template, values)) is not None
        ]

    def _tag(self, template: Template, values: Mapping[str, object]) -> str | None:
        parts = [values[name] for name in template.columns]
        for name, part in zip(template.columns, parts, strict=True):
            # A null where none can be says nothing: the column is not part of the replica identity.
            if part is msgspec.UNSET or (part is None and name in self._never_null):
                return family_tag(template.family)
            if isinstance(part, str) and (part == UNAVAILABLE or len(part) > LONGEST_KEY_BYTES):
                return family_tag(template.family)
        return None if None in parts else template.fill(parts)
