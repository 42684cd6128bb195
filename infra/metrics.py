"""Every metric that Freshline exports, defined once. The guide's names are kept where it has them.

Times are in seconds, sizes in bytes, as Prometheus's conventions have it.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector

_FRESHNESS_BUCKETS = (
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    15,
    60,
    300,
)


class WorkerMetrics:
    """What a worker counts, by group (and topic and partition where it says so)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them; once for each registry."""
        self.records = Counter("freshline_records_total", "Records read", ["group", "topic"], registry=registry)
        self.effects = Counter(
            "freshline_effects_total",
            "What records did: written, contained, dropped_tag, uncacheable, skipped, …",
            ["group", "effect"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "freshline_dead_letters_total", "Records sent to the dead letters", ["group", "reason"], registry=registry
        )
        self.foreign_tables = Counter(
            "freshline_foreign_table_records_total",
            "Records of tables outside the catalog, which change nothing",
            ["group"],
            registry=registry,
        )
        self.freshness = Histogram(
            "freshline_freshness_seconds",
            "From a change's commit to its effect in Redis",
            ["group"],
            buckets=_FRESHNESS_BUCKETS,
            registry=registry,
        )
        self.busy = Counter(
            "freshline_busy_seconds_total",
            "Time spent on records: with the records total it gives the true service rate",
            ["group"],
            registry=registry,
        )
        self.store_away = Counter(
            "freshline_store_away_total", "Attempts that found a store away", ["group"], registry=registry
        )
        self.refused_batches = Counter(
            "freshline_refused_batches_total",
            "Batches that did not build on the stored watermark: redelivered, a zombie's, or lost in a failover",
            ["group"],
            registry=registry,
        )
        self.epochs = Counter("freshline_epochs_total", "Epochs begun", ["group", "reason"], registry=registry)
        self.offset = Gauge(
            "freshline_applied_offset", "Next offset to apply", ["group", "topic", "partition"], registry=registry
        )
        self.sight_waits = Histogram(
            "freshline_sight_wait_seconds",
            "How long batches waited until their transactions could be seen",
            ["group"],
            buckets=_FRESHNESS_BUCKETS,
            registry=registry,
        )


class Tally(Collector):
    """A count that costs a hot path no more than an addition; a counter learns of it when it is looked at."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self.count = 0
        self._told = 0
        self._counter: Counter | None = None

    def feeds(self, counter: Counter) -> None:
        """Tell the count to this counter."""
        self._counter = counter

    def collect(self) -> Iterable[Metric]:
        """Tell what was counted since the last time. It has no metric of its own."""
        new = self.count - self._told
        self._told += new
        if self._counter is not None and new:
            self._counter.inc(new)
        return ()


class ReaderMetrics:
    """What the read side counts. A tier is ``l1``, ``l2`` or ``database``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them; once for each registry."""
        # Before the counter, so that it is asked first.
        self.l1_hits = Tally()
        registry.register(self.l1_hits)
        self.hits = Counter("cache_hits_total", "Reads answered by a tier", ["tier"], registry=registry)
        self.l1_hits.feeds(self.hits.labels("l1"))
        self.misses = Counter("cache_misses_total", "Reads that a tier could not answer", ["tier"], registry=registry)
        self.fills = Counter(
            "freshline_fills_total",
            "Fills, by what became of them: stored, refused, too_large, or lost (Redis went away)",
            ["outcome"],
            registry=registry,
        )
        self.database_reads = Counter(
            "freshline_database_reads_total",
            "Reads of Postgres, by why: fill, held, too_large, unready, redis_away, bypass, shadow",
            ["reason"],
            registry=registry,
        )
        self.shadow = Counter(
            "freshline_shadow_reads_total",
            "Shadow reads, by outcome: same, late, different, miss, unchecked, error",
            ["outcome"],
            registry=registry,
        )
        self.invalidations = Counter(
            "freshline_invalidations_total",
            "Invalidations by writers, by outcome: done, redis_away",
            ["outcome"],
            registry=registry,
        )
        self.l1_items = Gauge("freshline_l1_items", "Items in the process's own memory", registry=registry)
        self.l1_cleared = Counter(
            "freshline_l1_cleared_total",
            "Times the process's own memory was emptied, by why",
            ["reason"],
            registry=registry,
        )
        self.redis_away = Gauge(
            "freshline_reader_redis_away", "Whether reads go past Redis since it does not answer", registry=registry
        )
