"""The process that watches lag: round after round, until it is stopped. Several may run; each knows the same.

    round ▸ report ▸ metrics ▸ (Prometheus ▸ adapter ▸ HPA) ▸ replicas

It looks at the source, too, beside the rounds. It changes nothing anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from fnmatch import fnmatchcase

from freshline.lag.metrics import LagMetrics
from freshline.lag.source_watch import SourceWatch, open_source_watch
from freshline.lag.watch import LagWatch, Watched
from freshline.roles import COALESCING, SEMANTIC_REFRESH, SINKS
from infra.cancellation import cancel
from infra.kafka.observer import open_observer
from infra.logs import logger
from infra.progress import Progress
from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.errors import SettingsError, StoreUnavailableError

_log = logger("lag")


def watched(settings: Settings, catalog: Catalog, names: Sequence[str] | None = None) -> Watched:
    """What is watched by these settings: the groups of our roles, and whatever else they name.

    Args:
        settings: all of them.
        catalog: says what our roles read.
        names: of the groups that are watched instead, with ``*`` for any characters.

    Raises:
        SettingsError: they name a role that there is not.
    """
    lag = settings.lag
    topics = {settings.group(role): sink(catalog, settings).topics for role, sink in SINKS.items()}
    if not catalog.indexed:
        del topics[settings.group(SEMANTIC_REFRESH)]
    if names is not None:
        topics = {group: read for group, read in topics.items() if any(fnmatchcase(group, name) for name in names)}
    if strangers := lag.demand_of.keys() - SINKS.keys():
        raise SettingsError(
            f"lag.demand_of names {', '.join(sorted(strangers))}, which is no role that is scaled; these are: "
            f"{', '.join(SINKS)}",
        )
    # Coalescing does not say how long it works, and has as many replicas as it is given.
    scaled = {settings.group(role): lag.demand_of.get(role, lag.demand) for role in SINKS}
    # Faust says by its commits alone what coalescing reads.
    ours = (settings.group(COALESCING),) if catalog.indexed else ()
    patterns = (*ours, *lag.groups) if names is None else names
    return Watched(topics, tuple(patterns), scaled, lagging_s=lag.lagging_s, stalled_s=lag.stalled_s)


class LagWatching:
    """Watches until it is stopped. Made by ``open_lag_watching``."""

    def __init__(
        self, watch: LagWatch, source: SourceWatch, metrics: LagMetrics, progress: Progress, every_s: float
    ) -> None:
        """Take everything ready made and opened."""
        self._watch = watch
        self._source = source
        self._metrics = metrics
        self._progress = progress
        self._every_s = every_s
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish the round; ``run`` returns then."""
        self._stopping.set()

    async def run(self) -> None:
        """Look again and again. While Kafka does not answer, everything is unknown."""
        async with asyncio.TaskGroup() as beside:
            source = beside.create_task(self._source.run(self._metrics.source.tell))
            await self._rounds()
            await cancel(source)

    async def _rounds(self) -> None:
        while not self._stopping.is_set():
            try:
                self._metrics.report = await self._watch.round()
                self._metrics.rounds.labels("done").inc()
                self._progress.progressed()
            except StoreUnavailableError as error:
                self._metrics.report = self._watch.unknown()
                self._metrics.rounds.labels("unknown").inc()
                self._progress.waits("Kafka")
                _log.warning("store_away", error=str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._every_s)


@asynccontextmanager
async def open_watch(
    settings: Settings, catalog: Catalog, names: Sequence[str] | None = None
) -> AsyncIterator[tuple[LagWatch, SourceWatch]]:
    """A watch of what the settings say, or of the groups of these names; and one of the source.

    Raises:
        StoreUnavailableError: Kafka does not answer.
    """
    async with (
        open_observer(settings.kafka.client_arguments()) as observer,
        open_source_watch(settings, observer) as source,
    ):
        yield LagWatch(observer, watched(settings, catalog, names)), source


@asynccontextmanager
async def open_lag_watching(
    settings: Settings, catalog: Catalog, metrics: LagMetrics, progress: Progress
) -> AsyncIterator[LagWatching]:
    """Watch what the settings say.

    Raises:
        StoreUnavailableError: Kafka does not answer.
    """
    async with open_watch(settings, catalog) as (watch, source):
        yield LagWatching(watch, source, metrics, progress, settings.lag.every_s)
