"""Ground for tests of reading: real Valkey and Postgres, and a worker that does just what the test says.

Positions of events are real: each stands for a change that was committed in the test's own database.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

import freshline
from freshline.cache import Cache
from freshline.source.database import prepare_database
from freshline.tiers import Timing
from infra.postgres.migrate import migrate
from infra.postgres.pool import open_pool
from infra.postgres.rows import RowSource
from infra.redis import effects
from infra.redis.coherence import Coherence
from infra.redis.effects import Applied, Batch, Effect
from infra.settings import PostgresSettings, ReaderSettings, RedisSettings, Settings
from schemas.catalog import Catalog, Table
from schemas.entry import ABSENT, LAYOUT, VALUE, Header, Kind, pack
from schemas.errors import StoreUnavailableError
from schemas.voiceassist import VOICEASSIST
from schemas.wal import Snapshot
from tests.integration.worker_ground import Counted

TIMEOUT_S = 60.0
FIELD = "w:test/topic/0"


async def eventually(holds: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = holds()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come to pass in {timeout_s:g} s: {what}")
        await asyncio.sleep(0.01)


@dataclass
class Opened(Counted):
    """A cache and what it counted."""

    cache: Cache
    registry: CollectorRegistry

    async def until_l1_serves(self) -> None:
        """Wait until what is read is also kept."""
        await eventually(lambda: self.cache.l1.is_serving, "L1 serves")


@dataclass
class Ground:
    """One database, one namespace in Redis, and the worker's part played by hand."""

    settings: Settings
    redis: Redis
    coherence: Coherence
    database: asyncpg.Connection
    source: RowSource
    catalog: Catalog = VOICEASSIST
    epoch: str = ""
    offset: int = 0
    beats: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin_epoch(self) -> None:
        """Make Redis ready, as the first worker does."""
        # Connections to a server that was restarted since would each fail once.
        await self.redis.connection_pool.disconnect()
        lsn, state = await self.lsn(), await self.coherence.state()
        epoch = uuid.uuid4().hex
        self.epoch = await self.coherence.begin_epoch(
            expected=state.epoch, epoch=epoch, floor=lsn, identity="test", watermarks=[(FIELD, self.offset)]
        )
        assert self.epoch == epoch

    async def beat_until_cancelled(self) -> None:
        """Tell every tenth of a second that notices flow, while ``beats`` is set."""
        while True:
            await self.beats.wait()
            with suppress(StoreUnavailableError):
                await self.coherence.beat(self.epoch)
            await asyncio.sleep(0.1)

    async def lsn(self) -> int:
        """The log's end."""
        lsn: int = await self.database.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8")
        return lsn

    async def change(self, sql: str, *arguments: object) -> tuple[int, int]:
        """Commit a change; returns its position in the log and its transaction."""
        async with self.database.transaction():
            await self.database.execute(sql, *arguments)
            xid: int = await self.database.fetchval("SELECT pg_current_xact_id()::text::int8")
            lsn = await self.lsn()
        return lsn, xid

    async def row_effect(self, table: Table, key: str, place: tuple[int, int], *texts: str) -> Effect:
        """The effect of the event that says what the row is now."""
        body = (await self.source.read(table, [texts])).bodies[0]
        kind: Kind = ABSENT if body is None else VALUE
        header = Header(LAYOUT, kind, self.epoch, lsn=place[0], xid=place[1], format=table.format)
        build = effects.absent if body is None else effects.value
        return build(
            key,
            table.qualified_name,
            *place,
            may_create=True,
            ttl_ms=table.ttl_s * 1000,
            entry=pack(header, body or b""),
        )

    async def apply(self, *batch: Effect) -> None:
        """Apply these effects, as a worker does."""
        snapshot = Snapshot.parse(await self.database.fetchval("SELECT pg_current_snapshot()::text"))
        (applied,) = await self.coherence.apply(
            [
                Batch(
                    self.coherence.namespace,
                    FIELD,
                    self.offset,
                    self.offset + len(batch),
                    self.epoch,
                    snapshot.completed,
                    VOICEASSIST.floor_ttl_ms,
                    int(time.time() * 1000),
                    list(batch),
                )
            ]
        )
        assert isinstance(applied, Applied)
        self.offset += len(batch)

    async def new_user(self, name: str = "Ann") -> int:
        """A user who is in no cache."""
        number: int = await self.database.fetchval(
            "INSERT INTO users (email, name, password_hash) VALUES ($1, $2, 'x') RETURNING id",
            f"{name}@example.org",
            name,
        )
        return number

    async def rename(self, number: int, name: str) -> tuple[int, int]:
        """Change a user's name; its event is not applied."""
        return await self.change("UPDATE users SET name = $2 WHERE id = $1", number, name)

    async def apply_user(self, number: int, place: tuple[int, int]) -> None:
        """Apply the event of a change of a user."""
        users = self.catalog.table("users")
        await self.apply(await self.row_effect(users, f"user:{number}", place, str(number)))

    @asynccontextmanager
    async def opened(self, *, timing: Timing | None = None, **reader: Any) -> AsyncIterator[Opened]:
        """A cache of its own, as another process has it."""
        registry = CollectorRegistry()
        settings = self.settings.model_copy(update={"reader": self.settings.reader.model_copy(update=reader)})
        async with freshline.open(settings, self.catalog, registry=registry, timing=timing) as cache:
            yield Opened(cache, registry)


@asynccontextmanager
async def open_ground(postgres: PostgresSettings, valkey: str) -> AsyncIterator[Ground]:
    """A migrated database, and an epoch in Redis whose heart beats."""
    arguments = postgres.connect_arguments()
    await migrate(arguments)
    await prepare_database(postgres, VOICEASSIST)
    settings = Settings(
        namespace=f"t{uuid.uuid4().hex[:12]}",
        postgres=postgres,
        redis=RedisSettings(url=valkey),
        # What is slow because the machine has much to do is not away.
        reader=ReaderSettings(redis_timeout_s=TIMEOUT_S),
    )
    database = await asyncpg.connect(**arguments)
    redis = Redis.from_url(valkey)
    try:
        async with redis, open_pool(arguments, application="test", max_size=2) as pool:
            ground = Ground(settings, redis, Coherence(redis, settings.namespace), database, RowSource(pool, arguments))
            await ground.begin_epoch()
            ground.beats.set()
            beating = asyncio.create_task(ground.beat_until_cancelled())
            try:
                yield ground
            finally:
                beating.cancel()
    finally:
        await database.close()
