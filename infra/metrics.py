"""Every metric that is counted, defined once; what a watcher finds of lag stands in ``freshline/lag/metrics.py``.

The guide's names are kept where it has them.

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


class StreamMetrics:
    """What the coalescing of document edits counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them; once for each registry."""
        self.events = Counter(
            "freshline_stream_events_total",
            "Events read, by outcome: taken, repeated, unreadable, or why they were passed over",
            ["topic", "outcome"],
            registry=registry,
        )
        self.refreshes = Counter(
            "freshline_refreshes_total",
            "Records sent to the semantic index, by why: quiet, unrest, delete, truncate, gap",
            ["why"],
            registry=registry,
        )
        self.pending = Gauge("freshline_pending_documents", "Documents with changes that wait", registry=registry)
        self.pending_time = Histogram(
            "freshline_pending_seconds",
            "From a document's first change that waited to its acknowledged record",
            buckets=_FRESHNESS_BUCKETS,
            registry=registry,
        )
        self.sought_again = Counter(
            "freshline_stream_sought_again_total",
            "Times that records were dropped on their way through Faust and fetched again",
            ["topic"],
            registry=registry,
        )


_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class SemanticMetrics:
    """What the refresh of the semantic index counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them; once for each registry."""
        self.documents = Counter(
            "freshline_index_documents_total",
            "Documents refreshed, by outcome: written, followed_already, unchanged, repaired",
            ["outcome"],
            registry=registry,
        )
        self.passages = Counter(
            "freshline_index_passages_total",
            "Passages written, by where their vector came from: embedded, reused",
            ["vector"],
            registry=registry,
        )
        self.swept = Counter(
            "freshline_index_swept_passages_total",
            "Passages removed that lay beyond their document's head",
            registry=registry,
        )
        self.age = Histogram(
            "freshline_index_refresh_age_seconds",
            "From a document's commit to its passages being searchable",
            buckets=_FRESHNESS_BUCKETS,
            registry=registry,
        )
        self.batch = Histogram(
            "freshline_index_embedding_batch_passages",
            "Passages embedded together",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.embedding = Counter(
            "freshline_index_embedding_seconds_total", "Time spent embedding passages", registry=registry
        )
        self.scanned = Gauge(
            "freshline_index_scanned_documents",
            "Documents compared with the database so far, by generation and table",
            ["generation", "table"],
            registry=registry,
        )


class AnswerMetrics:
    """What the cache of answers counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them; once for each registry."""
        self.answers = Counter(
            "freshline_answers_total",
            "Questions answered, by how: same, similar, produced",
            ["how"],
            registry=registry,
        )
        self.refused = Counter(
            "freshline_answers_refused_total",
            "Answers of similar questions that were not given, by why: a reason of the guard or of what was learned",
            ["reason"],
            registry=registry,
        )
        self.stale = Counter(
            "freshline_answers_stale_total", "Cached answers whose sources had changed", registry=registry
        )
        self.fills = Counter(
            "freshline_answer_fills_total",
            "Produced answers, by what became of them: stored, changed, pending, unknown_sources, too_large, lost …",
            ["outcome"],
            registry=registry,
        )
        self.evicted = Counter(
            "freshline_answers_evicted_total", "Answers that made room for others", registry=registry
        )
        self.reports = Counter(
            "freshline_answer_reports_total",
            "Reports of users, by verdict: right, wrong",
            ["verdict"],
            registry=registry,
        )
        self.hit_seconds = Histogram(
            "freshline_answer_hit_seconds",
            "How long a question took that was answered from the cache",
            ["how"],
            buckets=_FRESHNESS_BUCKETS,
            registry=registry,
        )
        self.produce_seconds = Histogram(
            "freshline_answer_produce_seconds",
            "How long producing an answer took",
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=registry,
        )
        self.qdrant_away = Gauge(
            "freshline_reader_qdrant_away",
            "Whether questions go past Qdrant since it does not answer",
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
