"""Figures of a running trial, for whoever shows them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry

from freshline.lag.demand import Demand
from freshline.lag.metrics import LagMetrics
from freshline.reference.load import Load
from freshline.trial.documents import Documents
from freshline.trial.freshness import Freshness, quantile
from freshline.trial.library import LibraryFigures
from freshline.trial.workers import Workers
from freshline.verification.distance import Distance

TIERS: Final = ("l1", "l2", "database")
# Rates are of so many seconds.
_RATE_OVER_S: Final = 5.0


class Figures(msgspec.Struct, frozen=True):
    """A moment of a trial. Rates are of the last seconds, freshness of the last thousand new rows.

    Attributes:
        elapsed_s: since the load began.
        rows: rows changed and committed so far.
        rows_per_s: of them.
        reads: so far.
        reads_per_s: of them.
        events_per_s: records that the workers read, all groups together.
        p50_s: freshness: from commit to readable in Redis, half of the rows.
        p99_s: freshness: all but one in a hundred.
        hits: reads answered so far, by tier.
        lag: records not applied yet, by group; empty while the workers find their places.
        demand: how many workers each group needs, as an autoscaler would be told; empty until that is known.
        dead_letters: so far.
        away: changes and reads that found a store away, so far.
        violations: reads that were older than the write whose token they presented, so far.
        documents: what their part does now; empty where it has figures, or there is none.
        library: its figures.
    """

    elapsed_s: float
    rows: int
    rows_per_s: float
    reads: int
    reads_per_s: float
    events_per_s: float
    p50_s: float | None
    p99_s: float | None
    hits: Mapping[str, int]
    lag: Mapping[str, int]
    demand: Mapping[str, Demand]
    dead_letters: int
    away: int
    violations: int
    documents: str = ""
    library: LibraryFigures | None = None


class Watch:
    """Takes the figures. Takes everything ready made and opened."""

    def __init__(
        self,
        load: Load,
        freshness: Freshness,
        workers: Workers,
        distance: Distance,
        *,
        registry: CollectorRegistry,
        lag: LagMetrics,
        documents: Documents | None,
    ) -> None:
        """``registry`` is the reader's, ``lag`` what a watcher found."""
        self._lag = lag
        self._documents = documents
        self._load = load
        self._freshness = freshness
        self._workers = workers
        self._distance = distance
        self._registry = registry
        self._began = time.monotonic()
        self._is_ready = False
        self._history: deque[tuple[float, int, int, float]] = deque()

    async def figures(self) -> Figures:
        """The present moment.

        Raises:
            WorkersEndedError: the workers' process is gone.
            StoreUnavailableError: Kafka or Redis does not answer.
        """
        self._workers.check()
        if not self._is_ready and await self._workers.is_ready():
            self._is_ready = True
            self._freshness.begin()
        behind = await self._distance.behind(await self._distance.ends())
        events = sum((await self._workers.totals("freshline_records_total")).values())
        letters = sum((await self._workers.totals("freshline_dead_letters_total")).values())
        counts = self._load.counts
        now, rows, reads = time.monotonic(), counts.rows, counts.reads.total()
        self._history.append((now, rows, reads, events))
        while self._history[0][0] < now - _RATE_OVER_S:
            self._history.popleft()
        since, rows_then, reads_then, events_then = self._history[0]
        passed_s = max(now - since, 0.001)
        recent = self._freshness.recent()
        return Figures(
            elapsed_s=now - self._began,
            rows=rows,
            rows_per_s=(rows - rows_then) / passed_s,
            reads=reads,
            reads_per_s=(reads - reads_then) / passed_s,
            events_per_s=max(0.0, events - events_then) / passed_s,
            p50_s=quantile(recent, 0.50),
            p99_s=quantile(recent, 0.99),
            hits=hits_by_tier(self._registry),
            lag={group: sum(lag.values()) for group, lag in behind.items()} if self._is_ready else {},
            demand={
                group.group: group.demand
                for group in self._lag.report
                if group.demand is not None and group.demand.reason != "no_rate"
            },
            dead_letters=round(letters),
            away=counts.away,
            violations=len(counts.violations),
            documents="" if self._documents is None else self._documents.left_out or self._documents.doing,
            library=None if self._documents is None else self._documents.figures,
        )


def hits_by_tier(registry: CollectorRegistry) -> dict[str, int]:
    """Reads answered so far, by tier. ``registry`` is the reader's."""
    return {tier: round(registry.get_sample_value("cache_hits_total", {"tier": tier}) or 0) for tier in TIERS}
