"""Ground for tests of the index without a log: tables, a Qdrant, and a refresher that is told what to follow.

Qdrant is a server of the worker's own, or a folder. Stamps are real positions of the test's own database.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry
from qdrant_client import AsyncQdrantClient
from redis.asyncio import Redis

from consumers.followed import Followed
from consumers.refresher import Refresher, Wanted
from freshline.source.database import prepare_database
from infra.metrics import SemanticMetrics
from infra.postgres.pool import open_pool
from infra.postgres.rows import RowSource
from infra.qdrant.client import open_qdrant
from infra.qdrant.generations import Generation, Generations
from infra.qdrant.passages import DocumentName, PassageStore
from infra.redis.index_state import IndexState
from infra.settings import DEFAULT_MODEL, EmbeddingSettings, PostgresSettings, QdrantSettings, RedisSettings, Settings
from schemas.catalog import Catalog, Column, Indexed, Table

NOTES = Table(
    name="notes",
    key=("id",),
    tags=("note:{id}", "notes:{owner}"),
    columns=(
        Column("id", "int8"),
        Column("owner", "int8", nullable=True),
        Column("title", "text", nullable=True),
        Column("body", "text"),
    ),
    index=Indexed(
        columns=("title", "body"), tag="note:{id}", library="notes:{owner}", tenant="owner", language="english"
    ),
)
MANUALS = Table(
    name="manuals",
    key=("code",),
    tags=("manual:{code}", "manuals"),
    columns=(Column("code", "text"), Column("body", "text")),
    index=Indexed(columns=("body",), tag="manual:{code}", library="manuals", language="english"),
)
CATALOG = Catalog((NOTES, MANUALS))
_TABLES = """
    CREATE TABLE notes (id bigint PRIMARY KEY, owner bigint, title text, body text NOT NULL);
    CREATE TABLE manuals (code text PRIMARY KEY, body text NOT NULL);
"""


class IndexGround:
    """Notes of tenants and manuals for everyone, and an index of both."""

    def __init__(
        self, settings: Settings, connection: asyncpg.Connection, client: AsyncQdrantClient, redis: Redis
    ) -> None:
        self.settings = settings
        self.redis = redis
        self.connection = connection
        self.client = client
        self.generations = Generations(client, settings.namespace, settings.qdrant)
        self.followed = Followed(client, self.generations, settings.embedding)
        self.refresher: Refresher

    @property
    def identity(self) -> str:
        """Of the log, made up: nobody asks here."""
        return "system/timeline"

    async def make(self, *, number: int = 0, active: bool = True) -> Generation:
        """Make a generation of the default model, and let it be searched."""
        dimension = (await self.followed.model(DEFAULT_MODEL)).dimension
        generation = self.generations.named(DEFAULT_MODEL, dimension, self.identity, number=number)
        await self.generations.create(generation)
        if active:
            await self.generations.activate(generation)
        self.followed.forget()
        return generation

    async def store(self) -> PassageStore:
        """The store that is searched."""
        active = await self.generations.active()
        (generation,) = [each for each in await self.generations.all() if each.name == active]
        return PassageStore(self.client, generation)

    async def position(self) -> int:
        """Where the log is."""
        await self.connection.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
        return int(await self.connection.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8"))

    async def put_note(self, number: int, body: str, *, owner: int | None = 1, title: str | None = None) -> None:
        """Write a note; the index does not follow yet."""
        await self.connection.execute(
            """
            INSERT INTO notes VALUES ($1, $2, $3, $4)
            ON CONFLICT (id) DO UPDATE SET owner = $2, title = $3, body = $4
            """,
            number,
            owner,
            title,
            body,
        )

    async def put_manual(self, code: str, body: str) -> None:
        """Write a manual; the index does not follow yet."""
        await self.connection.execute(
            "INSERT INTO manuals VALUES ($1, $2) ON CONFLICT (code) DO UPDATE SET body = $2", code, body
        )

    async def follow(self, table: Table, *keys: Any) -> int:
        """Let the index follow these rows as they are now, and return their stamp."""
        lsn = await self.position()
        wanted = [Wanted(table, table.key_texts((key,)), lsn) for key in keys]
        await (await self.refresher.refresh(wanted))()
        return lsn

    async def note(self, number: int, body: str, *, owner: int | None = 1, title: str | None = None) -> int:
        """Write a note that the index follows at once."""
        await self.put_note(number, body, owner=owner, title=title)
        return await self.follow(NOTES, number)

    async def manual(self, code: str, body: str) -> int:
        """Write a manual that the index follows at once."""
        await self.put_manual(code, body)
        return await self.follow(MANUALS, code)


def note(number: int) -> DocumentName:
    """A note's name in the index."""
    return DocumentName("public.notes", str(number))


def manual(code: str) -> DocumentName:
    """A manual's name in the index."""
    return DocumentName("public.manuals", code)


def found(documents: Sequence[Any]) -> list[DocumentName]:
    """The documents of found passages, each once, in their order."""
    return list(dict.fromkeys(each.document for each in documents))


@asynccontextmanager
async def open_index_ground(
    database: PostgresSettings, redis_url: str, qdrant: QdrantSettings, **changes: Any
) -> AsyncIterator[IndexGround]:
    """Tables of its own, a namespace of its own, and no generation yet."""
    settings = Settings(
        namespace=f"t{uuid.uuid4().hex[:12]}",
        catalog="tests.integration.index_ground:CATALOG",
        postgres=database,
        redis=RedisSettings(url=redis_url),
        qdrant=qdrant,
        embedding=EmbeddingSettings(),
        **changes,
    )
    arguments = database.connect_arguments()
    async with AsyncExitStack() as opened:
        connection = await asyncpg.connect(**arguments)
        opened.push_async_callback(connection.close)
        await connection.execute(_TABLES)
        await prepare_database(database, CATALOG)
        await connection.execute(
            "INSERT INTO freshline.slot (slot_name, created_lsn) VALUES ($1, pg_current_wal_lsn())", database.slot
        )
        client = await opened.enter_async_context(open_qdrant(qdrant))
        pool = await opened.enter_async_context(open_pool(arguments, application="test"))
        redis = await opened.enter_async_context(Redis.from_url(redis_url))
        ground = IndexGround(settings, connection, client, redis)
        await opened.enter_async_context(ground.followed)
        ground.refresher = Refresher(
            catalog=CATALOG,
            rows=RowSource(pool, arguments),
            followed=ground.followed,
            state=IndexState(redis, settings.namespace),
            metrics=SemanticMetrics(CollectorRegistry()),
        )
        try:
            yield ground
        finally:
            async with asyncio.timeout(60):
                for generation in await ground.generations.all():
                    await ground.generations.drop(generation)
