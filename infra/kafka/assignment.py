"""Which member of a group gets which partitions: each topic spread evenly, and all topics together.

Kafka's sticky assignor counts partitions and not topics, so the eight of the one that has all the load may end with two
of six members. Here each topic's partitions differ by one at most between members, and so do all of them together;
within that, whoever has a partition keeps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from aiokafka import TopicPartition as Partition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment


class Member(msgspec.Struct, frozen=True):
    """What a member says when it joins.

    Attributes:
        topics: that it reads.
        held: partitions that it had.
        generation: of the group, in which it had them; whoever had one later has the better claim.
    """

    topics: Collection[str]
    held: Collection[Partition] = ()
    generation: int = -1


def spread(partitions: Mapping[str, Collection[int]], members: Mapping[str, Member]) -> dict[str, list[Partition]]:
    """The partitions of each member, in order.

    Args:
        partitions: numbers, by topic.
        members: by their ids.
    """
    holders = _holders(members)
    assigned: dict[str, list[Partition]] = {name: [] for name in members}
    for topic in sorted(partitions):
        readers = [name for name, member in sorted(members.items()) if topic in member.topics]
        if readers:
            _spread_topic(
                [Partition(topic, number) for number in sorted(partitions[topic])], readers, holders, assigned
            )
    return assigned


def _holders(members: Mapping[str, Member]) -> dict[Partition, str]:
    """Who had each partition last."""
    found: dict[Partition, str] = {}
    for name, member in sorted(members.items(), key=lambda item: (item[1].generation, item[0])):
        found |= dict.fromkeys(member.held, name)
    return found


def _spread_topic(
    partitions: list[Partition],
    readers: list[str],
    holders: Mapping[Partition, str],
    assigned: dict[str, list[Partition]],
) -> None:
    held: dict[str, list[Partition]] = defaultdict(list)
    for partition in partitions:
        if partition in holders:
            held[holders[partition]].append(partition)
    least, more = divmod(len(partitions), len(readers))
    # One more for those who have least so far, so that all topics together are even, too.
    readers = sorted(readers, key=lambda name: (len(assigned[name]), -min(len(held[name]), least + 1)))
    quotas = {name: least + (place < more) for place, name in enumerate(readers)}
    kept = {name: held[name][:quota] for name, quota in quotas.items()}
    keeping = {partition for each in kept.values() for partition in each}
    left = iter([partition for partition in partitions if partition not in keeping])
    for name, quota in quotas.items():
        assigned[name] += kept[name]
        assigned[name] += [next(left) for _ in range(quota - len(kept[name]))]


class EvenTopicsAssignor(StickyPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types
    """The sticky assignor, which decides otherwise: what members say, and so its name, stay the same.

    The driver keeps what a member had in the class, so each member needs a class of its own.
    """

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """What each member gets; called by the driver of the one that leads the group."""
        said = {name: cls.parse_member_metadata(each) for name, each in members.items()}
        topics = {topic for each in said.values() for topic in each.subscription}
        partitions = {topic: cluster.partitions_for_topic(topic) or () for topic in topics}
        found = spread(
            partitions,
            {name: Member(each.subscription, each.partitions, each.generation) for name, each in said.items()},
        )
        return {
            name: ConsumerProtocolMemberAssignment(cls.version, _by_topic(each), b"") for name, each in found.items()
        }


def _by_topic(partitions: Collection[Partition]) -> list[tuple[str, list[int]]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for partition in partitions:
        numbers[partition.topic].append(partition.partition)
    return sorted((topic, sorted(each)) for topic, each in numbers.items())
