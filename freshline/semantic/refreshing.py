"""Puts the semantic refresh together: what its worker needs beside what every worker has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from redis.asyncio import Redis

from consumers.followed import Followed
from consumers.index_keeper import IndexKeeper
from consumers.refresher import Refresher
from infra.metrics import SemanticMetrics
from infra.postgres.keys import KeyWalk
from infra.postgres.moments import Primary
from infra.postgres.pool import Pool
from infra.postgres.rows import RowSource
from infra.progress import Progress
from infra.qdrant.client import open_qdrant
from infra.qdrant.generations import Generations
from infra.redis.coherence import Coherence
from infra.redis.index_state import IndexState
from infra.settings import Settings
from schemas.catalog import Catalog


class Refreshing(msgspec.Struct, frozen=True):
    """The work of the semantic refresh, and the upkeep that goes on beside it."""

    refresher: Refresher
    keeper: IndexKeeper


@asynccontextmanager
async def open_refreshing(
    settings: Settings,
    catalog: Catalog,
    *,
    redis: Redis,
    pool: Pool,
    primary: Primary,
    metrics: SemanticMetrics,
    progress: Progress,
) -> AsyncIterator[Refreshing]:
    """The refresh, with an index that can be followed and its model loaded.

    Raises:
        SettingsError: Qdrant has no address.
        ModelUnavailableError: the model can't be had.
        ModelMismatchError: the settings name another model than the index was made with.
        StoreUnavailableError: a store does not answer.
    """
    settings.require(["qdrant"])
    postgres = settings.postgres.connect_arguments()
    async with open_qdrant(settings.qdrant) as client:
        generations = Generations(client, settings.namespace, settings.qdrant)
        async with Followed(client, generations, settings.embedding) as followed:
            state = IndexState(redis, settings.namespace)
            refresher = Refresher(
                catalog=catalog,
                rows=RowSource(pool, postgres),
                followed=followed,
                state=state,
                metrics=metrics,
                on_progress=progress.progressed,
            )
            keeper = IndexKeeper(
                catalog=catalog,
                generations=generations,
                followed=followed,
                refresher=refresher,
                keys=KeyWalk(pool, postgres),
                primary=primary,
                coherence=Coherence(redis, settings.namespace),
                state=state,
                metrics=metrics,
                settings=settings.embedding,
            )
            await keeper.open()
            yield Refreshing(refresher, keeper)
