"""How far the groups are from the ends of their topics, in records: right also while no worker is alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freshline.roles import SINKS
from infra.kafka.browser import LogBrowser
from infra.kafka.log import Partition
from infra.redis.coherence import Coherence, watermark_field
from infra.settings import Settings
from schemas.catalog import Catalog


class Distance:
    """The distance of some roles' groups. Takes open clients; closes nothing."""

    def __init__(
        self, browser: LogBrowser, coherence: Coherence, settings: Settings, catalog: Catalog, roles: Sequence[str]
    ) -> None:
        """Look at no server before ``open``."""
        self._browser = browser
        self._coherence = coherence
        self._topics = {settings.group(role): SINKS[role](catalog, settings).topics for role in roles}
        self._partitions: Sequence[Partition] = ()
        self._ids: Mapping[str, str] = {}

    async def open(self) -> None:
        """Learn which partitions there are.

        Raises:
            TopicMissingError: a topic does not exist.
            StoreUnavailableError: Kafka does not answer.
        """
        names = list({topic: None for topics in self._topics.values() for topic in topics})
        self._partitions = await self._browser.partitions(names)
        self._ids = await self._browser.topic_ids(names)

    async def ends(self) -> Mapping[Partition, int]:
        """The ends of all partitions now."""
        return await self._browser.ends(self._partitions)

    async def behind(self, ends: Mapping[Partition, int]) -> dict[str, dict[str, int]]:
        """For each group, how many records before these ends are not applied, by watermark; none where all are."""
        watermarks = (await self._coherence.state()).watermarks
        found: dict[str, dict[str, int]] = {}
        for group, topics in self._topics.items():
            fields = {
                watermark_field(group, f"{partition.topic}@{self._ids[partition.topic]}", partition.partition): end
                for partition, end in ends.items()
                if partition.topic in topics
            }
            lag = {field: end - watermarks.get(field, 0) for field, end in fields.items()}
            found[group] = {field: records for field, records in lag.items() if records > 0}
        return found
