"""The topics behind Faust's tables: made by us, as our other topics are, before Faust starts.

One for each source topic and with as many partitions, since a partition's pending changes lie in the partition of the
same number and move with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from infra.kafka.browser import TopicMissingError
from infra.kafka.topics import Topic, Topics, TopicsRefusedError, changes, open_topics
from infra.settings import TopicSettings
from schemas.errors import FreshlineError

# Whoever takes a partition over reads what was not compacted yet, so it is compacted early and often.
_SEGMENT_BYTES: Final = 16 * 1024 * 1024
_DIRTY_RATIO: Final = 0.1
# For so long a removed key is remembered: longer than anybody reads the changelog.
_REMEMBERED_MS: Final = 600_000


class TooManyPartitionsError(FreshlineError):
    """The changelog of a table has more partitions than the topic that it belongs to."""


def changelog_topic(name: str, partitions: int, sizes: TopicSettings) -> Topic:
    """The topic as it should be."""
    return Topic(
        name,
        partitions,
        sizes.replication_factor,
        {
            "cleanup.policy": "compact",
            "segment.bytes": str(_SEGMENT_BYTES),
            "min.cleanable.dirty.ratio": str(_DIRTY_RATIO),
            "delete.retention.ms": str(_REMEMBERED_MS),
            "min.insync.replicas": str(sizes.min_insync_replicas),
        },
    )


async def make_changelogs(arguments: Mapping[str, Any], names: Mapping[str, str], sizes: TopicSettings) -> None:
    """Make the changelogs as they should be; ``names`` has that of each source topic.

    Raises:
        TopicMissingError: there is no such source topic.
        TooManyPartitionsError: a source topic was made anew with fewer partitions.
        TopicsRefusedError: Kafka refused a change.
        StoreUnavailableError: Kafka does not answer.
    """
    async with open_topics(arguments) as topics:
        found = await topics.find(names)
        missing = [source for source in names if source not in found]
        if missing:
            raise TopicMissingError(f"Kafka has no topic {', '.join(missing)}. Run `freshline topics apply` first.")
        wanted = [changelog_topic(name, found[source].partitions, sizes) for source, name in names.items()]
        present = await topics.find(topic.name for topic in wanted)
        for topic in wanted:
            if topic.name in present and present[topic.name].partitions > topic.partitions:
                raise TooManyPartitionsError(
                    f"Changelog {topic.name} has {present[topic.name].partitions} partitions, its source "
                    f"{topic.partitions}. Stop all coalescing workers, delete the changelog, and start them again."
                )
        try:
            await _carry_out(topics, wanted)
        except TopicsRefusedError:
            # Another member that started in the same moment may have made it.
            await _carry_out(topics, wanted)


async def _carry_out(topics: Topics, wanted: Iterable[Topic]) -> None:
    needed = list(wanted)
    present = await topics.find(topic.name for topic in needed)
    due = [change for change in changes(needed, present, add_partitions=True) if change.due]
    await topics.carry_out(due, lambda _: None)
    await topics.wait_until_seen(needed, due)
