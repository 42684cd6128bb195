"""Puts the search together from settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec
from qdrant_client import AsyncQdrantClient

from freshline.semantic.active import ActiveIndex
from freshline.semantic.search import Searcher
from infra.postgres.full_text import FullText
from infra.postgres.pool import open_pool
from infra.qdrant.client import open_qdrant
from infra.qdrant.generations import Generations
from infra.settings import Settings
from schemas.catalog import Catalog

# How long a search waits for Postgres before it goes by meaning alone.
_FULL_TEXT_TIMEOUT_S: Final = 0.5
_CONNECTIONS: Final = 4


class Reading(msgspec.Struct, frozen=True):
    """What the index is read with: the client of Qdrant, the generation that is active, and the search."""

    client: AsyncQdrantClient
    index: ActiveIndex
    search: Searcher


@asynccontextmanager
async def open_search(settings: Settings, catalog: Catalog) -> AsyncIterator[Searcher]:
    """A search, as `open_reading` has it."""
    async with open_reading(settings, catalog) as reading:
        yield reading.search


@asynccontextmanager
async def open_reading(settings: Settings, catalog: Catalog) -> AsyncIterator[Reading]:
    """A search, with connections and a model of its own. The model is loaded meanwhile; the first search waits for it.

    Raises:
        SettingsError: Qdrant has no address, or Postgres has none where the catalog names a language.
        FolderInUseError: Qdrant is a folder that another process has open.
    """
    settings.require(["qdrant"])
    timeout_s = settings.reader.qdrant_timeout_s
    async with AsyncExitStack() as opened:
        client = await opened.enter_async_context(open_qdrant(settings.qdrant))
        generations = Generations(client, settings.namespace, settings.qdrant)
        index = await opened.enter_async_context(
            ActiveIndex(client, generations, settings.embedding, timeout_s=timeout_s)
        )
        full_text: FullText | None = None
        if any(table.index is not None and table.index.language is not None for table in catalog.indexed):
            settings.require(["postgres"])
            arguments = settings.postgres.reader_arguments()
            # Without a connection at first: Postgres may be away.
            pool = await opened.enter_async_context(
                open_pool(arguments, application="freshline search", min_size=0, max_size=_CONNECTIONS)
            )
            full_text = FullText(pool, arguments, timeout_s=_FULL_TEXT_TIMEOUT_S)
        yield Reading(client, index, Searcher(catalog, index, full_text, timeout_s=timeout_s))
