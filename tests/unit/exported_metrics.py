"""Which metrics there are, by their classes, and which of them an expression of Prometheus asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, NamedTuple, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from freshline.lag.demand import Demand, Reason
from freshline.lag.metrics import LagMetrics
from freshline.lag.report import GroupLag, PartitionLag
from freshline.lag.source import ConnectorNow, ConnectorState, SlotNow, SlotStatus, SourceReport
from freshline.lag.source_metrics import SourceMetrics
from freshline.lag.status import Status
from infra.metrics import AnswerMetrics, ReaderMetrics, SemanticMetrics, StreamMetrics, WorkerMetrics

# What kube-state-metrics and Prometheus itself export.
OF_OTHERS: Final[Mapping[str, frozenset[str]]] = {
    "kube_horizontalpodautoscaler_status_desired_replicas": frozenset({"horizontalpodautoscaler"}),
    "kube_horizontalpodautoscaler_spec_max_replicas": frozenset({"horizontalpodautoscaler"}),
    "kube_pod_container_status_restarts_total": frozenset({"container"}),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
}
# What Prometheus adds to whatever it scrapes.
OF_TARGETS: Final = frozenset({"namespace", "pod", "job"})
# Values of labels that are words of ours.
WORDS: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("freshline_group_status", "status"): frozenset(get_args(Status)),
    ("freshline_demand_replicas", "reason"): frozenset(get_args(Reason)),
    ("freshline_connector_state", "state"): frozenset(get_args(ConnectorState)),
    ("freshline_slot_status", "status"): frozenset(get_args(SlotStatus)),
    ("freshline_lag_rounds_total", "outcome"): frozenset({"done", "unknown"}),
    ("cache_hits_total", "tier"): frozenset({"l1", "l2", "database"}),
    ("freshline_answers_total", "how"): frozenset({"same", "similar", "produced"}),
}

_KINDS: Final = (AnswerMetrics, ReaderMetrics, SemanticMetrics, StreamMetrics, WorkerMetrics)
_ENDINGS: Final[Mapping[str | None, tuple[str, ...]]] = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
_STRING: Final = re.compile(r'"[^"]*"')
_SELECTOR: Final = re.compile(r"\b((?:freshline|cache|http|kube)_\w+|ALERTS)(?:\{([^}]*)\})?")
_MATCHER: Final = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_LABELS: Final = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")


class Selected(NamedTuple):
    """One metric in an expression, and the labels by which its series are chosen, with the values they are held to."""

    metric: str
    labels: Mapping[str, str]


@cache
def exported() -> dict[str, frozenset[str]]:
    """Each metric as Prometheus stores it, with its labels."""
    registry = CollectorRegistry()
    for kind in _KINDS:
        kind(registry)
    lag = LagMetrics(registry)
    partition = PartitionLag("topic", 0, "ok", messages=0, seconds=0.0, arrival_per_s=0.0, service_per_s=0.0)
    lag.report = [GroupLag("group", [partition], members=1, demand=Demand(1, "load"))]
    source = SourceMetrics(registry)
    slot = SlotNow("slot", active=True, held_wal_bytes=0, status="reserved")
    source.tell(SourceReport(0.0, ConnectorNow("connector", "running", {0: "running"}), slot))
    found = dict(OF_OTHERS)
    for sample in (s for each in (lag, source) for metric in each.collect() for s in metric.samples):
        found[sample.name] = frozenset(sample.labels)
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            labels = frozenset(collector._labelnames)
            for ending in _ENDINGS[collector._type]:
                found[collector._name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    return found


def selected(expression: str) -> Iterator[Selected]:
    """The metrics of an expression."""
    for name, matchers in _SELECTOR.findall(expression):
        yield Selected(name, {label: value for label, _, value in _MATCHER.findall(matchers)})


def grouped_by(expression: str) -> set[str]:
    """The labels by which an expression puts series together."""
    named = ",".join(_LABELS.findall(_STRING.sub("", expression)))
    return {label.strip() for label in named.split(",") if label.strip()}


def faults(expression: str, shown: frozenset[str] = frozenset()) -> list[str]:
    """What is asked for and does not exist. ``shown`` are labels that a text beside the expression names."""
    metrics = exported()
    found: list[str] = []
    known: set[str] = set(OF_TARGETS) | set(re.findall(r'label_replace\(.*?, "(\w+)"', expression))
    for metric, labels in selected(expression):
        if metric not in metrics:
            found.append(f"no metric {metric}")
            continue
        known |= metrics[metric]
        found.extend(f"no label {label} of {metric}" for label in set(labels) - metrics[metric] - OF_TARGETS)
        for label, value in labels.items():
            words = WORDS.get((metric, label))
            if words is not None and not set(value.split("|")) <= words:
                found.append(f"{label} of {metric} is never {value}")
    if not found and not list(selected(expression)):
        found.append("no metric at all")
    return found + [f"no label {label}" for label in (grouped_by(expression) | shown) - known]
