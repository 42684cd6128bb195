"""The generation that is searched, and its model: known beforehand, so that no search waits for them.

    the alias, every second ▸ another generation? ▸ its model, loaded in the background ▸ from now on that one

The generation before is kept up to date for a minute after the alias moved, so it is searched while a model is loading.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Self

from qdrant_client import AsyncQdrantClient

from freshline.background import Background
from infra.embedding.embedder import Embedder
from infra.embedding.models import ModelUnavailableError
from infra.logs import logger
from infra.qdrant.client import answering_within
from infra.qdrant.generations import Generation, Generations, ModelMismatchError, NoIndexError
from infra.qdrant.passages import PassageStore
from infra.settings import EmbeddingSettings
from schemas.errors import StoreUnavailableError

_EVERY_S: Final = 1.0
# Loading a model is not tried again sooner.
_AFTER_A_FAILURE_S: Final = 15.0
# How long a former model may still be in use by a search that began with it.
_FORMER_FOR_S: Final = 60.0
_log = logger("search")


class ActiveIndex:
    """The active generation. An async context manager; takes an open client, and closes the models that it loaded."""

    def __init__(
        self, client: AsyncQdrantClient, generations: Generations, settings: EmbeddingSettings, *, timeout_s: float
    ) -> None:
        """Know nothing yet; ``timeout_s`` is how long Qdrant may take to say which it is, in seconds."""
        self._client = client
        self._generations = generations
        self._settings = settings
        self._timeout_s = timeout_s
        self._current: tuple[PassageStore, Embedder] | None = None
        self._former: deque[tuple[float, Embedder]] = deque()
        self._looking = asyncio.Lock()
        self._background = Background()

    async def __aenter__(self) -> Self:
        """Begin to follow the alias. Qdrant may be away, and there may be no index yet."""
        self._background.open()
        self._background.start(self._follow())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop following it, and let go of all models."""
        await self._background.close()
        if self._current is not None:
            self._former.append((0.0, self._current[1]))
        self._current = None
        await self._close_former(all_of_them=True)

    async def current(self) -> tuple[PassageStore, Embedder]:
        """The generation to search and its model. Waits only where none was found yet.

        Raises:
            NoIndexError: there is none.
            ModelUnavailableError: its model can't be had.
            ModelMismatchError: what goes by its model's name is another one.
            StoreUnavailableError: Qdrant does not answer, and none was found before.
        """
        if self._current is None:
            async with self._looking:
                if self._current is None:
                    await self._look()
        if self._current is None:
            raise NoIndexError("There is no index of documents yet. `freshline run semantic-refresh` makes it.")
        return self._current

    async def gone(self, store: PassageStore) -> None:
        """Forget a generation that turned out to be dropped: the next one is waited for."""
        async with self._looking:
            if self._current is not None and self._current[0] is store:
                self._retire(self._current[1])
                self._current = None

    async def _follow(self) -> None:
        while True:
            pause_s = _EVERY_S
            try:
                async with self._looking:
                    await self._look()
            except StoreUnavailableError as error:
                _log.debug("index_unknown", error=str(error))
            except (ModelUnavailableError, ModelMismatchError) as error:
                _log.warning("index_unusable", error=str(error), hint="the one before it is searched while it is there")
                pause_s = _AFTER_A_FAILURE_S
            await self._close_former()
            await asyncio.sleep(pause_s)

    async def _look(self) -> None:
        """Find out which generation is active, and make it the current one."""
        async with answering_within(self._timeout_s):
            name = await self._generations.active()
            if self._current is not None and self._current[0].generation.name == name:
                return
            found = await self._generations.all() if name is not None else []
        generation = next((each for each in found if each.name == name), None)
        if generation is None:
            # Gone, or going while we look. Those who have the old one see for themselves.
            return
        embedder = await self._embedder(generation)
        former, self._current = self._current, (PassageStore(self._client, generation), embedder)
        _log.info("index_opened", generation=generation.name, model=generation.model)
        if former is not None and former[1] is not embedder:
            self._retire(former[1])

    async def _embedder(self, generation: Generation) -> Embedder:
        if self._current is not None and self._current[1].name == generation.model:
            embedder = self._current[1]
        else:
            embedder = await _loaded(Embedder(generation.model, self._settings))
        if embedder.dimension != generation.dimension:
            if self._current is None or embedder is not self._current[1]:
                await embedder.__aexit__()
            raise ModelMismatchError(
                f"The index {generation.name} was made with {generation.model} of {generation.dimension} dimensions, "
                f"and the model of this name has {embedder.dimension} here. Make the same one available here that the "
                "workers have."
            )
        return embedder

    def _retire(self, embedder: Embedder) -> None:
        self._former.append((asyncio.get_running_loop().time() + _FORMER_FOR_S, embedder))

    async def _close_former(self, *, all_of_them: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        while self._former and (all_of_them or self._former[0][0] <= now):
            await self._former.popleft()[1].__aexit__()


async def _loaded(embedder: Embedder) -> Embedder:
    try:
        return await embedder.__aenter__()
    except BaseException:
        await embedder.__aexit__()
        raise
