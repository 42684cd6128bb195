"""What becomes of records by what stood before them, of letters, and that logs never hold what records say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from consumers.letters import LEFT_OUT, Letters
from consumers.reading import RecordReader, Slice
from consumers.sink import NOTHING, Outcome, Unusable
from infra.kafka.log import UnreadableRecord
from infra.kafka.producer import RecordTooLargeError
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment
from schemas.errors import MalformedRecordError
from schemas.wal import Snapshot
from tests.unit.worker_parts import PARTITION, TOPIC, FakeProducer, FakeSink, record

ROOT = Path(__file__).resolve().parents[2]
MOMENT = Moment(Snapshot(10), 10)


class Reader:
    """Reads slices of one partition."""

    def __init__(self) -> None:
        self.reader = RecordReader(FakeSink(), WorkerMetrics(CollectorRegistry()))

    def read(self, *records: Any, start: int | None = None) -> Slice:
        """Read these; ``start`` is the watermark they build on, if not the first one's offset."""
        first = records[0].offset if start is None else start
        return self.reader.read(PARTITION, first, records, "e", MOMENT)


def kind(outcome: Outcome) -> str:
    """In a word: nothing, invalidates, change, or why it is refused."""
    if isinstance(outcome, Unusable):
        return outcome.error.reason if outcome.error else "invalidates"
    return "nothing" if outcome is NOTHING else "change"


def deletion(offset: int, key: bytes = b"k") -> Any:
    return record(offset, key=key, value=b"delete")


def tombstone(offset: int, key: bytes | None = b"k") -> Any:
    return record(offset, key=key, value=None)


@pytest.mark.parametrize(
    ("before", "key", "becomes"),
    [
        ([deletion(0)], b"k", "nothing"),
        ([deletion(0, b"other")], b"k", "null_value"),
        ([record(0)], b"k", "null_value"),
        ([deletion(0), record(1)], b"k", "null_value"),
        ([deletion(0), tombstone(1)], b"k", "null_value"),
        ([deletion(0)], None, "null_value"),
        ([], b"k", "invalidates"),
        ([], None, "null_value"),
    ],
)
def test_a_record_without_a_value_is_a_tombstone_only_right_behind_its_own_deletion(
    before: list[Any], key: bytes | None, becomes: str
) -> None:
    piece = Reader().read(*before, tombstone(len(before), key))
    assert kind(piece.outcomes[-1]) == becomes


def test_a_tombstone_is_known_across_batches_and_gaps_but_not_after_another_place() -> None:
    reader = Reader()
    reader.read(deletion(0))
    # Offset 1 is a marker of a transaction, which nobody reads.
    assert kind(reader.read(tombstone(2), start=1).outcomes[0]) == "nothing"
    reader.read(deletion(3))
    assert kind(reader.read(tombstone(9)).outcomes[0]) == "invalidates"


def test_whatever_a_sink_stumbles_over_is_the_record_s_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: Any) -> None:
        raise ZeroDivisionError("value 42")

    reader = Reader()
    monkeypatch.setattr(FakeSink, "read", stumble)
    piece = reader.read(record(0))
    ((_, error),) = piece.refused
    assert error.reason == "unreadable"
    assert "42" not in error.detail


async def test_a_letter_is_the_record_with_where_it_came_from_and_no_forged_origin() -> None:
    producer = FakeProducer()
    letters = Letters(cast("Any", producer), topic="letters", group="g")
    forged = [("freshline-topic", b"elsewhere"), ("trace", b"1")]
    await letters.send([(record(7, headers=forged), MalformedRecordError("not_json", "no"))])
    (sent,) = producer.sent
    assert (sent["topic"], sent["key"], sent["value"]) == ("letters", b"k", b"v")
    names = [name for name, _ in sent["headers"]]
    assert len(names) == len(set(names))
    facts = dict(sent["headers"])
    assert facts["freshline-topic"].decode() == TOPIC
    assert (facts["freshline-offset"], facts["freshline-reason"], facts["trace"]) == (b"7", b"not_json", b"1")


async def test_what_is_too_large_for_a_letter_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    send = FakeProducer.send

    async def refuse_large(self: FakeProducer, topic: str, **sent: Any) -> None:
        if len(sent.get("value") or b"") > 10:
            raise RecordTooLargeError
        await send(self, topic, **sent)

    monkeypatch.setattr(FakeProducer, "send", refuse_large)
    producer = FakeProducer()
    letters = Letters(cast("Any", producer), topic="letters", group="g")
    unread: Any = UnreadableRecord(TOPIC, 0, 8, 0, 0, None, None, None, -1, -1, ())
    error = MalformedRecordError("not_json", "no")
    await letters.send([(record(7, value=b"x" * 100), error), (unread, error)])
    large, unreadable = producer.sent
    assert dict(large["headers"])[LEFT_OUT] == b"101"
    assert dict(unreadable["headers"])[LEFT_OUT] == b"0"


# Names under which values of rows, keys and headers travel.
SECRETS = {"after", "before", "body", "entry", "headers", "key", "row", "value", "values", "detail", "record", "event"}


def logged(tree: ast.AST) -> Iterator[ast.expr]:
    """What is handed to a logger."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "_log"
        ):
            yield from node.args
            yield from (keyword.value for keyword in node.keywords)


@pytest.mark.parametrize("room", ["consumers", "infra", "freshline"])
def test_logs_are_never_given_what_a_record_says(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        for expression in logged(ast.parse(path.read_text())):
            names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
            names |= {node.attr for node in ast.walk(expression) if isinstance(node, ast.Attribute)}
            assert not names & (SECRETS - {"record"}), f"{path.relative_to(ROOT)}:{expression.lineno}"
            bare = isinstance(expression, ast.Name) and expression.id in SECRETS
            assert not bare, f"{path.relative_to(ROOT)}:{expression.lineno}"
