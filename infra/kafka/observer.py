"""What the brokers say of groups and of partitions, to somebody who is a member of no group and reads no records.

    groups ▸ what they committed        topics ▸ where partitions begin and end ▸ the first record behind an offset

Whatever a broker does not say is left out of an answer: nobody may take it for nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.memory_records import MemoryRecords

from infra.kafka.driver import kafka_errors
from infra.kafka.group_states import group_states
from infra.kafka.log import Partition
from infra.kafka.topic_ids import TopicNow, topics_now
from infra.logs import logger

T = TypeVar("T")
K = TypeVar("K")

# Kafka's names for where a partition begins and ends.
_EARLIEST: Final = -2
_LATEST: Final = -1
_REQUEST_TIMEOUT_MS: Final = 10_000
_FETCH_WAIT_MS: Final = 0
# As large as producers make their batches. A larger one is asked for alone, which Kafka then gives whatever its size.
_FETCH_BYTES: Final = 16 * 1024
# An answer is held in memory as a whole, and whoever comes last in it gets nothing where the others fill it.
_PARTITIONS_OF_A_FETCH: Final = 512
_FETCH_BYTES_ALTOGETHER: Final = 50 * 1024 * 1024
# How often a round looks further for a record; the next round goes on from there.
_STEPS: Final = 20
_NAMES_A_REPLICA: Final = 11
_log = logger("observer")


class Bounds(msgspec.Struct, frozen=True):
    """Where a partition begins and ends, as offsets.

    Attributes:
        start: of the first record that is still there.
        end: up to which what was committed can be read: an open transaction holds it back.
        log_end: after everything that was written.
    """

    start: int
    end: int
    log_end: int


class Committed(msgspec.Struct, frozen=True):
    """What a group committed: the next offset to read, and what it wrote beside it."""

    offset: int
    metadata: str = ""


class Unread(msgspec.Struct, frozen=True):
    """What lies behind an offset.

    Attributes:
        offset: of the first record that can be read; where there is none, up to where that is known.
        timestamp_ms: the record's, in milliseconds since 1970; None where there is none.
    """

    offset: int
    timestamp_ms: int | None


class Observer:
    """Asks the brokers. Made by ``open_observer``."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client
        self._coordinators: dict[str, int] = {}

    async def states(self) -> dict[str, str]:
        """The state of every group (``Stable``, ``Empty`` …), by its name. Of no other is anything known below.

        Raises:
            StoreUnavailableError: a broker does not answer, so some group may be missing.
        """
        with kafka_errors():
            nodes = [broker.nodeId for broker in self._client.cluster.brokers()]
            if not nodes:
                raise NodeNotReadyError("no broker is known yet")
            found = await asyncio.gather(*(group_states(self._client, node) for node in nodes))
        # Each names the groups that it coordinates, so nobody need be asked who does.
        self._coordinators = {group: node for node, states in zip(nodes, found, strict=True) for group in states}
        return {group: state for states in found for group, state in states.items()}

    async def committed(self, groups: Iterable[str]) -> dict[str, dict[Partition, Committed]]:
        """Everything that these groups committed; a group is left out where its coordinator does not say."""
        return await _each(groups, self._committed)

    async def members(self, groups: Iterable[str]) -> dict[str, int]:
        """How many members these groups have; a group is left out where its coordinator does not say."""
        return await _each(groups, self._members)

    async def topics(self, names: Iterable[str]) -> dict[str, TopicNow]:
        """Those of these topics that exist.

        Raises:
            StoreUnavailableError: Kafka does not answer.
        """
        with kafka_errors():
            found = await topics_now(self._client, names)
            known = {broker.nodeId for broker in self._client.cluster.brokers()}
            if {leader for topic in found.values() for leader in topic.leaders.values()} - known - {-1}:
                await self._client.force_metadata_update()
        return found

    async def bounds(self, topics: Mapping[str, TopicNow]) -> dict[Partition, Bounds]:
        """Where the partitions of these topics begin and end; one is left out where its leader does not say."""
        by_leader: dict[int, list[Partition]] = defaultdict(list)
        for name, topic in topics.items():
            for number, leader in topic.leaders.items():
                by_leader[leader].append(Partition(name, number))
        found = await _each(by_leader, lambda leader: self._bounds(leader, by_leader[leader]))
        return {partition: bounds for each in found.values() for partition, bounds in each.items()}

    async def unread(
        self, positions: Mapping[Partition, int], ends: Mapping[Partition, int], topics: Mapping[str, TopicNow]
    ) -> dict[Partition, Unread]:
        """The first record that can be read from each of these offsets on; left out where its leader does not say.

        What can't be read: markers of transactions, what transactions took back, what compaction took away.
        """
        by_leader: dict[int, dict[Partition, int]] = defaultdict(dict)
        for partition, offset in positions.items():
            topic = topics.get(partition.topic)
            by_leader[-1 if topic is None else topic.leaders.get(partition.partition, -1)][partition] = offset
        found = await _each(by_leader, lambda leader: self._unread(leader, by_leader[leader], ends))
        return {partition: unread for each in found.values() for partition, unread in each.items()}

    async def newest(self, topic: str) -> bytes | None:
        """The value of the last record that can be read of a topic's first partition; None where there is none.

        Raises:
            StoreUnavailableError: its leader does not say.
        """
        found = (await self.topics([topic])).get(topic)
        if found is None:
            return None
        partition, leader = Partition(topic, 0), found.leaders.get(0, -1)
        with kafka_errors():
            bounds = (await self._bounds(leader, [partition])).get(partition)
            if bounds is None:
                raise LeaderNotAvailableError
            return await self._newest(leader, partition, bounds)

    # One coordinator, or one leader.

    async def _asked(self, group: str, request: Any, error_of: Callable[[Any], int]) -> Any:
        """What a group's coordinator answers. It may have moved since it was known."""
        # No broker names a group whose coordinator is away, nor one that is gone.
        node = self._coordinators.get(group)
        if node is None:
            node = await self._client.coordinator_lookup(CoordinationType.GROUP, group)
        response = await self._client.send(node, request)
        _raise(error_of(response))
        return response

    async def _committed(self, group: str) -> dict[Partition, Committed]:
        response = await self._asked(group, OffsetFetchRequest(group, None), lambda response: response.error_code)
        found: dict[Partition, Committed] = {}
        for topic, partitions in response.topics:
            for number, offset, metadata, error in partitions:
                _raise(error)
                if offset >= 0:
                    found[Partition(topic, number)] = Committed(offset, metadata or "")
        return found

    async def _members(self, group: str) -> int:
        request = DescribeGroupsRequest([group])
        response = await self._asked(group, request, lambda response: response.groups[0][0])
        return len(response.groups[0][5])

    async def _bounds(self, leader: int, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        if leader < 0:
            raise LeaderNotAvailableError
        # The one that may be ahead of another is asked for later, so that no partition ends before it begins.
        starts = await self._offsets(leader, partitions, _EARLIEST, READ_COMMITTED)
        ends = await self._offsets(leader, partitions, _LATEST, READ_COMMITTED)
        log_ends = await self._offsets(leader, partitions, _LATEST, READ_UNCOMMITTED)
        return {p: Bounds(starts[p], ends[p], log_ends[p]) for p in starts.keys() & ends.keys() & log_ends.keys()}

    async def _offsets(
        self, leader: int, partitions: Sequence[Partition], which: int, isolation: int
    ) -> dict[Partition, int]:
        asked = [(topic, [(number, which) for number in numbers]) for topic, numbers in _by_topic(partitions).items()]
        response = await self._client.send(leader, OffsetRequest(-1, isolation, asked))
        return {
            Partition(topic, number): offset
            for topic, found in response.topics
            for number, error, _, offset, *_ in found
            if not error
        }

    async def _unread(
        self, leader: int, positions: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> dict[Partition, Unread]:
        if leader < 0:
            raise LeaderNotAvailableError
        found: dict[Partition, Unread] = {}
        wanted = dict(positions)
        for _ in range(_STEPS):
            for partition, offset in wanted.items():
                found[partition] = Unread(offset, None)
            wanted = {partition: offset for partition, offset in wanted.items() if offset < ends[partition]}
            if not wanted:
                break
            looked_at = await self._looked_at(leader, wanted)
            stuck = [p for p, unread in looked_at.items() if unread.timestamp_ms is None and unread.offset == wanted[p]]
            for partition in stuck:
                looked_at |= await self._looked_at(leader, {partition: wanted[partition]})
            found |= looked_at
            wanted = {
                partition: unread.offset
                for partition, unread in looked_at.items()
                if unread.timestamp_ms is None and unread.offset > wanted[partition]
            }
        return found

    async def _looked_at(self, leader: int, positions: Mapping[Partition, int]) -> dict[Partition, Unread]:
        """The first record in what a leader gives at once, by partition; left out where it gives an error."""
        found: dict[Partition, Unread] = {}
        wanted = iter(positions.items())
        while some := dict(islice(wanted, _PARTITIONS_OF_A_FETCH)):
            fetched = await self._fetched(leader, some)
            found |= {partition: _first(partition, some[partition], *each) for partition, each in fetched.items()}
        return found

    async def _newest(self, leader: int, partition: Partition, bounds: Bounds) -> bytes | None:
        """Look one record back, then two, then four …: behind the last one there may be markers of transactions."""
        for step in range(_STEPS):
            offset = max(bounds.start, bounds.end - 2**step)
            fetched = (await self._fetched(leader, {partition: offset})).get(partition)
            if fetched is None:
                raise LeaderNotAvailableError
            values: list[bytes | None] = [each.value for each in _records(partition, offset, *fetched)]
            if values:
                return values[-1]
            if offset == bounds.start:
                break
        return None

    async def _fetched(self, leader: int, positions: Mapping[Partition, int]) -> dict[Partition, tuple[Any, Any]]:
        """What a leader gives at once: aborted transactions and bytes, by partition, where it gives no error."""
        asked = [
            (topic, [(number, positions[Partition(topic, number)], _FETCH_BYTES) for number in numbers])
            for topic, numbers in _by_topic(positions).items()
        ]
        request = FetchRequest(_FETCH_WAIT_MS, 0, _FETCH_BYTES_ALTOGETHER, READ_COMMITTED, asked)
        response = await self._client.send(leader, request)
        # From this version on a replica is named between the two.
        aborted = -3 if response.API_VERSION >= _NAMES_A_REPLICA else -2
        return {
            Partition(topic, number): (rest[aborted], rest[-1])
            for topic, partitions in response.topics
            for number, error, *rest in partitions
            if not error
        }


@asynccontextmanager
async def open_observer(arguments: Mapping[str, Any]) -> AsyncIterator[Observer]:
    """An observer.

    Args:
        arguments: where Kafka is and who asks, as ``KafkaSettings.client_arguments`` gives them.

    Raises:
        StoreUnavailableError: Kafka does not answer or refuses us.
    """
    client = AIOKafkaClient(**arguments, request_timeout_ms=_REQUEST_TIMEOUT_MS, metadata_max_age_ms=30_000)
    try:
        with kafka_errors():
            await client.bootstrap()
        yield Observer(client)
    finally:
        await client.close()


def _records(partition: Partition, offset: int, aborted: Any, records: Any) -> PartitionRecords:
    """What can be read of these bytes, from this offset on."""
    return PartitionRecords(
        partition, MemoryRecords(records or b""), aborted, offset, None, None, False, READ_COMMITTED
    )


def _first(partition: Partition, offset: int, aborted: Any, records: Any) -> Unread:
    found = _records(partition, offset, aborted, records)
    try:
        record = next(found, None)
    except UnicodeDecodeError:
        # It is a record, whose header the driver can't read; of its batch the time is known.
        return Unread(found.next_fetch_offset, MemoryRecords(records).next_batch().max_timestamp)
    return Unread(found.next_fetch_offset, None) if record is None else Unread(record.offset, record.timestamp)


def _by_topic(partitions: Collection[Partition]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for topic, number in partitions:
        numbers[topic].append(number)
    return numbers


def _raise(error_code: int) -> None:
    if error_code:
        raise for_code(error_code)


async def _each(of: Iterable[K], ask: Callable[[K], Awaitable[T]]) -> dict[K, T]:
    """What is answered for each of these, side by side; without those for which nothing is."""

    async def asked(whom: K) -> tuple[K, T] | None:
        try:
            return whom, await ask(whom)
        except (KafkaError, OSError) as error:
            _log.warning("not_answered", of=str(whom), error=str(error) or type(error).__name__)
            return None

    answers = await asyncio.gather(*(asked(whom) for whom in of))
    return dict(answer for answer in answers if answer is not None)
