"""Ground for tests of the semantic index: documents in a real Postgres, records for the refresh made by hand.

Positions are real: a record carries the place of the transaction that changed its document.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from qdrant_client import AsyncQdrantClient

from infra.embedding.embedder import Embedder
from infra.qdrant.client import open_qdrant
from infra.qdrant.generations import Generations
from infra.qdrant.passages import DocumentName, FoundPassage, PassageStore, Stored
from infra.redis.index_state import IndexState
from infra.settings import DEFAULT_MODEL, Settings
from schemas.refresh import Refresh, encode_refresh
from tests.integration.worker_ground import Ground, Place, eventually, open_ground

REFRESH = "semantic-refresh"
TABLE = "public.documents"
DOCUMENTS = """
    CREATE TABLE documents (
        id bigint PRIMARY KEY, uploaded_by bigint NOT NULL, title text NOT NULL, content text NOT NULL,
        content_type text NOT NULL DEFAULT 'text/plain', size_mb numeric(12, 3),
        created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
    )
"""


class SemanticGround:
    """A test's own documents, and the index of its own namespace."""

    def __init__(self, ground: Ground, client: AsyncQdrantClient, embedder: Embedder) -> None:
        self.ground = ground
        self.client = client
        self.embedder = embedder
        self.generations = Generations(client, ground.settings.namespace, ground.settings.qdrant)

    # Documents.

    async def write(self, number: int, content: str, *, owner: int = 1, title: str = "") -> Place:
        """Write a document, and return the place of its change."""
        connection = self.ground.connection
        async with connection.transaction():
            await connection.execute(
                """
                INSERT INTO documents (id, uploaded_by, title, content) VALUES ($1, $2, $3, $4)
                ON CONFLICT (id) DO UPDATE SET uploaded_by = $2, title = $3, content = $4
                """,
                number,
                owner,
                title,
                content,
            )
            return await self.ground.position()

    async def delete(self, number: int) -> Place:
        """Delete a document."""
        connection = self.ground.connection
        async with connection.transaction():
            await connection.execute("DELETE FROM documents WHERE id = $1", number)
            return await self.ground.position()

    async def truncate(self) -> Place:
        """Empty the table."""
        connection = self.ground.connection
        async with connection.transaction():
            await connection.execute("TRUNCATE documents")
            return await self.ground.position()

    # The log.

    async def ask(
        self, number: int | None, place: Place | None, *, tags: Sequence[str] = (), partition: int = 0
    ) -> None:
        """Put a record on the refresh's topic: of a document, or of the whole table."""
        refresh = Refresh(
            TABLE,
            None if number is None else (number,),
            lsn=0 if place is None else place.lsn,
            xid32=0 if place is None else place.xid % (1 << 32),
            tags=tuple(tags) or (("document:*", "library:*") if number is None else (f"document:{number}",)),
        )
        topic = self.ground.settings.refresh_topic
        await self.ground.producer.send(
            topic, key=refresh.record_key, value=encode_refresh(refresh), partition=partition
        )

    async def change(self, number: int, content: str, *, owner: int = 1, title: str = "") -> Place:
        """Write a document and ask for its refresh; whoever is cancelled meanwhile has done both, or neither."""
        changing = asyncio.ensure_future(self._change(number, content, owner=owner, title=title))
        try:
            return await asyncio.shield(changing)
        except asyncio.CancelledError:
            await changing
            raise

    async def _change(self, number: int, content: str, *, owner: int, title: str) -> Place:
        place = await self.write(number, content, owner=owner, title=title)
        await self.ask(number, place, tags=(f"document:{number}", f"library:{owner}"))
        return place

    async def all_followed(self) -> None:
        """Wait until everything that was asked for is applied."""
        ends = await self.ground.ends([self.ground.settings.refresh_topic])

        async def reached() -> bool:
            return (await self.ground.watermarks(REFRESH)).items() >= ends.items()

        await eventually(reached, f"watermarks reach {ends}")

    # The index.

    async def walked(self) -> None:
        """Wait until the table was compared with the index, in the present epoch.

        What follows a change meanwhile may be done twice: embedded, and its tags dropped.
        """

        async def is_done() -> bool:
            epoch = (await self.ground.state()).epoch
            walks = await IndexState(self.ground.redis, self.ground.settings.namespace).walks()
            return any(walk.is_done and walk.epoch == epoch for walk in walks.values())

        await eventually(is_done, "the walk through the table is done")

    async def store(self) -> PassageStore:
        """The store that is searched."""
        active = await self.generations.active()
        (generation,) = [each for each in await self.generations.all() if each.name == active]
        return PassageStore(self.client, generation)

    async def stored(self, number: int) -> Stored:
        """What lies there of a document."""
        name = DocumentName(TABLE, str(number))
        return (await (await self.store()).stored([name]))[name]

    async def texts(self, number: int) -> list[str]:
        """The texts that can be found of a document, in their order."""
        stored = await self.stored(number)
        return [p.text for p in stored.passages if stored.head is not None and p.place < stored.head.passages]

    async def search(self, text: str, *, tenant: int = 1, limit: int = 5) -> list[FoundPassage]:
        """Search the index."""
        look = await self.embedder.look(text)
        return await (await self.store()).nearest(look.vector.tolist(), tenant=str(tenant), limit=limit)


@asynccontextmanager
async def open_semantic_ground(settings: Settings) -> AsyncIterator[SemanticGround]:
    """Everything that the refresh needs, and no worker yet."""
    async with (
        open_ground(settings) as ground,
        open_qdrant(settings.qdrant) as client,
        Embedder(DEFAULT_MODEL, settings.embedding) as embedder,
    ):
        await ground.connection.execute(DOCUMENTS)
        semantic = SemanticGround(ground, client, embedder)
        try:
            yield semantic
        finally:
            async with asyncio.timeout(60):
                for generation in await semantic.generations.all():
                    await semantic.generations.drop(generation)
