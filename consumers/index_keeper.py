"""The upkeep of the index: that there is one, that it is compared with the database where it must be, and rebuilds.

    no generation ▸ make one            a new epoch, changes lost ▸ walk through the tables, mend what differs
    a rebuild is asked for ▸ make a generation beside ▸ walk ▸ switch ▸ drop the old one after a while

Every worker runs one and the lease says whose turn it is. A walk goes on where another left it, in the same epoch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from consumers.followed import SETTLED_AFTER_S, Followed
from consumers.one_behind import OneBehind
from consumers.refresher import Refresher, Wanted, key_of
from infra.cancellation import cancel
from infra.embedding.models import ModelUnavailableError
from infra.logs import logger
from infra.metrics import SemanticMetrics
from infra.postgres.keys import KeyWalk
from infra.postgres.moments import Primary
from infra.qdrant.client import CollectionGoneError
from infra.qdrant.generations import Generation, Generations, ModelMismatchError
from infra.qdrant.passages import DocumentName, PassageStore
from infra.redis.coherence import Coherence
from infra.redis.index_state import LEASE_S, IndexState, Rebuild, Walk
from infra.settings import DEFAULT_MODEL, EmbeddingSettings
from schemas.catalog import Catalog, Table
from schemas.errors import FreshlineError, SourceChangedError, StoreUnavailableError
from schemas.passages import EVERYONE
from schemas.token import WriteToken

# Documents that are compared together: the more texts there are to sort by length, the less the model pads.
DOCUMENTS_PER_PAGE: Final = 256
_EVERY_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0
# How long a generation that is no longer searched is still followed, for readers that have yet to hear of it.
RETIRED_FOR_S: Final = 60.0
_log = logger("index_keeper")


class _Task(msgspec.Struct, frozen=True):
    """A generation to compare with the database, while this one is searched, in this epoch, for this rebuild if any."""

    generation: Generation
    searched: Generation
    epoch: str
    rebuild: Rebuild | None = None


class IndexKeeper:
    """Keeps the index of one namespace. Takes everything ready made and opened."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        generations: Generations,
        followed: Followed,
        refresher: Refresher,
        keys: KeyWalk,
        primary: Primary,
        coherence: Coherence,
        state: IndexState,
        metrics: SemanticMetrics,
        settings: EmbeddingSettings,
        retired_for_s: float = RETIRED_FOR_S,
    ) -> None:
        """Do nothing before ``open``."""
        self._catalog = catalog
        self._generations = generations
        self._followed = followed
        self._refresher = refresher
        self._keys = keys
        self._primary = primary
        self._coherence = coherence
        self._state = state
        self._metrics = metrics
        self._settings = settings
        self._retired_for_s = retired_for_s

    async def open(self) -> None:
        """See that there is an index that can be followed, and make it where there is none.

        Raises:
            ModelMismatchError: the settings name another model than the index was made with.
            ModelUnavailableError: the model can't be had.
            StoreUnavailableError: a store does not answer.
        """
        identity = await self._identity()
        found = await self._generations.all()
        models = {generation.model for generation in found}
        asked_for = self._settings.model
        if asked_for is not None and models and asked_for not in models:
            raise ModelMismatchError(
                f"The index was made with the model {', '.join(sorted(models))}, and FRESHLINE_EMBEDDING__MODEL is "
                f"{asked_for}. Take the setting back and start again; then `freshline semantic reindex --model "
                f"{asked_for}` makes an index with it beside this one."
            )
        active = await self._generations.active()
        for generation in found:
            try:
                await self._followed.embedder(generation)
            except (ModelUnavailableError, ModelMismatchError) as error:
                if generation.name == active:
                    raise
                # No reason to let go of what is searched.
                await self._abandon(generation, error)
        if active not in {generation.name for generation in found}:
            await self._make_first(asked_for or DEFAULT_MODEL, identity)

    async def run(self) -> None:
        """Keep it until cancelled. A store that is away is waited for."""
        pause_s = _EVERY_S
        try:
            while True:
                try:
                    if await self._state.hold():
                        await self._take_turn()
                    pause_s = _EVERY_S
                except (StoreUnavailableError, SourceChangedError) as error:
                    _log.warning("store_away", error=str(error))
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                except CollectionGoneError as error:
                    _log.info("generation_gone", error=str(error))
                await asyncio.sleep(pause_s)
        finally:
            with suppress(StoreUnavailableError):
                await self._state.release()

    async def _take_turn(self) -> None:
        prolonging = asyncio.create_task(self._prolong())
        try:
            await self._turn()
        finally:
            await cancel(prolonging)

    async def _prolong(self) -> None:
        """Hold the lease also while a page of long documents is embedded."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            with suppress(StoreUnavailableError):
                await self._state.hold()

    async def _turn(self) -> None:
        epoch = (await self._coherence.state()).epoch
        if not epoch:
            return
        identity = await self._identity()
        generations = await self._generations.all()
        active_name = await self._generations.active()
        active = next((each for each in generations if each.name == active_name), None)
        if active is None:
            await self._make_first(self._settings.model or DEFAULT_MODEL, identity)
            return
        if active.identity != identity:
            await self._move_to(active, identity, epoch)
            return
        rebuild = await self._state.rebuild()
        await self._drop_retired(generations, active, rebuild)
        # What is searched comes first.
        if await self._walk_all(_Task(active, active, epoch)) and rebuild is not None:
            await self._rebuild(rebuild, active, identity, epoch)

    async def _identity(self) -> str:
        """System and timeline: positions of one such pair can be compared, whatever slot they were read from."""
        return (await self._primary.identity()).rpartition("/")[0]

    # Generations.

    async def _make_first(self, model: str, identity: str) -> None:
        dimension = (await self._followed.model(model)).dimension
        generation = self._generations.named(model, dimension, identity)
        await self._make(generation)
        await self._generations.activate(generation)

    async def _make(self, generation: Generation) -> None:
        """Make an empty generation. It takes the workers a moment to follow it."""
        # One of the same name may have been lost, and what was compared with it.
        await self._state.forget(generation.name)
        await self._generations.create(generation)
        await self._state.make(generation.name, _now_ms())
        self._followed.forget()
        _log.info("generation_made", generation=generation.name, model=generation.model)

    async def _move_to(self, active: Generation, identity: str, epoch: str) -> None:
        """Go on with another log, whose positions say nothing about the stamps so far.

        After a failover of the same database the old passages are still found until the new ones are there, with the
        old ones' vectors. Those of another database must not be.
        """
        generation = self._generations.named(active.model, active.dimension, identity)
        if generation.name not in {each.name for each in await self._generations.all()}:
            await self._make(generation)
        is_same_database = active.identity.partition("/")[0] == identity.partition("/")[0]
        if is_same_database and not await self._walk_all(_Task(generation, active, epoch)):
            return
        await self._generations.activate(generation)
        await self._state.retire(active.name, _now_ms())
        _log.warning("index_moved", generation=generation.name, identity=identity)

    async def _rebuild(self, rebuild: Rebuild, active: Generation, identity: str, epoch: str) -> None:
        if rebuild.generation == active.name:
            await self._state.change_rebuild(rebuild, None)
            return
        if rebuild.is_paused or rebuild.failure is not None:
            return
        generation = next((g for g in await self._generations.all() if g.name == rebuild.generation), None)
        if generation is not None and generation.identity != identity:
            # Its stamps are of another log.
            await self._drop(generation)
            return
        if generation is None:
            await self._begin(rebuild, identity)
            return
        if not await self._walk_all(_Task(generation, active, epoch, rebuild)):
            return
        await self._generations.activate(generation)
        await self._state.retire(active.name, _now_ms())
        await self._state.change_rebuild(rebuild, None)
        _log.info("index_rebuilt", generation=generation.name, model=generation.model)

    async def _begin(self, rebuild: Rebuild, identity: str) -> None:
        try:
            dimension = (await self._followed.model(rebuild.model)).dimension
        except ModelUnavailableError as error:
            await self._fail(rebuild, error)
            return
        await self._make(Generation(rebuild.generation, rebuild.model, dimension, identity))

    async def _fail(self, rebuild: Rebuild, error: FreshlineError) -> None:
        await self._state.change_rebuild(rebuild, replace(rebuild, failure=str(error)))
        _log.error("rebuild_failed", generation=rebuild.generation, error=str(error))

    async def _abandon(self, generation: Generation, error: FreshlineError) -> None:
        """Drop a generation that is not searched and can't be followed here, and whatever was to come of it."""
        rebuild = await self._state.rebuild()
        if rebuild is not None and rebuild.generation == generation.name:
            await self._fail(rebuild, error)
        _log.warning("generation_abandoned", generation=generation.name, error=str(error))
        await self._drop(generation)

    async def _drop(self, generation: Generation) -> None:
        await self._generations.drop(generation)
        await self._state.forget(generation.name)
        self._followed.forget()
        _log.info("generation_dropped", generation=generation.name)

    async def _drop_retired(
        self, generations: Sequence[Generation], active: Generation, rebuild: Rebuild | None
    ) -> None:
        retired = await self._state.retired()
        for generation in generations:
            if generation.name == active.name or (rebuild is not None and generation.name == rebuild.generation):
                continue
            since_ms = retired.get(generation.name)
            if since_ms is None:
                # Its rebuild was called off, or whoever made it ended before the switch.
                await self._state.retire(generation.name, _now_ms())
            elif _now_ms() - since_ms > 1000 * self._retired_for_s:
                await self._drop(generation)

    # Walks.

    async def _walk_all(self, task: _Task) -> bool:
        """Compare every table with the database; False where that is not done, and is gone on with in a later turn."""
        if not await self._is_followed_by_all(task.generation):
            return False
        for table in self._catalog.indexed:
            if not await self._walk(task, table):
                return False
        # It may have been paused or called off a moment ago.
        return await self._may_go_on(task)

    async def _is_followed_by_all(self, generation: Generation) -> bool:
        made_at_ms = (await self._state.made()).get(generation.name)
        if made_at_ms is None:
            # Whoever made it ended before he could say so.
            await self._state.make(generation.name, _now_ms())
            return False
        return _now_ms() - made_at_ms >= 1000 * SETTLED_AFTER_S

    async def _walk(self, task: _Task, table: Table) -> bool:
        name = f"{task.generation.name}/{table.qualified_name}"
        walk = (await self._state.walks()).get(name)
        if walk is None or walk.epoch != task.epoch:
            former, walk = walk, Walk(task.epoch, total=await self._keys.count(table))
            if not await self._state.change_walk(name, former, walk):
                return False
        if walk.is_done:
            return True
        async with OneBehind() as writing:
            after = walk.after
            ahead: Walk | None = None
            while True:
                keys = await self._keys.page(table, after, DOCUMENTS_PER_PAGE)
                mend = await self._prepare(task, [Wanted(table, key) for key in keys]) if keys else None
                if ahead is not None:
                    # The page before is written by now: nobody need compare it again.
                    await writing.finish()
                    former, walk, ahead = walk, ahead, None
                    self._metrics.scanned.labels(task.generation.name, table.qualified_name).set(walk.compared)
                    if not await self._state.change_walk(name, former, walk) or not await self._may_go_on(task):
                        return False
                if mend is None:
                    break
                writing.start(mend())
                after, compared = keys[-1], walk.compared + len(keys)
                ahead = replace(walk, after=after, compared=compared, total=max(walk.total, compared))
        if not await self._compare_gone(task, table):
            return False
        if not await self._state.change_walk(name, walk, replace(walk, total=walk.compared, is_done=True)):
            return False
        _log.info("walked", generation=task.generation.name, table=table.qualified_name, documents=walk.compared)
        return True

    async def _compare_gone(self, task: _Task, table: Table) -> bool:
        """Mend what is left of documents that are no rows any more; False where that was left."""
        store = PassageStore(self._followed.client, task.generation)
        following: str | None = None
        while True:
            names, following = await store.documents(table.qualified_name, after=following)
            keys = [key_of(name) for name in names]
            rows = await self._keys.existing(table, keys) if keys else set()
            gone = [Wanted(table, key) for key in keys if key not in rows]
            for start in range(0, len(gone), DOCUMENTS_PER_PAGE):
                await self._compare(task, gone[start : start + DOCUMENTS_PER_PAGE])
            if not await self._may_go_on(task):
                return False
            if following is None:
                return True

    async def _compare(self, task: _Task, documents: Sequence[Wanted]) -> None:
        """Mend documents in every generation, and drop the tags of those that searches found otherwise until now."""
        await (await self._prepare(task, documents))()

    async def _prepare(self, task: _Task, documents: Sequence[Wanted]) -> Callable[[], Coroutine[Any, Any, None]]:
        """Read and embed what is to be mended; what is returned does it."""
        before = await PassageStore(self._followed.client, task.searched).heads(
            [document.name for document in documents]
        )
        write = await self._refresher.refresh(documents)

        async def mend() -> None:
            written = await write()
            tables = {document.name: document.table for document in documents}
            tags: dict[str, None] = {}
            for version in written.get(task.searched.name, ()):
                former = before.get(version.document)
                tenants = {version.tenant, former.tenant if former is not None else None}
                tags |= dict.fromkeys(_tags(tables[version.document], version.document, tenants))
            if tags:
                await self._coherence.invalidate(WriteToken(0, 0), floor_ttl_ms=1, tags=list(tags))

        return mend

    async def _may_go_on(self, task: _Task) -> bool:
        """Whether it is still our turn, of the same epoch, and nobody paused or called off what it is for."""
        if task.rebuild is not None and await self._state.rebuild() != task.rebuild:
            return False
        return await self._state.hold() and (await self._coherence.state()).epoch == task.epoch


def _tags(table: Table, name: DocumentName, tenants: Collection[str | None]) -> list[str]:
    """The tags of a document and of the libraries of these tenants."""
    assert table.index is not None  # noqa: S101 - only such tables are followed
    family = table.index.library_template.family
    known = [tenant for tenant in tenants if tenant is not None]
    libraries = [family if tenant == EVERYONE else f"{family}:{tenant}" for tenant in known]
    return [f"{table.index.tag_template.family}:{name.key}", *libraries]


def _now_ms() -> int:
    return int(time.time() * 1000)
