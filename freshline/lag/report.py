"""What one round of looking at groups found. Where something is not known it is None, never 0."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from freshline.lag.demand import Demand
from freshline.lag.status import Status, worst
from infra.kafka.log import Partition

T = TypeVar("T", int, float)


class PartitionLag(msgspec.Struct, frozen=True):
    """A group in one partition.

    Attributes:
        topic: the partition's.
        partition: its number.
        status: in one word.
        messages: that the group has yet to apply.
        seconds: the age of the oldest of them.
        arrival_per_s: records that arrive, a second.
        service_per_s: records that the group does, a second.
        overtaken: records that retention took away before the group came to them.
    """

    topic: str
    partition: int
    status: Status
    messages: int | None = None
    seconds: float | None = None
    arrival_per_s: float | None = None
    service_per_s: float | None = None
    overtaken: int = 0

    @property
    def place(self) -> Partition:
        """As Kafka's client names it."""
        return Partition(self.topic, self.partition)


class GroupLag(msgspec.Struct, frozen=True):
    """A group: all of its partitions, and how many replicas it needs.

    Attributes:
        group: its name.
        partitions: ordered by topic and number.
        members: how many it has; None where that was not asked or not said.
        demand: None where it is not told, or nothing was ever known.
        is_known: whether what it reads is known, and how far it came.
    """

    group: str
    partitions: Sequence[PartitionLag]
    members: int | None = None
    demand: Demand | None = None
    is_known: bool = True

    @property
    def status(self) -> Status:
        """The worst of its partitions'."""
        statuses = [partition.status for partition in self.partitions]
        return worst(statuses if self.is_known else [*statuses, "unknown"])

    @property
    def messages(self) -> int | None:
        """Of all partitions together."""
        return _sum(partition.messages for partition in self.partitions) if self.is_known else None

    @property
    def seconds(self) -> float | None:
        """Of the partition that is behind most."""
        found = [partition.seconds for partition in self.partitions]
        return (
            None
            if None in found or not self.is_known
            else max((each for each in found if each is not None), default=0.0)
        )

    @property
    def arrival_per_s(self) -> float | None:
        """Of all partitions together."""
        return _sum(partition.arrival_per_s for partition in self.partitions)

    @property
    def service_per_s(self) -> float | None:
        """Of all partitions together."""
        return _sum(partition.service_per_s for partition in self.partitions)

    @property
    def drain_s(self) -> float | None:
        """In how many seconds the lag is gone at this pace; infinite where it grows."""
        messages, arrival, service = self.messages, self.arrival_per_s, self.service_per_s
        if messages is None or arrival is None or service is None:
            return None
        if not messages:
            return 0.0
        return messages / (service - arrival) if service > arrival else math.inf


def _sum(values: Iterable[T | None]) -> T | None:
    total: T | None = None
    for value in values:
        if value is None:
            return None
        total = value if total is None else total + value
    return total
