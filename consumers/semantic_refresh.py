"""The semantic refresh: documents that were edited are read anew, and their passages written to the index.

The sink says what a record asks for and which tags go once its document's passages have followed. What has to be done
in between is the work of ``consumers/refresher.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumers.sink import Change, Outcome, Reading, Unusable
from infra.kafka.log import Record
from infra.postgres.moments import Moment
from infra.redis import effects
from infra.redis.effects import Effect
from schemas.catalog import Catalog, Table, family_tag
from schemas.envelope import OutsideCatalogError, Source
from schemas.errors import KeyValueError, MalformedRecordError
from schemas.refresh import Refresh, decode_refresh


class RefreshChange(Change, frozen=True, kw_only=True):
    """A document to refresh, or a whole table."""

    refresh: Refresh


class SemanticRefresh:
    """The sink of documents that are to be indexed."""

    def __init__(self, catalog: Catalog, *, refresh_topic: str, group: str) -> None:
        """Follow the topic of coalesced edits."""
        self.group = group
        self.topics: Sequence[str] = (refresh_topic,)
        self._tables = {table.qualified_name: table for table in catalog.indexed}

    def read(self, record: Record, reading: Reading) -> Outcome:
        """The document to refresh, and what is dropped afterwards."""
        refresh = decode_refresh(record.value)
        table = self._tables.get(refresh.table)
        if table is None:
            raise OutsideCatalogError(refresh.table)
        lsn, xid = reading.place(Source(lsn=refresh.lsn, xid32=refresh.xid32))
        followed = effects.document_followed(_document(table, refresh), lsn, refresh.tags)
        return RefreshChange((followed,), lsn, xid, refresh.committed_at_ms, refresh=refresh)

    def refuse(self, record: Record, reading: Reading, error: MalformedRecordError | None) -> Unusable:  # noqa: ARG002
        """A record without a place."""
        return Unusable(record, error)

    def drop(self, refused: Unusable, moment: Moment) -> Sequence[Effect]:  # noqa: ARG002 - the sink's form
        """Nothing: what changed was told by the document's own event, which invalidation reads, too."""
        return ()


def _document(table: Table, refresh: Refresh) -> str:
    assert table.index is not None  # noqa: S101 - only such tables are followed
    template = table.index.tag_template
    if refresh.key is None:
        return family_tag(template.family)
    try:
        table.key_texts(refresh.key)
    except KeyValueError as error:
        raise MalformedRecordError("bad_key", str(error)) from error
    return template.fill(refresh.key)
