"""The roles that ``freshline run`` knows, and how a worker of each is put together. The one place that wires them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from consumers.failures import hint_for
from consumers.invalidation import InvalidationSink
from consumers.letters import Letters
from consumers.positions import Positions
from consumers.semantic_refresh import SemanticRefresh
from consumers.sight import Sight
from consumers.sink import Sink
from consumers.worker import Worker
from consumers.write_through import WriteThrough
from freshline.lag.metrics import LagMetrics
from infra.cancellation import cancel
from infra.kafka.log import ChangeLog
from infra.kafka.producer import Producer
from infra.logs import logger
from infra.metrics import SemanticMetrics, StreamMetrics, WorkerMetrics
from infra.postgres.moments import Primary
from infra.postgres.pool import open_pool
from infra.progress import Progress
from infra.redis.coherence import Coherence
from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.errors import FreshlineError

_log = logger("roles")
_WATCH_EVERY_S: Final = 1.0
# Of each partition: a document takes long, and what is done when the process ends is done again.
DOCUMENTS_PER_FETCH: Final = 32


def _write_through(catalog: Catalog, settings: Settings) -> Sink:
    return WriteThrough(catalog, topic_prefix=settings.topic_prefix, group=settings.group("write-through"))


def _invalidation(catalog: Catalog, settings: Settings) -> Sink:
    return InvalidationSink(
        catalog,
        topic_prefix=settings.topic_prefix,
        requests_topic=settings.invalidate_topic,
        group=settings.group("invalidation"),
    )


def _semantic_refresh(catalog: Catalog, settings: Settings) -> Sink:
    return SemanticRefresh(catalog, refresh_topic=settings.refresh_topic, group=settings.group(SEMANTIC_REFRESH))


SEMANTIC_REFRESH: Final = "semantic-refresh"
SINKS: Final[Mapping[str, Callable[[Catalog, Settings], Sink]]] = {
    "write-through": _write_through,
    "invalidation": _invalidation,
    SEMANTIC_REFRESH: _semantic_refresh,
}
COALESCING: Final = "coalescing"
LAG: Final = "lag"
ROLES: Final = (*SINKS, COALESCING, LAG)
# What keeps entries and tags fresh, with or without an index of documents.
CACHE_ROLES: Final = ("write-through", "invalidation")
# What keeps the index fresh.
DOCUMENT_ROLES: Final = (COALESCING, SEMANTIC_REFRESH)


class StuckError(FreshlineError):
    """A worker went nowhere although there was something to do. The process ends, so that it is started anew."""


class Metrics:
    """What the workers of one process count. Each kind is registered when it is first needed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.worker = WorkerMetrics(registry)
        self._registry = registry

    @cached_property
    def semantic(self) -> SemanticMetrics:
        """Of the semantic refresh."""
        return SemanticMetrics(self._registry)

    @cached_property
    def lag(self) -> LagMetrics:
        """Of those who watch it."""
        return LagMetrics(self._registry)

    @cached_property
    def stream(self) -> StreamMetrics:
        """Of coalescing."""
        return StreamMetrics(self._registry)


class Running(Protocol):
    """A worker, of whatever kind."""

    def stop(self) -> None:
        """Finish what is under way; ``run`` returns then."""
        ...

    async def run(self) -> None:
        """Work until stopped."""
        ...


@asynccontextmanager
async def open_role(
    role: str, settings: Settings, catalog: Catalog, metrics: Metrics, progress: Progress
) -> AsyncIterator[Running]:
    """A worker of this role with everything it needs open.

    Raises:
        StoreUnavailableError: a store does not answer.
        FreshlineError: whatever else keeps it from working.
    """
    if role == COALESCING:
        # Faust comes with an extra, which whoever has no index of documents need not have.
        from streams.coalescing import open_coalescing  # noqa: PLC0415

        async with open_coalescing(settings, catalog, metrics.stream, progress) as coalescing:
            yield coalescing
    elif role == LAG:
        # It asks the roles above what they read.
        from freshline.lag.watching import open_lag_watching  # noqa: PLC0415

        async with open_lag_watching(settings, catalog, metrics.lag, progress) as watching:
            yield watching
    else:
        async with open_worker(role, settings, catalog, metrics, progress) as worker:
            yield worker


@asynccontextmanager
async def open_worker(
    role: str, settings: Settings, catalog: Catalog, metrics: Metrics, progress: Progress
) -> AsyncIterator[Worker]:
    """A worker of this role with everything it needs open.

    Raises:
        StoreUnavailableError: a store does not answer.
    """
    sink = SINKS[role](catalog, settings)
    postgres = settings.postgres.connect_arguments()
    kafka = settings.kafka.client_arguments()
    worker: Worker | None = None

    async def before_revoked() -> None:
        if worker is not None:
            await worker.flush()

    instance = f"{settings.worker.instance}-{role}" if settings.worker.instance else None
    log = ChangeLog(
        kafka,
        group=sink.group,
        topics=sink.topics,
        instance=instance,
        session_timeout_ms=round(settings.worker.session_timeout_s * 1000),
        before_revoked=before_revoked,
    )
    redis = Redis.from_url(**settings.redis.client_arguments())
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(redis)
        pool = await opened.enter_async_context(
            open_pool(postgres, application=f"freshline {role}", max_size=2, resets=False)
        )
        producer = await opened.enter_async_context(Producer(kafka))
        coherence = Coherence(redis, settings.namespace)
        primary = Primary(pool, postgres, slot=settings.postgres.slot)
        more: dict[str, Any] = {}
        if role == SEMANTIC_REFRESH:
            # With it come packages that whoever has no index of documents need not have.
            from freshline.semantic.refreshing import open_refreshing  # noqa: PLC0415

            refreshing = await opened.enter_async_context(
                open_refreshing(
                    settings,
                    catalog,
                    redis=redis,
                    pool=pool,
                    primary=primary,
                    metrics=metrics.semantic,
                    progress=progress,
                )
            )
            more = {
                "work": refreshing.refresher,
                "beside": refreshing.keeper.run,
                "records_per_fetch": DOCUMENTS_PER_FETCH,
            }
        await opened.enter_async_context(log)
        worker = Worker(
            sink=sink,
            log=log,
            coherence=coherence,
            positions=Positions(
                coherence,
                log,
                primary,
                metrics.worker,
                # It drops tags, and writes to the index under conditions of its own.
                is_repeatable=role == SEMANTIC_REFRESH,
            ),
            sight=Sight(primary, metrics.worker, progress, sink.group),
            letters=Letters(producer, topic=settings.dead_letter_topic, group=sink.group),
            metrics=metrics.worker,
            progress=progress,
            floor_ttl_ms=catalog.floor_ttl_ms,
            **more,
        )
        yield worker


class Roles:
    """The workers of one process."""

    def __init__(self, names: Sequence[str], settings: Settings, catalog: Catalog, registry: CollectorRegistry) -> None:
        """``names`` are among ``ROLES``; the metrics are registered in ``registry``."""
        self._settings = settings
        self._catalog = catalog
        self._metrics = Metrics(registry)
        self.progress = {name: Progress() for name in names}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish what is being applied, commit, leave the groups; ``run`` returns then."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            StuckError: a worker went nowhere.
            FreshlineError: whatever no waiting helps against.
        """
        working = {asyncio.create_task(self._run(name), name=name) for name in self.progress}
        watch = asyncio.create_task(self._watch())
        unfinished = working
        try:
            while unfinished:
                done, _ = await asyncio.wait({*unfinished, watch}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                unfinished = unfinished - done
        except FreshlineError as error:
            _log.error("stopped", error=str(error), hint=hint_for(error))
            raise
        finally:
            await cancel(*working, watch)

    async def _run(self, name: str) -> None:
        async with open_role(name, self._settings, self._catalog, self._metrics, self.progress[name]) as worker:
            self.progress[name].turned()
            stop = asyncio.create_task(self._stopping.wait())
            stop.add_done_callback(lambda _: worker.stop())
            try:
                await worker.run()
            finally:
                stop.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            for name, progress in self.progress.items():
                if not progress.is_alive:
                    raise StuckError(
                        f"The {name} worker made no progress although there is lag. It is to be restarted."
                    )
