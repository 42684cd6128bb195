"""The source as metrics. What is not known has no value, never 0; a connector that is not known says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from freshline.lag.source import ConnectorNow, ConnectorState, SlotNow, SlotStatus, SourceReport


class SourceMetrics(Collector):
    """What is exported of the source. It tells the newest report whenever it is asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register; once for each registry."""
        self._report = SourceReport()
        registry.register(self)

    def tell(self, report: SourceReport) -> None:
        """From now on this is the newest."""
        self._report = report

    def collect(self) -> Iterable[Metric]:
        """The newest report as metrics."""
        report = self._report
        freshness = GaugeMetricFamily(
            "freshline_source_freshness_seconds",
            "Since the database's commit of the newest heartbeat that has come through the log",
        )
        if report.freshness_s is not None:
            freshness.add_metric((), report.freshness_s)
        yield freshness
        yield _of_connector(report.connector)
        yield from _of_slot(report.slot)


def _of_connector(connector: ConnectorNow | None) -> Metric:
    gauge = GaugeMetricFamily(
        "freshline_connector_state",
        "1 for the state of a connector (without a task) or of one of its tasks",
        labels=("connector", "task", "state"),
    )
    if connector is not None:
        for task, state in (("", connector.state), *((str(task), state) for task, state in connector.tasks.items())):
            for each in get_args(ConnectorState):
                gauge.add_metric((connector.name, task, each), float(state == each))
    return gauge


def _of_slot(slot: SlotNow | None) -> Iterator[Metric]:
    active = GaugeMetricFamily("freshline_slot_active", "Whether somebody reads a slot", labels=("slot",))
    held = GaugeMetricFamily(
        "freshline_slot_held_wal_bytes", "The database's log that a slot holds back", labels=("slot",)
    )
    status = GaugeMetricFamily(
        "freshline_slot_status", "1 for what becomes of the log that a slot holds back", labels=("slot", "status")
    )
    if slot is not None and slot.active is not None:
        active.add_metric((slot.name,), float(slot.active))
    if slot is not None and slot.held_wal_bytes is not None:
        held.add_metric((slot.name,), slot.held_wal_bytes)
    if slot is not None and slot.status is not None:
        for each in get_args(SlotStatus):
            status.add_metric((slot.name, each), float(slot.status == each))
    yield from (active, held, status)
