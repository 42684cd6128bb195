"""Invalidation: a change of a row drops the tags that its old and its new values name.

Dropping depends on the watermark alone, never on whether the row's own entry contained the change. Producers may also
ask for it themselves, on the topic ``freshline.invalidate`` (``consumers/requests.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from consumers.requests import Requests
from consumers.sink import NOTHING, Change, Outcome, Reading, Unusable
from infra.kafka.log import Record
from infra.postgres.moments import Moment
from infra.redis import effects
from infra.redis.effects import Effect
from schemas.catalog import Catalog, Table, family_tag
from schemas.envelope import DELETE, READ, TRUNCATE, ForeignTableError, TableEvents
from schemas.errors import MalformedRecordError
from schemas.event_tags import EventTags


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
        self._events = TableEvents(table, catalog.by_qualified_name)
        self._tags = EventTags(table)
        self._index = table.index

    def read(self, record: Record, reading: Reading) -> Outcome:
        if record.value is None:
            raise MalformedRecordError("null_value", "the record has no value")
        event = self._events.tag_event(record.value)
        source = event.source
        if event.op == READ:
            return NOTHING
        lsn, xid = reading.place(source)
        values: Sequence[object] = ()
        if event.op != TRUNCATE:
            values = self._events.key_values(record.key)
            self._events.check_key(values, event.after if event.after is not None else event.before)
            if not source.has_position:
                return self.refuse(record, reading, None)
        tags = self._tags.of_event(event, values)
        return Change(self._effects(tags, values, lsn), lsn, xid, source.ts_ms, deletes=event.op == DELETE)

    def _effects(self, tags: Sequence[str], key: Sequence[object], lsn: int) -> Sequence[Effect]:
        """Drop the tags. Those that stand for an indexed document stay in doubt until its passages follow."""
        if self._index is None:
            return _drops(tags)
        families = {self._index.tag_template.family, self._index.library_template.family}
        following = [tag for tag in tags if tag.partition(":")[0] in families]
        document = self._index.tag_template.fill(key) if key else family_tag(self._index.tag_template.family)
        changed = effects.document_changed(document, lsn, following)
        return (changed, *_drops(tag for tag in tags if tag not in following))

    def refuse(self, record: Record, reading: Reading, error: MalformedRecordError | None) -> Unusable:
        seen = self._events.glimpse(record.key, record.value)
        return Unusable(record, error, *reading.place(seen.source), deletes=seen.op == DELETE)

    def drop(self, record: Record) -> Sequence[Effect]:
        keys = self._events.glimpse(record.key, record.value).keys
        if keys is None:
            return _drops(self._tags.everything)
        return [effect for values in keys for effect in _drops(self._tags.of_key(values))]


def _drops(tags: Iterable[str]) -> tuple[Effect, ...]:
    return tuple(map(effects.drop_tag, tags))
