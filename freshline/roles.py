"""The roles that ``freshline run`` knows, and how a worker of each is put together. The one place that wires them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from consumers.failures import hint_for
from consumers.invalidation import InvalidationSink
from consumers.letters import Letters
from consumers.positions import Positions
from consumers.progress import Progress
from consumers.sight import Sight
from consumers.sink import Sink
from consumers.worker import Worker
from consumers.write_through import WriteThrough
from infra.kafka.log import ChangeLog
from infra.kafka.producer import Producer
from infra.logs import logger
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Primary
from infra.postgres.pool import open_pool
from infra.redis.coherence import Coherence
from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.errors import FreshlineError

_log = logger("roles")
_WATCH_EVERY_S: Final = 1.0


def _write_through(catalog: Catalog, settings: Settings) -> Sink:
    return WriteThrough(catalog, topic_prefix=settings.topic_prefix, group=settings.group("write-through"))


def _invalidation(catalog: Catalog, settings: Settings) -> Sink:
    return InvalidationSink(
        catalog,
        topic_prefix=settings.topic_prefix,
        requests_topic=settings.invalidate_topic,
        group=settings.group("invalidation"),
    )


SINKS: Final[Mapping[str, Callable[[Catalog, Settings], Sink]]] = {
    "write-through": _write_through,
    "invalidation": _invalidation,
}


class StuckError(FreshlineError):
    """A worker went nowhere although there was something to do. The process ends, so that it is started anew."""


@asynccontextmanager
async def open_worker(
    role: str, settings: Settings, catalog: Catalog, metrics: WorkerMetrics, progress: Progress
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
    async with (
        redis,
        open_pool(postgres, application=f"freshline {role}", max_size=2, resets=False) as pool,
        Producer(kafka) as producer,
        log,
    ):
        coherence = Coherence(redis, settings.namespace)
        primary = Primary(pool, postgres, slot=settings.postgres.slot)
        worker = Worker(
            sink=sink,
            log=log,
            coherence=coherence,
            positions=Positions(coherence, log, primary, metrics),
            sight=Sight(primary, metrics, progress, sink.group),
            letters=Letters(producer, topic=settings.dead_letter_topic, group=sink.group),
            metrics=metrics,
            progress=progress,
            floor_ttl_ms=catalog.floor_ttl_ms,
        )
        yield worker


class Roles:
    """The workers of one process."""

    def __init__(self, names: Sequence[str], settings: Settings, catalog: Catalog, registry: CollectorRegistry) -> None:
        """``names`` are among ``SINKS``; the metrics are registered in ``registry``."""
        self._settings = settings
        self._catalog = catalog
        self._metrics = WorkerMetrics(registry)
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
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run(name), name=name) for name in self.progress]
                watch = group.create_task(self._watch())
                await asyncio.wait(tasks)
                watch.cancel()
        except* FreshlineError as errors:
            # Raised in here, it would come out in a group.
            failure = next(_leaves(errors))
        if failure is not None:
            _log.error("stopped", error=str(failure), hint=hint_for(failure))
            raise failure

    async def _run(self, name: str) -> None:
        async with open_worker(name, self._settings, self._catalog, self._metrics, self.progress[name]) as worker:
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


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
