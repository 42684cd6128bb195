"""Bad input at the level of sinks: what each record is taken for, and that what it may have changed goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from consumers.invalidation import InvalidationSink
from consumers.reading import RecordReader, Slice, newest_positions
from consumers.sink import Change, Sink, Unusable
from consumers.write_through import WriteThrough
from infra.kafka.log import Partition
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment
from schemas.entry import unpack
from schemas.voiceassist import VOICEASSIST
from schemas.wal import Snapshot
from tests.bad_input.corpus import (
    APPLIED,
    CONTAINED,
    COUNTED,
    INVALIDATES,
    BadRecord,
    BadRequest,
    Subject,
    request_corpus,
    table_corpus,
)
from tests.bad_input.subjects import subject

MOMENT = Moment(Snapshot(1_000), 1 << 40)
PLACE = (1 << 39, 900)
NOW_MS = 1_800_000_000_000
NUMBER = 7
TABLES = ("users", "conversations", "documents", "messages")
CASES = [(table, case) for table in TABLES for case in table_corpus(subject(table, NUMBER, *PLACE, NOW_MS))]
REQUESTS = list(request_corpus(NUMBER))


def read(sink: Sink, topic: str, key: bytes | None, value: bytes | None) -> tuple[Slice, RecordReader, float]:
    """A record as the worker reads it, with whatever can't be true refused."""
    registry = CollectorRegistry()
    reader = RecordReader(sink, WorkerMetrics(registry))
    size = len(value or b"")
    record: ConsumerRecord[Any, Any] = ConsumerRecord(topic, 0, 5, NOW_MS, 0, key, value, None, 0, size, ())
    reader._last[Partition(topic, 0)] = (5, None)
    piece = reader.read(Partition(topic, 0), 5, [record], "epoch", MOMENT)
    xids, _ = newest_positions([piece])
    piece.refuse(MOMENT, frozenset(xid for xid in xids if xid >= MOMENT.snapshot.xmax))
    counted = registry.get_sample_value("freshline_foreign_table_records_total", {"group": sink.group})
    return piece, reader, counted or 0


def becomes(piece: Slice, counted: float) -> str:
    """What the record became, in the corpus's words."""
    (outcome,) = piece.outcomes
    if isinstance(outcome, Unusable):
        return outcome.error.reason if outcome.error is not None else INVALIDATES
    if counted:
        return COUNTED
    kinds = {effect[0] for effect in outcome.effects}
    return INVALIDATES if kinds == {"x"} else APPLIED


def effects_of(sink: Sink, piece: Slice) -> Sequence[tuple[Any, ...]]:
    """What is done to the copies."""
    (outcome,) = piece.outcomes
    return outcome.effects if isinstance(outcome, Change) else sink.drop(outcome, MOMENT)


def is_covered(effects: Sequence[tuple[Any, ...]], key: str, table: str) -> bool:
    """Whether an older entry of this key is no longer served afterwards."""
    found = {effect[:2] for effect in effects}
    return bool(found & {("v", key), ("x", key), ("a", key), ("t", table)})


@pytest.mark.parametrize(
    ("table", "case"), [(t, c) for t, c in CASES if t != "messages"], ids=lambda v: getattr(v, "name", v)
)
def test_write_through_refuses_what_is_no_event_and_lets_its_entry_go(table: str, case: BadRecord) -> None:
    sink = WriteThrough(VOICEASSIST, topic_prefix="va", group="g")
    piece, _, counted = read(sink, f"va.public.{table}", case.key, case.value)
    expected = APPLIED if case.write_through == CONTAINED else case.write_through
    assert becomes(piece, counted) == expected
    assert len(piece.refused) == (expected not in {APPLIED, INVALIDATES, COUNTED})
    effects = effects_of(sink, piece)
    if expected == COUNTED:
        assert not effects
    else:
        assert is_covered(effects, f"{table.removesuffix('s')}:{NUMBER}", f"public.{table}")
    for effect in effects:
        if effect[0] in {"x", "t"} and isinstance(piece.outcomes[0], Unusable):
            assert MOMENT.lsn in effect, "nothing older than now may come back"


@pytest.mark.parametrize(("table", "case"), CASES, ids=lambda v: getattr(v, "name", v))
def test_invalidation_refuses_what_is_no_event_and_drops_its_tags(table: str, case: BadRecord) -> None:
    sink = InvalidationSink(VOICEASSIST, topic_prefix="va", requests_topic="va.invalidate", group="g")
    piece, _, counted = read(sink, f"va.public.{table}", case.key, case.value)
    assert becomes(piece, counted) == case.invalidation
    effects = effects_of(sink, piece)
    assert {effect[0] for effect in effects} <= {"g", "p"}
    dropped = {tag for effect in effects for tag in ([effect[1]] if effect[0] == "g" else effect[3])}
    if case.invalidation == COUNTED:
        assert not dropped
    else:
        row = subject(table, NUMBER, *PLACE, NOW_MS).row
        for tag in VOICEASSIST.table(table).tags_of(row):
            assert dropped & {tag, f"{tag.partition(':')[0]}:*"}, tag


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda v: v.name)
def test_requests_that_cannot_be_obeyed_to_the_letter_drop_what_they_may_have_meant(request_: BadRequest) -> None:
    sink = InvalidationSink(VOICEASSIST, topic_prefix="va", requests_topic="va.invalidate", group="g")
    piece, _, _ = read(sink, "va.invalidate", request_.key, request_.value)
    expected = [] if request_.becomes == APPLIED else [request_.becomes]
    assert [error.reason for _, error in piece.refused] == expected
    found = {effect[:2] for effect in effects_of(sink, piece)}
    family = {("g", "user:*"), ("t", "public.users")}
    if request_.drops == "everything":
        everything = family | {("g", f"{name}:*") for name in ("conversation", "document", "library")}
        assert found == everything | {("t", f"public.{name}") for name in ("conversations", "documents")}
    elif request_.drops == "family":
        assert found == family
    elif request_.drops == "tag":
        assert ("g", f"user:{NUMBER}") in found
        assert ("t", "public.users") not in found
    elif request_.drops == "key":
        assert found == {("x", f"user:{NUMBER}")}
    else:
        assert not found


def test_the_corpus_has_more_than_forty_kinds_for_each_topic_and_no_name_twice() -> None:
    for table in TABLES:
        names = [case.name for name, case in CASES if name == table]
        assert len(names) == len(set(names)) > 40
    names = [request.name for request in REQUESTS]
    assert len(names) == len(set(names)) > 40


@pytest.mark.parametrize("ts_ms", [0, 10**15, NOW_MS - 301_000, NOW_MS + 301_000])
def test_a_commit_time_that_lies_far_from_now_never_creates_an_entry(
    ts_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: NOW_MS / 1000)
    sink = WriteThrough(VOICEASSIST, topic_prefix="va", group="g")
    about: Subject = subject("users", NUMBER, *PLACE, NOW_MS)
    case = next(case for case in table_corpus(about) if case.name == "committed in 1970")
    value = (case.value or b"").replace(b'"ts_ms": 0', b'"ts_ms": %d' % ts_ms)
    piece, _, _ = read(sink, "va.public.users", case.key, value)
    (effect,) = effects_of(sink, piece)
    assert effect[0] == "v"
    assert effect[5] is False


def test_an_entry_says_which_event_wrote_it() -> None:
    sink = WriteThrough(VOICEASSIST, topic_prefix="va", group="g")
    about = subject("users", NUMBER, *PLACE, NOW_MS)
    case = next(case for case in table_corpus(about) if case.name == "fields that nobody knows")
    piece, _, _ = read(sink, "va.public.users", case.key, case.value)
    (effect,) = effects_of(sink, piece)
    unpacked = unpack(bytes(effect[7])[5:])
    assert unpacked is not None
    header, _ = unpacked
    assert (header.lsn, header.xid) == PLACE
    assert (header.origin.topic, header.origin.offset) == ("va.public.users", 5)
