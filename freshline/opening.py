"""Puts the read side together from settings. The one place that wires it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from freshline.cache import Cache, Mode
from freshline.guards import Breaker, DatabaseLimit
from freshline.l1 import L1
from freshline.notices import Notices
from freshline.tiers import Tiers, Timing
from infra.metrics import ReaderMetrics
from infra.postgres.moments import Primary
from infra.postgres.pool import open_pool
from infra.postgres.rows import RowSource
from infra.redis.client import open_client
from infra.redis.coherence import Coherence
from infra.settings import Settings
from schemas.catalog import Catalog


@asynccontextmanager
async def open(  # noqa: A001 - called as freshline.open
    settings: Settings,
    catalog: Catalog,
    *,
    registry: CollectorRegistry | None = None,
    timing: Timing | None = None,
) -> AsyncIterator[Cache]:
    """An open cache, with connections of its own.

    Args:
        settings: where the servers are; see ``infra.configuration.load_settings``.
        catalog: what is cached.
        registry: where its metrics go, ``prometheus_client.REGISTRY`` say; nowhere without it.
        timing: how long things take at most.

    Raises:
        SettingsError: a server has no address.
        StoreUnavailableError: Postgres does not answer. Redis may be away.
    """
    settings.require(["postgres", "redis"])
    reader = settings.reader
    metrics = ReaderMetrics(registry or CollectorRegistry())
    l1 = L1(
        items=reader.l1_items,
        ttl_s=reader.l1_ttl_s,
        on_clear=lambda reason: metrics.l1_cleared.labels(reason).inc(),
    )
    metrics.l1_items.set_function(lambda: len(l1))
    postgres = settings.postgres.reader_arguments()
    notices = Notices(l1, f"{settings.namespace}:notices")
    async with (
        open_pool(postgres, application="freshline reader", max_size=reader.database_connections) as pool,
        open_client(
            settings.redis.client_arguments(),
            timeout_s=reader.redis_timeout_s,
            connections=reader.redis_connections,
            greet=notices.greet,
        ) as redis,
    ):
        tiers = Tiers(
            l1=l1,
            coherence=Coherence(redis, settings.namespace),
            breaker=Breaker(on_change=metrics.redis_away.set),
            limit=DatabaseLimit(reader.database_limit, wait_s=reader.database_wait_s),
            rows=RowSource(pool, postgres),
            primary=Primary(pool, postgres, slot=settings.postgres.slot),
            metrics=metrics,
            timing=timing or Timing(),
        )
        cache = Cache(
            catalog,
            tiers,
            notices,
            redis,
            mode=Mode(reader.mode),
            query_limit_bytes=reader.query_limit_bytes,
        )
        async with cache:
            yield cache
