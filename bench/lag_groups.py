"""Topics and groups whose lag is looked at: every second topic has records that its group has yet to read.

A topic has so many partitions in all shapes, and more topics are made when more are wanted, so one broker has them all.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.commit import OffsetCommitRequest

PARTITIONS_OF_A_TOPIC: Final = 20
# One batch of a busy producer, and a little more.
WAITING: Final = 20
_RECORD: Final = b"x" * 1_000
_TOPICS_AT_ONCE: Final = 10
_TIMEOUT_MS: Final = 120_000
# A broker that was just given so many partitions takes a while to lead them.
_PATIENT: Final[dict[str, Any]] = {"linger_ms": 20, "retry_backoff_ms": 1_000, "request_timeout_ms": _TIMEOUT_MS}


class Shape(NamedTuple):
    """How many partitions there are, and how many groups share them."""

    partitions: int
    groups: int

    def __str__(self) -> str:
        """As in the names of figures."""
        return f"{self.partitions}p,{self.groups}g"

    @property
    def topics(self) -> int:
        """How many topics that takes."""
        return self.partitions // PARTITIONS_OF_A_TOPIC


class Groups:
    """Makes them, and lets those that are behind read on."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Nothing is made yet. ``arguments`` say where Kafka is."""
        self._arguments = arguments
        self._topics = 0
        self._read = 0

    async def make(self, shape: Shape) -> int:
        """Make what is missing; returns how many records wait, all groups together."""
        missing = range(self._topics, shape.topics)
        await self._make_topics(missing)
        await self._fill(missing)
        self._topics = max(self._topics, shape.topics)
        self._read = 0
        await self._commit(shape)
        return self.waiting(shape)

    async def move(self, shape: Shape) -> int:
        """Every group that is behind reads a record of each partition; returns how many still wait."""
        self._read += 1
        await self._commit(shape)
        return self.waiting(shape)

    def waiting(self, shape: Shape) -> int:
        """Records that wait, all groups together."""
        behind = sum(_is_behind(topic) for topic in range(shape.topics))
        return behind * PARTITIONS_OF_A_TOPIC * (WAITING - self._read)

    async def _make_topics(self, numbers: range) -> None:
        admin = AIOKafkaAdminClient(**self._arguments, request_timeout_ms=_TIMEOUT_MS)
        await admin.start()
        try:
            for first in numbers[::_TOPICS_AT_ONCE]:
                some = range(first, min(first + _TOPICS_AT_ONCE, numbers.stop))
                await admin.create_topics([NewTopic(_topic(each), PARTITIONS_OF_A_TOPIC, 1) for each in some])
        finally:
            await admin.close()

    async def _fill(self, numbers: range) -> None:
        async with AIOKafkaProducer(**self._arguments, **_PATIENT) as producer:
            for number in numbers:
                sent = [
                    await producer.send(_topic(number), _RECORD, partition=partition)
                    for partition in range(PARTITIONS_OF_A_TOPIC)
                    for _ in range(WAITING if _is_behind(number) else 1)
                ]
                await asyncio.gather(*sent)

    async def _commit(self, shape: Shape) -> None:
        """As members do, but without any."""
        client = AIOKafkaClient(**self._arguments, request_timeout_ms=_TIMEOUT_MS)
        await client.bootstrap()
        try:
            for group in range(shape.groups):
                topics = range(group * shape.topics // shape.groups, (group + 1) * shape.topics // shape.groups)
                places = [(_topic(each), self._places(each)) for each in topics]
                await _committed(client, f"{shape}-{group}", places)
        finally:
            await client.close()

    def _places(self, topic: int) -> list[tuple[int, int, str]]:
        return [(number, self._read if _is_behind(topic) else 1, "") for number in range(PARTITIONS_OF_A_TOPIC)]


async def _committed(client: AIOKafkaClient, group: str, places: list[tuple[str, list[tuple[int, int, str]]]]) -> None:
    deadline = time.monotonic() + _TIMEOUT_MS / 1_000
    while True:
        try:
            broker = await client.coordinator_lookup(CoordinationType.GROUP, group)
            response = await client.send(broker, OffsetCommitRequest(group, -1, "", -1, places))
        except GroupCoordinatorNotAvailableError:
            pass
        else:
            if not any(error for _, found in response.topics for _, error in found):
                return
        # Where nobody ever committed, the broker makes the topic of offsets first.
        if time.monotonic() > deadline:
            raise SystemExit(f"the group {group} could not commit")
        await asyncio.sleep(0.1)


def _is_behind(topic: int) -> bool:
    return topic % 2 == 1


def _topic(number: int) -> str:
    return f"lag-{number:03}"
