"""Ground for tests of workers: topics of their own in a real Kafka, and events made by hand, without a connector.

Positions in events are real: each event's transaction was committed in the test's own Postgres (`commit`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import asyncpg
from aiokafka import AIOKafkaProducer, ConsumerRecord
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from consumers.worker import Worker
from freshline.roles import Metrics, open_worker
from freshline.source.topics import apply_topics
from infra.kafka.browser import open_browser
from infra.kafka.producer import Producer
from infra.postgres.statements import statement
from infra.progress import Progress
from infra.redis.coherence import NO_FLOOR_YET, Coherence, Found, State
from infra.settings import Settings
from schemas.canonical import row_from_json
from schemas.entry import unpack
from schemas.errors import StoreUnavailableError
from schemas.voiceassist import CONVERSATIONS, USERS, VOICEASSIST

WRITE_THROUGH = "write-through"
INVALIDATION = "invalidation"
TIMEOUT_S = 90.0
SIZES = {"partitions": 2}

Row = Mapping[str, Any]


class Place(NamedTuple):
    """Where a change lies in the database's log, and its transaction."""

    lsn: int
    xid: int


async def eventually(holds: Callable[[], Awaitable[Any]], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """Wait until it holds, and return what it gave."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        # A test may have ended the connections of its own client, too.
        with suppress(StoreUnavailableError):
            if found := await holds():
                return found
        await asyncio.sleep(0.005)
    raise AssertionError(f"it did not come to pass in {timeout_s:g} s: {what}")


def user(number: int, **changes: Any) -> dict[str, Any]:
    """A row of users."""
    row = {
        "id": number,
        "email": f"{number}@example.org",
        "name": f"User {number}",
        "is_active": True,
        "preferences": "{}",
        "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:00.000000Z",
    }
    return row | changes


def conversation(number: int, owner: int, **changes: Any) -> dict[str, Any]:
    """A row of conversations."""
    row = {
        "id": number,
        "user_id": owner,
        "title": f"Conversation {number}",
        "metadata": "{}",
        "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:00.000000Z",
    }
    return row | changes


def envelope(
    op: str,
    place: Place | None,
    *,
    table: str = "users",
    before: Row | None = None,
    after: Row | None = None,
    **source: Any,
) -> dict[str, Any]:
    """A change event as Debezium writes it; ``source`` replaces what its source says."""
    said: dict[str, Any] = {"schema": "public", "table": table, "ts_ms": int(time.time() * 1000)}
    if place is not None:
        said |= {"lsn": place.lsn, "txId": place.xid % (1 << 32)}
    return {"op": op, "before": before, "after": after, "source": said | source}


def encoded(value: Any) -> bytes:
    """Its JSON."""
    return json.dumps(value).encode()


class Counted:
    """What has metrics of its own."""

    registry: CollectorRegistry

    def count(self, name: str, **labels: str) -> float:
        """A metric's value, the sum over all labels that are not named."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


class Running(Counted):
    """A worker that runs in the test's own loop."""

    progress: Progress
    task: asyncio.Task[None]

    async def until_ready(self) -> None:
        """Wait until it has its place in the log and nothing is left to do."""

        async def is_ready() -> bool:
            if self.task.done():
                self.task.result()
            return self.progress.is_ready

        await eventually(is_ready, "the worker is ready")


@dataclass(frozen=True)
class RunningWorker(Running):
    """A worker that runs in the test's own loop."""

    worker: Worker
    progress: Progress
    registry: CollectorRegistry
    task: asyncio.Task[None]

    async def waits_for_a_commit(self) -> bool:
        """Whether it read a change that nobody can see yet."""
        return "visible" in self.progress.describe()


class Ground:
    """A test's own names in the stack, and what can be done there."""

    def __init__(self, settings: Settings, connection: asyncpg.Connection, producer: Producer, redis: Redis) -> None:
        self.settings = settings
        self.connection = connection
        self.producer = producer
        self.redis = redis
        self.coherence = Coherence(redis, settings.namespace)
        self._committing = asyncio.Lock()

    # The database.

    async def reconnect(self) -> None:
        """Connect to the database again, after it was away."""
        self.connection = await asyncpg.connect(**self.settings.postgres.connect_arguments())

    async def commit(self) -> Place:
        """Commit a transaction."""
        async with self._committing, self.connection.transaction():
            return await self.position()

    async def position(self) -> Place:
        """Write something in the transaction that is open, and return its place."""
        await self.connection.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
        row = await self.connection.fetchrow(
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8, pg_current_xact_id()::text::int8"
        )
        return Place(*row) if row else Place(0, 0)

    # The log.

    def topic(self, table: str) -> str:
        """The topic of a table."""
        return self.settings.table_topic(f"public.{table}")

    async def send(self, table: str, key: Any, value: Any, *, partition: int = 0, headers: Any = ()) -> None:
        """Put a record on a table's topic; what is no bytes is written as JSON."""
        await self.producer.send(
            self.topic(table) if table != "invalidate" else self.settings.invalidate_topic,
            key=key if key is None or isinstance(key, bytes) else encoded(key),
            value=value if value is None or isinstance(value, bytes) else encoded(value),
            headers=headers,
            partition=partition,
        )

    async def change_user(self, row: Row, *, op: str = "u", place: Place | None = None, partition: int = 0) -> Place:
        """Commit a transaction and put its event on the topic: the user's row is now this one."""
        where = place or await self.commit()
        await self.send("users", {"id": row["id"]}, envelope(op, where, after=row), partition=partition)
        return where

    async def change_users(self, rows: Iterable[Row], place: Place) -> None:
        """Put many events of one transaction on the first partition of the topic, without awaiting each."""
        async with AIOKafkaProducer(**self.settings.kafka.client_arguments(), linger_ms=5) as producer:
            for row in rows:
                event = encoded(envelope("u", place, after=row))
                await producer.send(self.topic("users"), key=encoded({"id": row["id"]}), value=event, partition=0)
            await producer.flush()

    async def delete_user(self, number: int, *, partition: int = 0) -> Place:
        """Commit a transaction and put its event on the topic: the user is gone."""
        where = await self.commit()
        before = dict.fromkeys(user(number)) | {"id": number}
        await self.send("users", {"id": number}, envelope("d", where, before=before), partition=partition)
        return where

    async def letters(self) -> list[ConsumerRecord[bytes, bytes]]:
        """Every dead letter."""
        async with open_browser(self.settings.kafka.client_arguments()) as browser:
            return [record async for record in browser.read(self.settings.dead_letter_topic)]

    async def ends(self, topics: list[str]) -> dict[str, int]:
        """The offsets after the last records, by ``topic/partition``."""
        async with open_browser(self.settings.kafka.client_arguments()) as browser:
            ends = await browser.ends(await browser.partitions(topics))
        return {f"{partition.topic}/{partition.partition}": end for partition, end in ends.items()}

    # The copies.

    async def state(self) -> State:
        """The state of the namespace."""
        return await self.coherence.state()

    async def epoch_begins(self, *, after: str = "") -> None:
        """Wait until an epoch other than this one has begun."""

        async def is_new() -> bool:
            state = await self.state()
            return state.epoch not in {"", after} and state.floor != NO_FLOOR_YET

        await eventually(is_new, "a new epoch begins")

    async def watermarks(self, role: str) -> dict[str, int]:
        """The watermarks of a role's group, by ``topic/partition``."""
        prefix = f"w:{self.settings.group(role)}/"
        marks = (await self.state()).watermarks
        return {
            "/".join((name.removeprefix(prefix).partition("@")[0], name.rpartition("/")[2])): offset
            for name, offset in marks.items()
            if name.startswith(prefix)
        }

    async def all_applied(self, role: str = WRITE_THROUGH, *tables: str) -> None:
        """Wait until the group's watermarks are at the ends of these tables' topics."""
        topics = [self.topic(t) if t != "invalidate" else self.settings.invalidate_topic for t in tables or ("users",)]
        ends = await self.ends(topics)

        async def reached() -> bool:
            return (await self.watermarks(role)).items() >= ends.items()

        await eventually(reached, f"watermarks reach {ends}")

    async def user(self, number: int) -> Any:
        """What a reader finds under a user's key: the row, "absent", or None for a miss."""
        (found,) = await self.coherence.look([(f"user:{number}", USERS)])
        return _content(found)

    async def conversation(self, number: int) -> Any:
        """What a reader finds under a conversation's key."""
        (found,) = await self.coherence.look([(f"conversation:{number}", CONVERSATIONS)])
        return "absent" if found and found.header.kind == "a" else found and row_from_json(CONVERSATIONS, found.body)

    async def user_is(self, number: int, **values: Any) -> None:
        """Wait until a reader finds a user with these values."""

        async def is_so() -> bool:
            row = await self.user(number)
            return not isinstance(row, str | None) and all(getattr(row, name) == v for name, v in values.items())

        await eventually(is_so, f"user {number} is {values}")

    async def header(self, key: str) -> Any:
        """The header of what lies under a key, whether it may be returned or not."""
        entry: Any = await self.redis.get(self.coherence.entry_key(key))
        unpacked = unpack(entry) if entry is not None else None
        return unpacked and unpacked[0]

    async def fill_tag(self, tag: str, generation: str = "g") -> None:
        """Give a tag a generation, as a reader's lease would."""
        await self.redis.set(self.coherence.tag_key(tag), generation)

    async def has_tag(self, tag: str, generation: str = "g") -> bool:
        """Whether the tag still has the generation that it was given."""
        found: Any = await self.redis.get(self.coherence.tag_key(tag))
        return bool(found == generation.encode())

    # Workers.

    @asynccontextmanager
    async def worker(
        self, role: str = WRITE_THROUGH, *, ready: bool = True, stuck_after_s: float = 60
    ) -> AsyncIterator[RunningWorker]:
        """A worker that runs until the end of the block, and is then stopped gracefully.

        Args:
            role: what it does.
            ready: wait until it has its place; what is committed before that creates no entries.
            stuck_after_s: after how long without progress it is stuck.
        """
        registry = CollectorRegistry()
        progress = Progress(stuck_after_s)
        async with open_worker(role, self.settings, VOICEASSIST, Metrics(registry), progress) as worker:
            task = asyncio.create_task(worker.run())
            running = RunningWorker(worker, progress, registry, task)
            try:
                if ready:
                    await running.until_ready()
                yield running
            finally:
                worker.stop()
                await task


@asynccontextmanager
async def open_ground(settings: Settings) -> AsyncIterator[Ground]:
    """Topics, and as much of the database as workers ask for: a slot that is followed from its beginning."""
    await apply_topics(settings, VOICEASSIST)
    async with AsyncExitStack() as stack:
        connection = await asyncpg.connect(**settings.postgres.connect_arguments())
        await connection.execute("CREATE SCHEMA freshline")
        await connection.execute(statement("own_tables", "slot"))
        await connection.execute(
            "INSERT INTO freshline.slot (slot_name, created_lsn) VALUES ($1, pg_current_wal_lsn())",
            settings.postgres.slot,
        )
        producer = await stack.enter_async_context(Producer(settings.kafka.client_arguments()))
        redis = await stack.enter_async_context(Redis.from_url(**settings.redis.client_arguments()))
        ground = Ground(settings, connection, producer, redis)
        try:
            yield ground
        finally:
            await ground.connection.close()


def _content(found: Found | None) -> Any:
    if found is None:
        return None
    return "absent" if found.header.kind == "a" else row_from_json(USERS, found.body)
