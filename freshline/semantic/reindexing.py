"""Making the index anew, beside the one that is searched: asked for here, done by the workers' keeper.

ask ▸ a generation beside ▸ every document is compared with it ▸ the alias moves ▸ the old one goes after a while
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace
from redis.asyncio import Redis

from infra.embedding.embedder import Embedder
from infra.qdrant.client import open_qdrant
from infra.qdrant.generations import Generations, NoIndexError
from infra.redis.index_state import IndexState, Rebuild
from infra.settings import EmbeddingSettings, Settings
from schemas.errors import FreshlineError

_LOOK_EVERY_S: Final = 0.25


class RebuildError(FreshlineError):
    """A rebuild of the index can't be begun or changed, or came to nothing."""


class RebuildProgress(msgspec.Struct, frozen=True):
    """How far a rebuild is.

    Attributes:
        compared: documents so far.
        total: about how many there are; 0 while nobody knows.
        is_begun: whether a worker took it up.
        is_paused: whether it waits.
    """

    compared: int
    total: int
    is_begun: bool
    is_paused: bool


class Reindexing:
    """Asks for a rebuild, changes it, and watches it. Takes everything ready made and opened."""

    def __init__(self, generations: Generations, state: IndexState, settings: EmbeddingSettings) -> None:
        """No I/O."""
        self._generations = generations
        self._state = state
        self._settings = settings

    async def ask(self, model: str | None = None) -> Rebuild:
        """Ask for a new generation, of this model or of the one that is searched now; the model is tried first.

        Raises:
            NoIndexError: there is nothing to make anew.
            RebuildError: another one is under way.
            ModelUnavailableError: the model can't be had.
            StoreUnavailableError: a store does not answer.
        """
        former = await self._state.rebuild()
        if former is not None and former.failure is None:
            raise _under_way(former)
        found = {generation.name: generation for generation in await self._generations.all()}
        active = found.get(await self._generations.active() or "")
        if active is None:
            raise NoIndexError("There is no index of documents yet. `freshline run semantic-refresh` makes it.")
        name = active.model if model is None else _absolute(model)
        async with Embedder(name, self._settings) as embedder:
            dimension = embedder.dimension
        candidates = (
            self._generations.named(name, dimension, active.identity, number=number).name for number in count()
        )
        rebuild = Rebuild(next(each for each in candidates if each not in found), name, round(time.time() * 1000))
        if not await self._state.change_rebuild(former, rebuild):
            raise _under_way(await self._state.rebuild())
        return rebuild

    async def pause(self) -> Rebuild:
        """Let it wait where it is.

        Raises:
            RebuildError: none is under way.
            StoreUnavailableError: Redis does not answer.
        """
        return await self._change(lambda rebuild: replace(rebuild, is_paused=True))

    async def resume(self) -> Rebuild:
        """Let it go on, also where it failed.

        Raises:
            RebuildError: none is under way.
            StoreUnavailableError: Redis does not answer.
        """
        return await self._change(lambda rebuild: replace(rebuild, is_paused=False, failure=None))

    async def cancel(self) -> Rebuild:
        """Call it off; the keeper drops what was made of it.

        Raises:
            RebuildError: none is under way.
            StoreUnavailableError: Redis does not answer.
        """
        return await self._change(lambda _: None)

    async def wait(self, rebuild: Rebuild, tell: Callable[[RebuildProgress], None] = lambda _: None) -> None:
        """Wait until its generation is the one that is searched; ``tell`` is called with its progress.

        Raises:
            RebuildError: it failed, or was called off.
            StoreUnavailableError: a store does not answer.
        """
        while True:
            # In this order: it is forgotten after the alias moved.
            current = await self._state.rebuild()
            active = await self._generations.active()
            if active == rebuild.generation:
                return
            if current is None or current.generation != rebuild.generation:
                raise RebuildError("The rebuild was called off. The index is searched as before.")
            if current.failure is not None:
                raise RebuildError(f"A worker can't make the index anew: {current.failure}")
            tell(await self._progress(current, active))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _progress(self, rebuild: Rebuild, active: str | None) -> RebuildProgress:
        walks = await self._state.walks()
        own = {
            name.partition("/")[2]: walk for name, walk in walks.items() if name.startswith(f"{rebuild.generation}/")
        }
        # A table whose turn has yet to come is about as large as it was for the generation before.
        before = {name.partition("/")[2]: walk for name, walk in walks.items() if name.startswith(f"{active}/")}
        total = sum(walk.total for walk in (before | own).values())
        return RebuildProgress(sum(walk.compared for walk in own.values()), total, bool(own), rebuild.is_paused)

    async def _change(self, changed: Callable[[Rebuild], Rebuild | None]) -> Rebuild:
        while True:
            rebuild = await self._state.rebuild()
            if rebuild is None:
                raise RebuildError("No rebuild of the index is under way. `freshline semantic reindex` begins one.")
            new = changed(rebuild)
            # A worker may change it at the same time.
            if await self._state.change_rebuild(rebuild, new):
                return new or rebuild


@asynccontextmanager
async def open_reindexing(settings: Settings) -> AsyncIterator[Reindexing]:
    """Open what asking for a rebuild needs.

    Raises:
        SettingsError: a server has no address.
        FolderInUseError: Qdrant is a folder that another process has open.
    """
    settings.require(["qdrant", "redis"])
    async with open_qdrant(settings.qdrant) as client, Redis.from_url(**settings.redis.client_arguments()) as redis:
        yield Reindexing(
            Generations(client, settings.namespace, settings.qdrant),
            IndexState(redis, settings.namespace),
            settings.embedding,
        )


def _under_way(rebuild: Rebuild | None) -> RebuildError:
    model = "" if rebuild is None else f" with {rebuild.model}"
    return RebuildError(
        f"A rebuild of the index{model} is under way already. `freshline semantic status` shows how far it is, and "
        "`freshline semantic reindex --cancel` calls it off."
    )


def _absolute(model: str) -> str:
    """The path of a model as workers in another folder need it; a name as it is."""
    return str(Path(model).expanduser().absolute()) if model.startswith((".", "~", os.sep)) else model
