"""A record of a table's topic, read as a change of a document: what its refresh has to cover.

What can't be used is refused with a reason and passed over: the invalidation worker keeps it as a dead letter.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.catalog import Catalog, Table
from schemas.envelope import DELETE, READ, TRUNCATE, TableEvents
from schemas.errors import CatalogError, MalformedRecordError
from schemas.event_tags import EventTags
from schemas.refresh import Refresh
from streams.pending import DELETED, TRUNCATED


class TableReader:
    """Reads the events of one table."""

    def __init__(self, table: Table, catalog: Catalog) -> None:
        if table.index is None:
            raise CatalogError(f"Table {table.qualified_name} is not indexed.")
        self._name = table.qualified_name
        self._events = TableEvents(table, catalog.by_qualified_name)
        self._tags = EventTags(table, [table.index.tag_template, table.index.library_template])

    def read(self, key: bytes | None, value: bytes | None) -> tuple[Refresh, str | None]:
        """What the record changes, and why its refresh is not to wait: None where it may.

        Raises:
            MalformedRecordError: it can't be used.
        """
        if value is None:
            raise MalformedRecordError("null_value", "the record has no value")
        event = self._events.tag_event(value)
        source = event.source
        values: Sequence[object] = ()
        if event.op != TRUNCATE:
            values = self._events.key_values(key)
            self._events.check_key(values, event.after if event.after is not None else event.before)
        if event.op == READ:
            lsn, xid32 = 0, 0
        elif source.lsn and source.xid32:
            lsn, xid32 = source.lsn, source.xid32
        else:
            raise MalformedRecordError("no_position", "the event has no position in the log")
        change = Refresh(
            table=self._name,
            key=None if event.op == TRUNCATE else tuple(values),
            lsn=lsn,
            xid32=xid32,
            tags=self._tags.of_event(event, values),
            committed_at_ms=source.ts_ms,
            changed_at_ms=source.ts_ms,
        )
        return change, {DELETE: DELETED, TRUNCATE: TRUNCATED}.get(event.op)
