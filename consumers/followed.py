"""The generations of the index that are kept up to date: all there are, each with the model that it was made with.

Whoever adds one waits before comparing it with the database (`SETTLED_AFTER_S`), until every worker is sure to write to
it: a worker looks again before it lets go of a document, unless it has looked a moment ago.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final, Self

from qdrant_client import AsyncQdrantClient

from infra.embedding.embedder import Embedder
from infra.logs import logger
from infra.qdrant.client import CollectionGoneError
from infra.qdrant.generations import Generation, Generations, ModelMismatchError
from infra.qdrant.passages import PassageStore
from infra.settings import EmbeddingSettings

_LOOK_AGAIN_AFTER_S: Final = 2.0
# Longer than any worker goes without looking, clocks and pauses included.
SETTLED_AFTER_S: Final = 5.0
_log = logger("followed")


class Followed:
    """What is followed. An async context manager: models are loaded when they are first needed."""

    def __init__(self, client: AsyncQdrantClient, generations: Generations, settings: EmbeddingSettings) -> None:
        """Know of no generation yet."""
        self.client = client
        self._generations = generations
        self._settings = settings
        self._stores: list[PassageStore] = []
        self._embedders: dict[str, Embedder] = {}
        self._looked_at = float("-inf")
        self._models = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Load nothing yet."""
        await self._models.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Let go of all models."""
        await self._models.aclose()

    async def stores(self) -> list[PassageStore]:
        """The stores of all generations, as of a moment ago.

        Raises:
            StoreUnavailableError: Qdrant does not answer.
        """
        if time.monotonic() - self._looked_at > _LOOK_AGAIN_AFTER_S:
            began = time.monotonic()
            known = {store.generation: store for store in self._stores}
            found = await self._generations.all()
            self._stores = [known.get(each) or PassageStore(self.client, each) for each in found]
            self._looked_at = began
        return self._stores

    @contextmanager
    def unless_gone(self, store: PassageStore) -> Iterator[None]:
        """Around calls of a store whose generation may be dropped meanwhile: then there is nothing to do for it."""
        try:
            yield
        except CollectionGoneError:
            self.forget()
            _log.info("generation_gone", generation=store.generation.name)

    def forget(self) -> None:
        """Look again next time: one was made, or is gone."""
        self._looked_at = float("-inf")

    async def embedder(self, generation: Generation) -> Embedder:
        """The model of a generation.

        Raises:
            ModelUnavailableError: it can't be had.
            ModelMismatchError: what goes by its name is another one.
        """
        embedder = await self.model(generation.model)
        if embedder.dimension != generation.dimension:
            raise ModelMismatchError(
                f"The index {generation.name} was made with {generation.model} of {generation.dimension} dimensions, "
                f"and the model of this name has {embedder.dimension} here. Make the old one available again, or run "
                "`freshline semantic reindex`."
            )
        return embedder

    async def model(self, name: str) -> Embedder:
        """The model of this name.

        Raises:
            ModelUnavailableError: it can't be had.
        """
        if name not in self._embedders:
            self._embedders[name] = await self._models.enter_async_context(Embedder(name, self._settings))
        return self._embedders[name]
