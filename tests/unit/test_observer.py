"""What is asked of a broker, against one that gives no more at once than it is asked for."""

from __future__ import annotations

from typing import Any, Final

from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v4
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from infra.kafka.log import Partition
from infra.kafka.observer import Observer, Unread
from infra.kafka.topic_ids import TopicNow

LEADER: Final = 1
TIMESTAMP_MS: Final = 1_000_000
PARTITIONS: Final = 5_000


def batch(size: int) -> bytes:
    """One record in a batch."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10 * size)
    builder.append(0, TIMESTAMP_MS, None, b"x" * size, [])
    return bytes(builder.build())


class FullBroker:
    """Every partition has enough for a whole answer. The first gets its batch whatever its size, as Kafka has it."""

    def __init__(self, records: bytes) -> None:
        self._records = records
        self.fetches = 0

    async def send(self, node: int, request: FetchRequest) -> FetchResponse_v4:
        """Answer from the partitions' beginnings."""
        assert node == LEADER
        self.fetches += 1
        asked = request.prepare({FetchRequest.API_KEY: (4, 4)})
        left, answers = asked.max_bytes, list[Any]()
        for topic, partitions in asked.topics:
            answers.append((topic, []))
            for number, _, limit in partitions:
                room = min(limit, left)
                given = self._records if left == asked.max_bytes else self._records[:room]
                left = max(0, left - len(given))
                answers[-1][1].append((number, 0, 1, 1, [], given))
        return FetchResponse_v4(0, answers)


async def unread(broker: FullBroker, count: int) -> dict[Partition, Unread]:
    places = [Partition("t", number) for number in range(count)]
    topics = {"t": TopicNow("id", dict.fromkeys(range(count), LEADER))}
    return await Observer(broker).unread(dict.fromkeys(places, 0), dict.fromkeys(places, 1), topics)


async def test_many_partitions_take_few_requests() -> None:
    broker = FullBroker(batch(16_000))
    found = await unread(broker, PARTITIONS)
    assert len(found) == PARTITIONS
    assert set(found.values()) == {Unread(0, TIMESTAMP_MS)}
    assert broker.fetches <= PARTITIONS / 500


async def test_a_batch_that_is_larger_than_what_is_asked_for_is_asked_for_alone() -> None:
    broker = FullBroker(batch(40_000))
    found = await unread(broker, 3)
    assert set(found.values()) == {Unread(0, TIMESTAMP_MS)}
    assert broker.fetches == 3
