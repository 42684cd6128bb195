"""One group from round to round: what it was seen with, how fast it moves, and since when it does not."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from freshline.lag.partition import Lag
from freshline.lag.rates import Arrivals
from freshline.lag.report import GroupLag, PartitionLag
from freshline.lag.status import Standing, status_of, stood
from infra.kafka.log import Partition


class GroupHistory:
    """What is remembered of one group. What it says of the brokers' silence is that nothing is known, never 0."""

    def __init__(self, group: str, *, lagging_s: float, stalled_s: float) -> None:
        """Remember nothing yet.

        Args:
            group: its name.
            lagging_s: a record older than this is late.
            stalled_s: who has not moved for so long, while more came, is stalled.
        """
        self._group = group
        self._lagging_s = lagging_s
        self._stalled_s = stalled_s
        self._places = Arrivals[Partition]()
        self._standing: dict[Partition, Standing] = {}
        # All partitions that it was seen with: they are unknown, not gone, while nobody answers.
        self._partitions: set[Partition] = set()

    def known_partitions(
        self, committed: Collection[Partition] | None, partitions: Collection[Partition], silent: Collection[str]
    ) -> list[Partition]:
        """Those that it reads now, as far as anybody says, in order.

        Args:
            committed: where it committed; None where that was not said.
            partitions: of the topics that it reads.
            silent: topics of which no broker says more than that they exist: theirs are the ones that were seen.
        """
        if committed is not None or not self._partitions:
            seen = self._partitions.union(committed or ())
            self._partitions = {*partitions, *(each for each in seen if each.topic in silent)}
        return sorted(self._partitions)

    def report(
        self,
        now_s: float,
        lags: Mapping[Partition, Lag | None],
        arrivals: Mapping[Partition, float],
        *,
        has_members: bool,
        is_known: bool,
    ) -> GroupLag:
        """What this round says, beside the ones before.

        Args:
            now_s: by a monotonic clock, in seconds.
            lags: by partition; None where it is not known.
            arrivals: records a second, by partition.
            has_members: whether anybody is in the group.
            is_known: whether what it reads is known, and how far it came.
        """
        known = {partition: lag for partition, lag in lags.items() if lag is not None}
        self._places.see(now_s, {partition: lag.next_offset for partition, lag in known.items()})
        service = self._places.per_s()
        standing = {partition: stood(self._standing.get(partition), lag, now_s) for partition, lag in known.items()}
        # Where a lag is not known for a round, its partition may well have stood still all along.
        self._standing = {
            partition: each
            for partition, each in (self._standing | standing).items()
            if each is not None and partition in lags
        }
        found = [
            PartitionLag(
                partition.topic,
                partition.partition,
                status_of(
                    lag,
                    standing.get(partition),
                    now_s,
                    has_members=has_members,
                    lagging_s=self._lagging_s,
                    stalled_s=self._stalled_s,
                ),
                messages=lag.messages,
                seconds=lag.seconds,
                arrival_per_s=arrivals.get(partition),
                service_per_s=service.get(partition),
                overtaken=lag.overtaken,
            )
            if lag is not None
            else PartitionLag(partition.topic, partition.partition, "unknown")
            for partition, lag in lags.items()
        ]
        return GroupLag(self._group, found, is_known=is_known)

    def unknown(self) -> GroupLag:
        """What can be said while no broker answers: that nothing of what it was seen with is known."""
        found = [PartitionLag(each.topic, each.partition, "unknown") for each in sorted(self._partitions)]
        return GroupLag(self._group, found, is_known=False)
