"""How the source is said to be: from heartbeats, the connector and the slot, without any of them."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry

from freshline.cli.console import wide_console
from freshline.cli.source_view import source_line
from freshline.lag.source import (
    ConnectorNow,
    SlotNow,
    SourceReport,
    connector_now,
    freshness_s,
    late_after_s,
    slot_now,
)
from freshline.lag.source_metrics import SourceMetrics
from infra.connect.client import ConnectorStatus, TaskStatus
from infra.postgres.observed import Slot
from infra.settings import Settings

NOW_MS = 1_000_000_000_000.0
SLOT = Slot("freshline", "pgoutput", "app", True, 1, 1000, 1100, 4096, "reserved", None)


def beat(**source: object) -> bytes:
    return json.dumps({"op": "u", "after": {"id": 1}, "source": source, "ts_ms": NOW_MS}).encode()


def test_freshness_is_the_time_since_the_database_committed_whatever_debezium_s_clock_says() -> None:
    assert freshness_s(beat(ts_ms=int(NOW_MS) - 2_500), NOW_MS) == 2.5
    # The database's clock is ahead of ours.
    assert freshness_s(beat(ts_ms=int(NOW_MS) + 2_500), NOW_MS) == 0


@pytest.mark.parametrize("event", [None, b"", b"{", b"null", b'{"ts_ms": 5}', beat(), beat(ts_ms="soon")])
def test_what_says_no_time_is_not_known_and_never_fresh(event: bytes | None) -> None:
    assert freshness_s(event, NOW_MS) is None


def test_the_states_are_those_of_kafka_connect_and_others_are_unknown() -> None:
    status = ConnectorStatus("RUNNING", "w", (TaskStatus(0, "FAILED", trace="a\nCaused by: b"), TaskStatus(1, "NEW")))
    found = connector_now("c", status)
    assert found == ConnectorNow("c", "running", {0: "failed", 1: "unknown"}, "b")
    assert (found.worst, found.has_failed) == ("failed", True)
    assert connector_now("c", None) == ConnectorNow("c", "absent")
    paused = connector_now("c", ConnectorStatus("PAUSED", "w", (TaskStatus(0, "PAUSED"),)))
    assert (paused.worst, paused.has_failed) == ("paused", False)
    assert connector_now("c", ConnectorStatus("RUNNING", "w", (TaskStatus(0, "RUNNING"),))).worst == "running"


def test_a_slot_that_does_not_exist_is_read_by_nobody_and_holds_nothing_that_is_known() -> None:
    assert slot_now("s", SLOT) == SlotNow("s", active=True, held_wal_bytes=4096, status="reserved")
    assert slot_now("s", None) == SlotNow("s", active=False, held_wal_bytes=None, status="absent")


def test_the_source_is_not_well_where_the_connector_failed_or_heartbeats_are_late() -> None:
    late_s = late_after_s(Settings())
    assert late_s == 35
    failed = ConnectorNow("c", "running", {0: "failed"})
    assert SourceReport(5.0, ConnectorNow("c", "running", {0: "running"}), SlotNow("s", active=True)).is_well(late_s)
    assert not SourceReport(5.0, failed).is_well(late_s)
    assert SourceReport(late_s).is_well(late_s)
    assert not SourceReport(late_s + 0.1).is_well(late_s)
    # What nobody knows is no trouble that is known: `freshline lag` is also for those who follow no database.
    assert SourceReport(None, ConnectorNow("c", "unknown"), SlotNow("s")).is_well(late_s)


def exported(report: SourceReport) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels."""
    registry = CollectorRegistry()
    SourceMetrics(registry).tell(report)
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_each_state_is_a_series_of_which_one_is_1() -> None:
    found = exported(SourceReport(connector=ConnectorNow("c", "running", {0: "failed"})))
    assert {labels: value for labels, value in found.items() if value} == {
        ("freshline_connector_state", "c", "", "running"): 1,
        ("freshline_connector_state", "c", "0", "failed"): 1,
    }
    assert found["freshline_connector_state", "c", "0", "running"] == 0
    assert len(found) == 2 * 8


def test_what_is_known_is_exported() -> None:
    found = exported(SourceReport(2.5, None, slot_now("s", SLOT)))
    assert {labels: value for labels, value in found.items() if value} == {
        ("freshline_source_freshness_seconds",): 2.5,
        ("freshline_slot_active", "s"): 1,
        ("freshline_slot_held_wal_bytes", "s"): 4096,
        ("freshline_slot_status", "s", "reserved"): 1,
    }


def test_what_is_not_known_has_no_value() -> None:
    assert exported(SourceReport()) == {}
    found = exported(SourceReport(None, ConnectorNow("c"), SlotNow("s")))
    assert {labels: value for labels, value in found.items() if value} == {
        ("freshline_connector_state", "c", "", "unknown"): 1
    }
    assert {name for name, *_ in found} == {"freshline_connector_state"}


def test_the_terminal_has_one_line_of_it_and_what_is_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(report: SourceReport) -> list[str]:
        wide_console(200).print(source_line(report, 35))
        return capsys.readouterr().out.splitlines()

    fine = SourceReport(2.04, ConnectorNow("c", "running", {0: "running"}), SlotNow("s", active=True, held_wal_bytes=0))
    assert printed(fine) == ["source: connector running, newest heartbeat 2.0 s old, slot holds 0 bytes of log"]
    failed = ConnectorNow("c", "running", {0: "failed"}, "no such publication")
    line, *hints = printed(SourceReport(99.0, failed, SlotNow("s", active=False, held_wal_bytes=5_000_000)))
    assert line == ("source: connector failed, newest heartbeat 99.0 s old, slot holds 5.0 MB of log, nobody reads it")
    assert [hint.split(":")[0] for hint in hints] == ["failed", "a heartbeat is late after 35 s"]
    assert "no such publication" in hints[0]
    unknown = printed(SourceReport(None, ConnectorNow("c"), SlotNow("s")))
    assert unknown == ["source: connector unknown, newest heartbeat ?, slot holds ? of log"]
    assert "".join(printed(SourceReport())).strip() == ""
