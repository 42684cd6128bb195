"""Ground for tests of lag: topics and groups with a history, and somebody who counts by reading everything."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.structs import OffsetAndMetadata

from infra.kafka.observer import Bounds, Observer, open_observer
from infra.settings import Settings
from tests.administrator import administrator
from tests.integration.worker_ground import eventually

_MEMBER: Final = """
import asyncio, json, sys
from aiokafka import AIOKafkaConsumer

async def read(arguments, topic, group):
    arguments |= {"auto_offset_reset": "earliest", "isolation_level": "read_committed"}
    async with AIOKafkaConsumer(topic, **arguments, group_id=group, enable_auto_commit=False) as consumer:
        await consumer.getmany(timeout_ms=1000, max_records=3)
        await consumer.commit()
        print("committed", flush=True)
        await asyncio.sleep(600)

asyncio.run(read(json.loads(sys.argv[1]), *sys.argv[2:]))
"""


class Counted(NamedTuple):
    """What lies behind a group in a partition: how many, and since when (seconds since 1970) the first waits."""

    messages: int
    since_s: float | None


class Hands(NamedTuple):
    """What histories are made with."""

    arguments: dict[str, Any]
    admin: AIOKafkaAdminClient
    observer: Observer


@asynccontextmanager
async def open_hands(settings: Settings) -> AsyncIterator[Hands]:
    """All of it, open."""
    arguments = settings.kafka.client_arguments()
    async with administrator(settings) as admin, open_observer(arguments) as observer:
        yield Hands(arguments, admin, observer)


class History:
    """A topic and a group, and what may happen to them."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._arguments = hands.arguments
        self._admin = hands.admin
        name = uuid.uuid4().hex[:12]
        self.topic, self.group = f"lag-{name}", f"group-{name}"
        self.partitions = 0
        self._open: list[AIOKafkaProducer] = []
        # What happened, for whoever wonders.
        self.told: list[str] = []

    @property
    def has_open_transactions(self) -> bool:
        """Whether one was left open."""
        return bool(self._open)

    async def close(self) -> None:
        """Take back what is open."""
        while self._open:
            producer = self._open.pop()
            await producer.abort_transaction()
            await producer.stop()

    async def make(self, partitions: int, **configs: str) -> None:
        """Make the topic."""
        self.told.append(f"make {partitions}")
        self.partitions = partitions
        await self._admin.create_topics([NewTopic(self.topic, partitions, 1, topic_configs=configs)])
        await self._is_known(partitions)

    async def make_anew(self) -> None:
        """Delete the topic, and make it again."""
        await self.delete()
        await self.make(self.partitions)

    async def delete(self) -> None:
        """Delete the topic."""
        self.told.append("delete")
        await self._admin.delete_topics([self.topic])

        async def is_gone() -> bool:
            return self.topic not in await self._admin.list_topics()

        await eventually(is_gone, "the topic is deleted")

    async def add_partition(self) -> None:
        """Add one."""
        self.told.append("add")
        self.partitions += 1
        await self._admin.create_partitions({self.topic: NewPartitions(self.partitions)})
        await self._is_known(self.partitions)

    async def _is_known(self, partitions: int) -> None:
        async def is_known() -> bool:
            (found,) = await self._admin.describe_topics([self.topic])
            led = [each for each in found["partitions"] if each["leader"] >= 0 and not each["error_code"]]
            return len(led) == partitions

        await eventually(is_known, "the topic has all partitions")

    async def send(self, partition: int, count: int, *, keys: int | None = None, size: int = 10) -> None:
        """Put records there."""
        self.told.append(f"send {count} to {partition}")
        # One that is kept would take a while to hear of partitions that were added.
        async with AIOKafkaProducer(**self._arguments) as producer:
            for number in range(count):
                key = None if keys is None else str(number % keys).encode()
                await producer.send_and_wait(self.topic, b"x" * size, key=key, partition=partition)

    async def transact(self, partition: int, count: int, ending: str) -> None:
        """Put records there in a transaction that is committed, aborted, or left open."""
        self.told.append(f"{ending} {count} in {partition}")
        producer = AIOKafkaProducer(
            **self._arguments, transactional_id=uuid.uuid4().hex, transaction_timeout_ms=900_000
        )
        await producer.start()
        await producer.begin_transaction()
        for _ in range(count):
            await producer.send_and_wait(self.topic, b"x", partition=partition)
        if ending == "open":
            self._open.append(producer)
            return
        await (producer.commit_transaction() if ending == "commit" else producer.abort_transaction())
        await producer.stop()

    async def commit(self, partition: int, offset: int) -> None:
        """Let the group go on here."""
        self.told.append(f"group goes to {offset} in {partition}")
        consumer = AIOKafkaConsumer(**self._arguments, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        place = TopicPartition(self.topic, partition)
        consumer.assign([place])
        await consumer.commit({place: offset})
        await consumer.stop()

    async def die(self) -> None:
        """Let a member of the group read a little and say so, and be killed before it leaves."""
        self.told.append("a member is killed")
        command = (sys.executable, "-c", _MEMBER, json.dumps(self._arguments), self.topic, self.group)
        member = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert member.stdout is not None
        assert await member.stdout.readline() == b"committed\n"
        member.kill()
        await member.wait()

    async def retain(self, partition: int, offset: int) -> None:
        """Take away everything before this offset, as retention does."""
        self.told.append(f"retention to {offset} in {partition}")
        await self._admin.delete_records({TopicPartition(self.topic, partition): RecordsToDelete(offset)})

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Where it begins and ends, for those who read what was committed."""
        observer, place = self._hands.observer, TopicPartition(self.topic, partition)

        async def found() -> Bounds | None:
            return (await observer.bounds(await observer.topics([self.topic]))).get(place)

        # Who leads a partition that was just made may not know it yet.
        bounds: Bounds = await eventually(found, "the partition's bounds are known")
        return bounds.start, bounds.end

    async def first_unread(self, partition: int, offset: int) -> int:
        """The offset of the first record that can be read from this one on."""
        place = TopicPartition(self.topic, partition)
        async with AIOKafkaConsumer(**self._arguments) as reader:
            reader.assign([place])
            reader.seek(place, offset)
            return int((await reader.getone(place)).offset)


class Counter:
    """Counts by reading, and asks nobody who computes. Made by ``open_counter``, once everything has happened."""

    def __init__(self, admin: AIOKafkaAdminClient, reader: AIOKafkaConsumer, careless: AIOKafkaConsumer) -> None:
        self._admin = admin
        # The one reads what was committed, the other everything.
        self._reader = reader
        self._careless = careless

    async def counted(self, history: History) -> list[Counted]:
        """For each partition what is behind the group."""
        committed = await self._admin.list_consumer_group_offsets(history.group)
        places = [TopicPartition(history.topic, number) for number in range(history.partitions)]
        return [await self._counted(place, committed) for place in places]

    async def _counted(self, place: TopicPartition, committed: Mapping[TopicPartition, OffsetAndMetadata]) -> Counted:
        reader = self._reader
        start, end = (await reader.beginning_offsets([place]))[place], (await reader.end_offsets([place]))[place]
        written = (await self._careless.end_offsets([place]))[place]
        at = committed[place].offset if place in committed and start <= committed[place].offset <= written else start
        reader.assign([place])
        reader.seek(place, at)
        while await reader.position(place) < end:
            for record in (await reader.getmany(place, timeout_ms=50)).get(place, []):
                return Counted(end - at, record.timestamp / 1000) if record.offset < end else Counted(0, None)
        return Counted(0, None)


@asynccontextmanager
async def open_counter(hands: Hands) -> AsyncIterator[Counter]:
    """Somebody who counts."""
    # Whoever asks for offsets waits behind whoever waits for records, on the same connection.
    options = {**hands.arguments, "fetch_max_wait_ms": 5}
    async with (
        AIOKafkaConsumer(**options, isolation_level="read_committed") as reader,
        AIOKafkaConsumer(**options) as careless,
    ):
        yield Counter(hands.admin, reader, careless)
