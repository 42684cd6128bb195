"""The order of a trial. What is shown of it, and how, is decided by whoever starts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from freshline.catalogs import load_catalog
from freshline.lag.metrics import LagMetrics
from freshline.lag.watching import open_lag_watching
from freshline.opening import open as open_cache
from freshline.reference.load import Counts, Load, Plan
from freshline.reference.queries import DERIVATIONS
from freshline.reference.reads import CachedReads
from freshline.roles import CACHE_ROLES
from freshline.source.connector import apply_connector
from freshline.source.database import prepare_database
from freshline.source.topics import apply_topics
from freshline.trial.documents import Documents
from freshline.trial.freshness import Freshness, quantile
from freshline.trial.library import LibraryOutcome
from freshline.trial.local import is_of_local_stack
from freshline.trial.watch import Figures, Watch, hits_by_tier
from freshline.trial.workers import start_workers
from freshline.verification.distance import Distance
from freshline.verification.quiet import wait_until_quiet
from freshline.verification.report import Report
from freshline.verification.verify import open_verification
from infra.cancellation import cancel
from infra.configuration import load_settings
from infra.kafka.browser import open_browser
from infra.local.progress import Progress
from infra.local.stack import LocalStack
from infra.postgres.migrate import migrate
from infra.postgres.pool import open_pool
from infra.progress import Progress as WorkerProgress
from infra.redis.coherence import Coherence
from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.errors import FreshlineError, SettingsError

QUIET_TIMEOUT_S: Final = 120.0
_FIGURES_EVERY_S: Final = 0.5
_LAG_EVERY_S: Final = 1.0
_DOCUMENTS_AT_LEAST_S: Final = 20.0


class View(Protocol):
    """What a trial is shown on."""

    def tell(self, text: str) -> None:
        """What is being done now."""
        ...

    def show(self, figures: Figures) -> None:
        """The figures of this moment."""
        ...

    def downloads(self) -> AbstractContextManager[Progress]:
        """Shows downloads during the block."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        counts: what the load did.
        hits: reads answered, by tier.
        p50_s: freshness over the whole trial, in seconds; None where no row was new.
        p99_s: likewise.
        first_event_after_s: from the start of the command to the first event of this trial applied.
        report: of the verification.
        library: what came of the documents, as their process told it; None where they were left out.
        left_out: why they were, if so.
    """

    counts: Counts
    hits: Mapping[str, int]
    p50_s: float | None
    p99_s: float | None
    first_event_after_s: float | None
    report: Report
    library: LibraryOutcome | None = None
    left_out: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether no copy is wrong and no read was too old."""
        is_library_good = self.library is None or self.library.is_good
        return not self.report.wrong and not self.counts.violations and is_library_good


class _End:
    """The end of a load: after its duration, but not before documents were edited and asked about for a while."""

    def __init__(self, duration_s: float, documents: Documents | None) -> None:
        self._at = time.monotonic() + duration_s
        self._documents = documents
        self._documents_until: float | None = None

    @property
    def is_there(self) -> bool:
        """Whether it may end now."""
        now = time.monotonic()
        if self._documents is None or self._documents.left_out is not None:
            return now >= self._at
        if self._documents_until is None:
            if not self._documents.is_at_work.is_set():
                return False
            self._documents_until = now + _DOCUMENTS_AT_LEAST_S
        return now >= max(self._at, self._documents_until)


@asynccontextmanager
async def _beside(documents: Documents | None) -> AsyncIterator[asyncio.Future[LibraryOutcome | None]]:
    """The documents' part as a task; its failure ends the block."""
    if documents is None:
        nothing: asyncio.Future[LibraryOutcome | None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        yield nothing
        return
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(documents.run())
            try:
                yield running
            finally:
                documents.finish()
                if not running.done():
                    running.cancel()
    except* FreshlineError as errors:
        raise errors.exceptions[0] from None


@asynccontextmanager
async def _watching_lag(settings: Settings, catalog: Catalog) -> AsyncIterator[LagMetrics]:
    """What a watcher of lag exports, as the one in a cluster does, looking more often."""
    metrics = LagMetrics(CollectorRegistry())
    often = settings.model_copy(update={"lag": settings.lag.model_copy(update={"every_s": _LAG_EVERY_S})})
    async with open_lag_watching(often, catalog, metrics, WorkerProgress()) as watching:
        running = asyncio.create_task(watching.run())
        try:
            yield metrics
        finally:
            await cancel(running)


class Trial:
    """One trial."""

    def __init__(self, plan: Plan, view: View, *, documents: bool, keep: bool, began_at: float) -> None:
        """Prepare; nothing is started yet.

        Args:
            plan: of the load.
            view: what it is shown on.
            documents: whether documents are edited and asked about, too.
            keep: leave the stack running at the end.
            began_at: when the command began, by the monotonic clock.
        """
        # It ends when the documents have had their time, too.
        self._plan = replace(plan, duration_s=None)
        self._duration_s = plan.duration_s
        self._with_documents = documents
        self._view = view
        self._keep = keep
        self._began_at = began_at
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the load; what follows it is still done."""
        self._stopping.set()

    async def run(self) -> Outcome:
        """The whole trial.

        Raises:
            FreshlineError: something could not be started, or ended by itself.
        """
        async with self._stack() as settings:
            catalog = load_catalog(settings.catalog)
            await self._prepare(settings, catalog)
            return await self._with_workers(settings, catalog)

    @asynccontextmanager
    async def _stack(self) -> AsyncIterator[Settings]:
        stack = LocalStack(load_settings().local)
        ran_before = all(service.state == "running" for service in await stack.status())
        self._view.tell("starting Postgres, Valkey, Qdrant, Kafka and Connect")
        try:
            with self._view.downloads() as progress:
                await LocalStack(load_settings().local, progress).start()
            settings = load_settings()
            if not is_of_local_stack(settings):
                raise SettingsError(
                    "A trial changes rows of every table as it likes, and the settings name servers of your own. Take "
                    "their addresses out of the environment and the file that FRESHLINE_CONFIG names; or drive them on "
                    "purpose, with `freshline load`."
                )
            yield settings
        finally:
            if not self._keep and not ran_before:
                self._view.tell("stopping the stack")
                await stack.stop()

    async def _prepare(self, settings: Settings, catalog: Catalog) -> None:
        self._view.tell("preparing the database")
        await migrate(settings.postgres.connect_arguments())
        await prepare_database(settings.postgres, catalog)
        self._view.tell("making the topics")
        await apply_topics(settings, catalog)
        self._view.tell("registering the connector")
        await apply_connector(settings, catalog)

    async def _with_workers(self, settings: Settings, catalog: Catalog) -> Outcome:
        self._view.tell("starting the workers")
        async with AsyncExitStack() as opened:
            workers = await opened.enter_async_context(start_workers(CACHE_ROLES, settings.local.folder.absolute()))
            registry = CollectorRegistry()
            cache = await opened.enter_async_context(open_cache(settings, catalog, registry=registry))
            arguments = settings.postgres.connect_arguments()
            pool = await opened.enter_async_context(
                open_pool(arguments, application="voiceassist", max_size=self._plan.writers + 1)
            )
            redis = await opened.enter_async_context(Redis.from_url(**settings.redis.client_arguments()))
            browser = await opened.enter_async_context(open_browser(settings.kafka.client_arguments()))
            coherence = Coherence(redis, settings.namespace)
            freshness = Freshness(redis, coherence)
            listening = asyncio.create_task(freshness.listen())
            opened.callback(listening.cancel)
            lag = await opened.enter_async_context(_watching_lag(settings, catalog))
            distance = Distance(browser, coherence, settings, catalog, CACHE_ROLES)
            await distance.open()
            load = Load(
                self._plan,
                pool,
                CachedReads(cache),
                on_commit=lambda changed: freshness.committed(changed.inserted),
            )
            documents = Documents(settings.local.folder.absolute()) if self._with_documents else None
            watch = Watch(load, freshness, workers, distance, registry=registry, lag=lag, documents=documents)
            async with _beside(documents) as library:
                await self._drive(load, watch, documents)
                if documents is not None:
                    self._view.tell("comparing the index, and asking everything once more")
                    documents.finish()
                    await library
            self._view.tell("waiting until everything is applied")
            await wait_until_quiet(settings, catalog, timeout_s=QUIET_TIMEOUT_S, tell=self._tell_waiting)
            workers.check()
            self._view.tell("comparing every copy with the database")
            async with open_verification(
                settings, catalog, derivations=DERIVATIONS, memories={"of this process": cache.l1}
            ) as verification:
                report = await verification.run()
            first_at = freshness.first_at
            return Outcome(
                counts=load.counts,
                hits=hits_by_tier(registry),
                p50_s=quantile(freshness.all, 0.50),
                p99_s=quantile(freshness.all, 0.99),
                first_event_after_s=None if first_at is None else first_at - self._began_at,
                report=report,
                library=library.result(),
                left_out=None if documents is None else documents.left_out,
            )

    async def _drive(self, load: Load, watch: Watch, documents: Documents | None) -> None:
        """Run the load until its end or until told to stop, and show it meanwhile."""
        self._view.tell("driving the reference application")
        running = asyncio.create_task(load.run())
        stop = asyncio.create_task(self._stopping.wait())
        end = None if self._duration_s is None else _End(self._duration_s, documents)
        try:
            while not running.done() and not stop.done() and not (end is not None and end.is_there):
                self._view.show(await watch.figures())
                await asyncio.wait({running, stop}, timeout=_FIGURES_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            load.stop()
            with suppress(asyncio.CancelledError):
                await running

    def _tell_waiting(self, what: str) -> None:
        self._view.tell(f"waiting for {what}")
