"""The indexed tables as Faust has them: a topic, a reader of its events, and a table of what is pending."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from typing import TypeAlias, cast

from aiokafka import TopicPartition
from faust.tables.table import Table as FaustTable

from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.refresh import Refresh, encode_refresh
from streams.faust_app import StreamApp, StreamConsumer
from streams.reading import TableReader
from streams.stored import parse_key, topic_id_key

_Table: TypeAlias = "FaustTable[bytes, bytes]"


class Source:
    """One indexed table.

    Attributes:
        name: the table's qualified name.
        topic: the topic of its events.
        changelog: the topic behind what Faust keeps for it.
    """

    def __init__(self, name: str, topic: str, reader: TableReader, table: _Table) -> None:
        self.name = name
        self.topic = topic
        self.reader = reader
        self.changelog: str = table.changelog_topic_name
        # Faust's own way to write a table is bound to the event at hand, and nobody learns whether it arrived.
        self.held = table.data

    def topic_id(self, partition: int) -> str | None:
        """The id of the topic as it is remembered for this partition."""
        found = self.held.get(topic_id_key(partition))
        return found.decode() if found is not None else None

    def keep(self, assigned: set[TopicPartition]) -> None:
        """Drop what belongs to partitions of others. Faust drops of it only what it restored."""
        for key in list(self.held):
            if TopicPartition(self.changelog, parse_key(key).partition) not in assigned:
                self.held.pop(key, None)


class Sources(Mapping[str, Source]):
    """All of them, by topic; and where what comes of their events goes, by way of Faust's producer and consumer."""

    def __init__(self, app: StreamApp, settings: Settings, catalog: Catalog) -> None:
        self._app = app
        self._refresh_topic = settings.refresh_topic
        self._sources: dict[str, Source] = {}
        for table in catalog.indexed:
            topic = settings.table_topic(table.qualified_name)
            held = cast("_Table", app.Table(table.qualified_name, key_type=bytes, value_type=bytes))
            self._sources[topic] = Source(table.qualified_name, topic, TableReader(table, catalog), held)

    def __getitem__(self, topic: str) -> Source:
        return self._sources[topic]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def consumer(self) -> StreamConsumer:
        """Faust's consumer."""
        return cast("StreamConsumer", self._app.consumer)

    async def store(self, topic: str, partition: int, key: bytes, value: bytes | None) -> Awaitable[object]:
        """Write to the table of this topic; what is returned is awaited for the acknowledgement."""
        source = self._sources[topic]
        if value is None:
            source.held.pop(key, None)
        else:
            source.held[key] = value
        return await self._app.producer.send(source.changelog, key, value, partition, None, None)

    async def emit(self, refresh: Refresh) -> Awaitable[object]:
        """Send a record; what is returned is awaited for the acknowledgement."""
        return await self._app.producer.send(
            self._refresh_topic, refresh.record_key, encode_refresh(refresh), None, None, None
        )

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit; False where the partitions are no longer ours."""
        return await self.consumer.commit_offsets(offsets)
