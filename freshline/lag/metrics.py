"""Lag and demand as Prometheus's metrics: what the last round found. What is not known has no value, never 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from freshline.lag.report import GroupLag, PartitionLag
from freshline.lag.source_metrics import SourceMetrics
from freshline.lag.status import Status

_OF_PARTITIONS: Final[Sequence[tuple[str, str, Callable[[PartitionLag], float | None]]]] = (
    ("freshline_lag_messages", "Records that a group has yet to apply", lambda lag: lag.messages),
    ("freshline_lag_seconds", "Age of the oldest record that a group has yet to apply", lambda lag: lag.seconds),
    (
        "freshline_overtaken_messages",
        "Records that retention took away unread",
        lambda lag: lag.overtaken,
    ),
    ("freshline_arrival_messages_per_second", "Records that arrive", lambda lag: lag.arrival_per_s),
    ("freshline_service_messages_per_second", "Records that a group does", lambda lag: lag.service_per_s),
)
_OF_GROUPS: Final[Sequence[tuple[str, str, Callable[[GroupLag], float | None]]]] = (
    ("freshline_group_lag_messages", "Records that a group has yet to apply, of all partitions", lambda g: g.messages),
    ("freshline_group_lag_seconds", "Age of the oldest of them", lambda g: g.seconds),
    ("freshline_group_drain_seconds", "In how long the lag is gone at this pace", lambda g: g.drain_s),
    ("freshline_group_members", "Members of a group", lambda g: g.members),
)


class LagMetrics(Collector):
    """What is exported of lag. It tells the newest report whenever it is asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register; once for each registry."""
        self.report: Sequence[GroupLag] = ()
        self.source = SourceMetrics(registry)
        self.rounds = Counter(
            "freshline_lag_rounds_total", "Rounds of looking, by outcome: done, unknown", ["outcome"], registry=registry
        )
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """The newest report as metrics."""
        report = self.report
        yield from _gauges(
            _OF_PARTITIONS,
            ("group", "topic", "partition"),
            [((g.group, p.topic, str(p.partition)), p) for g in report for p in g.partitions],
        )
        yield from _gauges(_OF_GROUPS, ("group",), [((group.group,), group) for group in report])
        status = GaugeMetricFamily("freshline_group_status", "1 for the group's status", labels=["group", "status"])
        demand = GaugeMetricFamily(
            "freshline_demand_replicas", "Replicas that a group needs, and why so many", labels=["group", "reason"]
        )
        for group in report:
            for each in get_args(Status):
                status.add_metric([group.group, each], float(group.status == each))
            if group.demand is not None:
                demand.add_metric([group.group, group.demand.reason], group.demand.replicas)
        yield from (status, demand)


def _gauges(kinds: Sequence[tuple[str, str, Callable[..., float | None]]], labels: Sequence[str],
            found: Sequence[tuple[Sequence[str], object]]) -> Iterator[Metric]:  # fmt: skip
    for name, text, value_of in kinds:
        gauge = GaugeMetricFamily(name, text, labels=labels)
        for values, each in found:
            value = value_of(each)
            if value is not None:
                gauge.add_metric(values, value)
        yield gauge
