"""Where a partition is read from when it is assigned, and what its events say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.kafka.topic_ids import UNKNOWN
from infra.settings import KafkaSettings, StreamSettings
from schemas.errors import MalformedRecordError
from schemas.refresh import Refresh
from schemas.voiceassist import DOCUMENTS, VOICEASSIST
from streams.lanes import Found, Lane, Start, start_of
from streams.pending import DELETED, TRUNCATED
from streams.reading import TableReader
from streams.security import brokers, credentials


@pytest.mark.parametrize(
    ("found", "start"),
    [
        pytest.param(Found(None, None, "a", 0, 9), Start(0, is_gap=False), id="a first start"),
        pytest.param(Found(None, None, "a", 4, 9), Start(4, is_gap=True), id="a first start after retention"),
        pytest.param(Found(5, "a", "a", 0, 9), Start(5, is_gap=False), id="on from there"),
        pytest.param(Found(9, "a", "a", 9, 9), Start(9, is_gap=False), id="all of it was read, then removed"),
        pytest.param(Found(5, "a", "a", 6, 9), Start(6, is_gap=True), id="retention overtook it"),
        pytest.param(Found(5, "a", "a", 0, 4), Start(0, is_gap=True), id="the log ends before it"),
        pytest.param(Found(5, "a", "b", 0, 9), Start(0, is_gap=True), id="another topic of the same name"),
        pytest.param(
            Found(None, "a", "b", 0, 9), Start(0, is_gap=True), id="another topic, whose offsets are forgotten"
        ),
        pytest.param(Found(None, "a", "a", 0, 9), Start(0, is_gap=False), id="forgotten offsets of a whole log"),
        pytest.param(Found(5, None, "a", 0, 9), Start(5, is_gap=True), id="the table is lost"),
        pytest.param(Found(5, "a", UNKNOWN, 0, 9), Start(5, is_gap=False), id="brokers that know no ids"),
        pytest.param(Found(5, UNKNOWN, "a", 0, 9), Start(5, is_gap=False), id="brokers that learnt ids"),
        pytest.param(Found(5, UNKNOWN, UNKNOWN, 6, 9), Start(6, is_gap=True), id="no ids, and retention"),
    ],
)
def test_where_a_partition_is_read_from(found: Found, start: Start) -> None:
    assert start_of(found) == start


def test_records_that_nobody_can_read_are_passed_over_when_those_before_them_are_read() -> None:
    lane = Lane(5)
    lane.pass_over(6)
    lane.pass_over(7)
    lane.pass_over(3)
    assert lane.next_offset == 5
    lane.read(5)
    assert lane.next_offset == 8
    lane.pass_over(8)
    assert lane.next_offset == 9


def record(op: str, **changes: Any) -> bytes:
    """An event of a document."""
    source = {"schema": "public", "table": "documents", "lsn": 5, "txId": 6, "ts_ms": 7}
    rows = {"before": None, "after": {"id": 1, "uploaded_by": 2} if op in {"c", "u", "r"} else None}
    return json.dumps({"op": op, "source": source, **rows} | changes).encode()


READER = TableReader(DOCUMENTS, VOICEASSIST)
KEY = b'{"id": 1}'
OWN = ("document:1", "library:2")
MOVED = ("document:1", "library:3", "library:2")


@pytest.mark.parametrize(
    ("value", "change", "at_once"),
    [
        (record("c"), Refresh("public.documents", (1,), 5, 6, OWN, 7, 7), None),
        (record("u", before={"id": 1, "uploaded_by": 3}), Refresh("public.documents", (1,), 5, 6, MOVED, 7, 7), None),
        (record("r"), Refresh("public.documents", (1,), 0, 0, OWN, 7, 7), None),
        (record("d", before={"id": 1, "uploaded_by": 2}), Refresh("public.documents", (1,), 5, 6, OWN, 7, 7), DELETED),
        (record("d"), Refresh("public.documents", (1,), 5, 6, ("document:1", "library:*"), 7, 7), DELETED),
        (record("t"), Refresh("public.documents", None, 5, 6, ("document:*", "library:*"), 7, 7), TRUNCATED),
    ],
    ids=["create", "update", "snapshot", "delete", "delete without an old row", "truncate"],
)  # fmt: skip
def test_what_an_event_says(value: bytes, change: Refresh, at_once: str | None) -> None:
    assert READER.read(None if at_once == TRUNCATED else KEY, value) == (change, at_once)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (KEY, None, "null_value"),
        (KEY, b"{", "not_json"),
        (None, record("u"), "missing_key"),
        (b'{"id": 9}', record("u"), "key_mismatch"),
        (KEY, record("u", source={"schema": "public", "table": "documents"}), "no_position"),
        (None, record("t", source={"schema": "public", "table": "documents", "lsn": 5}), "no_position"),
        (KEY, record("u", source={"schema": "public", "table": "elsewhere", "lsn": 5, "txId": 6}), "outside_catalog"),
        (KEY, record("u", source={"schema": "public", "table": "users", "lsn": 5, "txId": 6}), "foreign_table"),
    ],
)
def test_why_an_event_is_passed_over(key: bytes | None, value: bytes | None, reason: str) -> None:
    with pytest.raises(MalformedRecordError) as raised:
        READER.read(key, value)
    assert raised.value.reason == reason


def test_faust_reaches_kafka_as_we_do() -> None:
    plain = KafkaSettings(bootstrap_servers="one:9092, two:9093").client_arguments()
    assert [str(url) for url in brokers(plain)] == ["kafka://one:9092", "kafka://two:9093"]
    assert credentials(plain) is None
    encrypted: Any = credentials(KafkaSettings(security_protocol="SSL").client_arguments())
    assert encrypted.protocol.value == "SSL"
    for protocol in ("SASL_SSL", "SASL_PLAINTEXT"):
        secret = {"sasl_username": "me", "sasl_password": "secret", "security_protocol": protocol}
        found: Any = credentials(KafkaSettings.model_validate(secret).client_arguments())
        assert (found.protocol.value, found.mechanism.value) == (protocol, "SCRAM-SHA-512")
        assert (found.username, found.password, found.ssl_context is None) == (
            "me",
            "secret",
            protocol == "SASL_PLAINTEXT",
        )


def test_unrest_is_not_shorter_than_quiet() -> None:
    with pytest.raises(ValueError, match="unrest_ms must not be shorter"):
        StreamSettings(quiet_ms=500, unrest_ms=499)
