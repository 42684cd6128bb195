"""The topics' side: every topic that the catalog and the workers need, made or mended."""

from __future__ import annotations

from collections.abc import Callable

from infra.connect.configuration import HEARTBEAT_TABLE, heartbeat_topic
from infra.kafka.topics import Topic, TopicChange, changes, log_topic, newest_topic, open_topics
from infra.settings import Settings
from schemas.catalog import Catalog


def wanted_topics(settings: Settings, catalog: Catalog) -> list[Topic]:
    """The tables' topics, those for invalidations, refreshes and dead letters, and both of heartbeats."""
    sizes = settings.topics

    def log(name: str, *, partitions: int = sizes.partitions, hours: int = sizes.retention_hours) -> Topic:
        return log_topic(
            name,
            partitions=partitions,
            replication_factor=sizes.replication_factor,
            retention_hours=hours,
            in_sync=sizes.min_insync_replicas,
            record_bytes=sizes.largest_record_bytes,
        )

    return [
        *(log(settings.table_topic(table.qualified_name)) for table in catalog.tables),
        log(settings.invalidate_topic),
        *([log(settings.refresh_topic)] if catalog.indexed else ()),
        log(settings.dead_letter_topic, hours=sizes.dead_letter_retention_hours),
        # Nobody needs an old heartbeat.
        log(heartbeat_topic(settings.topic_prefix), partitions=1, hours=1),
        # Nor any but the newest of these, whose age is told for however long the connector is away.
        newest_topic(
            settings.table_topic(HEARTBEAT_TABLE),
            replication_factor=sizes.replication_factor,
            in_sync=sizes.min_insync_replicas,
        ),
    ]


async def apply_topics(
    settings: Settings,
    catalog: Catalog,
    *,
    dry_run: bool = False,
    add_partitions: bool = False,
    done: Callable[[TopicChange], None] = lambda _: None,
) -> list[TopicChange]:
    """Make the topics as they should be; return what was done (or would be), and what only the operator can do.

    Args:
        settings: where Kafka is, and what the topics are to be.
        catalog: the tables that are followed.
        dry_run: only say what would be done.
        add_partitions: the operator accepts that keys move to other partitions.
        done: called for each change when it is in effect.

    Raises:
        TopicsRefusedError: Kafka refused a change.
        StoreUnavailableError: Kafka does not answer.
    """
    settings.require(["kafka"])
    wanted = wanted_topics(settings, catalog)
    async with open_topics(settings.kafka.client_arguments()) as topics:
        found = await topics.find([topic.name for topic in wanted])
        needed = changes(wanted, found, add_partitions=add_partitions)
        if not dry_run:
            due = [change for change in needed if change.due]
            await topics.carry_out(due, done)
            await topics.wait_until_seen(wanted, due)
        return needed
