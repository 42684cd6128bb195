"""Malformed and hostile records: what each is, and what must become of it. Pure, so that every kind of test can use it.

A table's topic gets `table_corpus`, for a row (the *subject*) of which a copy is served; the topic of requests gets
`request_corpus`. Positions stand for real ones: the subject has a place that its database really gave out.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

# What becomes of a record that is no dead letter.
APPLIED: Final = "applied"  # it is sound, whatever stands beside
INVALIDATES: Final = "invalidates"  # it is sound and can't be cached or placed: its copies go
COUNTED: Final = "counted"  # it is of a table outside the catalog
CONTAINED: Final = "contained"  # it is sound and older than the copy

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class BadRecord:
    """A record, and what must become of it.

    Attributes:
        name: of the kind.
        write_through: the reason of the dead letter that the write-through worker sends, or one of the words above.
        invalidation: likewise, of the invalidation worker.
    """

    name: str
    key: bytes | None
    value: bytes | None
    write_through: str
    invalidation: str
    headers: Headers = ()


@dataclass(frozen=True)
class BadRequest:
    """A record on the topic of requests.

    Attributes:
        name: of the kind.
        becomes: the reason of its dead letter, or `APPLIED`.
        drops: what goes: the tag of the subject, its ``key``, its ``family``, ``everything``, or ``nothing``.
    """

    name: str
    value: bytes | None
    becomes: str
    drops: str
    key: bytes | None = None
    headers: Headers = ()


@dataclass(frozen=True)
class Subject:
    """The row that the bad records are about, and a place that the database gave to a committed transaction."""

    table: str
    row: Mapping[str, Any]
    lsn: int
    xid: int
    now_ms: int
    other_table: str
    text_column: str
    key: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", {"id": self.row["id"]})

    def event(self, op: str = "u", **changes: Any) -> dict[str, Any]:
        """A sound event of the subject, with these changes."""
        source = {
            "schema": "public",
            "table": self.table,
            "lsn": self.lsn,
            "txId": self.xid,
            "ts_ms": self.now_ms,
        }
        return {"op": op, "before": None, "after": dict(self.row), "source": source} | changes

    def sourced(self, **changes: Any) -> dict[str, Any]:
        """A sound event with these changes of its source; those that are ``...`` are left out."""
        event = self.event()
        event["source"] = {name: v for name, v in (event["source"] | changes).items() if v is not ...}
        return event

    def rowed(self, **changes: Any) -> dict[str, Any]:
        """A sound event with these changes of its row; those that are ``...`` are left out."""
        return self.event(after={name: v for name, v in (dict(self.row) | changes).items() if v is not ...})

    def without(self, name: str) -> dict[str, Any]:
        """A sound event without one of its fields."""
        return {key: value for key, value in self.event().items() if key != name}


def encoded(value: Any) -> bytes:
    """JSON as Debezium would write it, more or less."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def nested(depth: int) -> bytes:
    """Arrays within arrays."""
    return b"[" * depth + b"]" * depth


def table_corpus(subject: Subject) -> Iterator[BadRecord]:
    """Every kind for a table's topic."""
    key = encoded(subject.key)
    for name, value, reason in _bytes_of_no_event(subject):
        yield BadRecord(name, key, value, reason, reason)
    for name, event, write_through, invalidation in (
        *_events_of_no_shape(subject),
        *_events_of_other_tables(subject),
        *_rows(subject),
        *_sources(subject),
        *_sound(subject),
    ):
        value = event if isinstance(event, bytes) else encoded(event)
        yield BadRecord(name, key, value, write_through, invalidation)
    yield from _keys(subject)
    junk = [
        ("", b""),
        ("x" * 5_000, b"\xff\x00"),
        ("freshline-topic", b"forged"),
        ("freshline-offset", b"-1"),
        ("a", b""),
    ]
    yield BadRecord("junk in the headers", key, encoded(subject.event()), APPLIED, APPLIED, junk)
    old = replace(subject, lsn=subject.lsn - 1)
    yield BadRecord(
        "a bad record with forged headers", key, encoded(old.event(op="?")), "unknown_op", "unknown_op", junk
    )


def _bytes_of_no_event(subject: Subject) -> Iterator[tuple[str, bytes | None, str]]:
    sound = encoded(subject.event())
    text = f'"{subject.row[subject.text_column]}"'.encode()
    yield "a null value that follows no deletion", None, "null_value"
    yield "an empty value", b"", "not_json"
    yield "white space", b" \n\t", "not_json"
    yield "plain text", b"hello", "not_json"
    yield "JSON cut short", sound[:-7], "not_json"
    yield "trailing garbage", sound + b"}", "not_json"
    yield "two documents", sound + b"\n" + sound, "not_json"
    yield "a trailing NUL byte", sound + b"\x00", "not_json"
    yield "a byte order mark", b"\xef\xbb\xbf" + sound, "not_json"
    yield "UTF-16", sound.decode().encode("utf-16"), "not_json"
    yield "gzip", gzip.compress(sound), "not_json"
    yield "Avro with a schema id", b"\x00\x00\x00\x00\x07" + sound, "not_json"
    yield "single quotes", sound.replace(b'"', b"'"), "not_json"
    yield "a comment", b"// no\n" + sound, "not_json"
    yield "NaN", sound.replace(b'"op"', b'"x": NaN, "op"', 1), "not_json"
    yield "Infinity", sound.replace(b'"op"', b'"x": -Infinity, "op"', 1), "not_json"
    yield "a raw NUL in a text", sound.replace(text, b'"a\x00b"'), "not_json"
    yield "a lone surrogate", sound.replace(text, b'"\\ud800"'), "not_json"
    yield "deep nesting beside the row", sound.replace(b'"op"', b'"x": ' + nested(100_000) + b', "op"', 1), "too_deep"
    yield "10 MB of garbage", b"\xfe" * (10 << 20), "not_json"
    yield "null", b"null", "not_an_event"
    yield "a number", b"42", "not_an_event"
    yield "a string", b'"u"', "not_an_event"
    yield "an array", b"[" + sound + b"]", "not_an_event"
    yield "an empty object", b"{}", "not_an_event"


def _events_of_no_shape(subject: Subject) -> Iterator[tuple[str, Any, str, str]]:
    shapeless: dict[str, Any] = {
        "no operation": subject.without("op"),
        "an operation of another type": subject.event(op=7),  # type: ignore[arg-type]
        "no source": subject.without("source"),
        "a source that is an array": subject.event(source=[]),
        "a row that is an array": subject.event(after=[subject.row]),
        "a row that is a text": subject.event(after=json.dumps(dict(subject.row))),
        "an old row that is a text": subject.event(before="old"),
        "schema and payload": {"schema": {"type": "struct"}, "payload": subject.event()},
    }
    for name, event in shapeless.items():
        yield name, event, "not_an_event", "not_an_event"
    yield "an unknown operation", subject.event(op="x"), "unknown_op", "unknown_op"
    yield "a long operation", subject.event(op="u" * 100_000), "unknown_op", "unknown_op"
    for name, op, row in (
        ("a creation without a row", "c", None),
        ("an update without a row", "u", None),
        ("a deletion with a row", "d", dict(subject.row)),
        ("a truncation with a row", "t", dict(subject.row)),
    ):
        yield name, subject.event(op, after=row), "op_contradicts_row", "op_contradicts_row"
    before = dict.fromkeys(subject.row) | {"id": subject.row["id"] + 1}
    yield "a deletion of another key", subject.event("d", after=None, before=before), "key_mismatch", "key_mismatch"


def _events_of_other_tables(subject: Subject) -> Iterator[tuple[str, Any, str, str]]:
    foreign = subject.sourced(table=subject.other_table)
    yield "another table of the catalog", foreign, "foreign_table", "foreign_table"
    yield "a table outside the catalog", subject.sourced(table="invoices"), COUNTED, COUNTED
    yield "a schema outside the catalog", subject.sourced(schema="audit"), COUNTED, COUNTED
    yield "no table", subject.sourced(table=...), "unnamed_table", "unnamed_table"
    yield "no schema", subject.sourced(schema=""), "unnamed_table", "unnamed_table"
    yield "a table that is no text", subject.sourced(table=1), "not_an_event", "not_an_event"


def _rows(subject: Subject) -> Iterator[tuple[str, Any, str, str]]:
    number, text = subject.row["id"], subject.text_column
    yield "a column is missing", subject.rowed(**{text: ...}), INVALIDATES, APPLIED
    yield "no column at all", subject.event(after={}), INVALIDATES, "key_mismatch"
    yield "a text is a number", subject.rowed(**{text: 5}), "wrong_types", APPLIED
    yield "a text is an object", subject.rowed(**{text: {"a": 1}}), "wrong_types", APPLIED
    yield "a text is null where none can be", subject.rowed(**{text: None}), "wrong_types", APPLIED
    yield "invalid UTF-8", _replaced(subject, b"\xff\xfe"), "not_json", APPLIED
    yield "an encoded surrogate", _replaced(subject, b"\xed\xa0\x80"), "not_json", APPLIED
    yield "an escaped NUL", _replaced(subject, b"a\\u0000b"), "impossible_text", APPLIED
    deep = encoded(subject.event()).replace(encoded(subject.row[text]), nested(100_000))
    yield "deep nesting in the row", deep, "not_an_event", "too_deep"
    yield "10 MB in a column", subject.rowed(**{text: "x" * (10 << 20)}), INVALIDATES, APPLIED
    for name, value in (
        ("a key column that is a text", str(number)),
        ("a key column that is a float", number + 0.5),
        ("a key column that is a boolean", True),
        ("a key column that is an array", [number]),
        ("a key column that is an object", {"id": number}),
    ):
        yield name, subject.rowed(id=value), "wrong_types", "wrong_types"
    yield "a null key column", subject.rowed(id=None), "wrong_types", "key_mismatch"
    huge = encoded(subject.event()).replace(f'"id": {number}'.encode(), b'"id": 1' + b"0" * 5_000)
    yield "an integer of 5000 digits", huge, "not_an_event", "not_an_event"
    yield "an integer beyond 64 bits", subject.rowed(id=1 << 70), "key_mismatch", "key_mismatch"
    yield "the row of another key", subject.rowed(id=number + 1), "key_mismatch", "key_mismatch"


def _replaced(subject: Subject, text: bytes) -> bytes:
    row = subject.rowed(**{subject.text_column: "REPLACED"})
    return encoded(row).replace(b"REPLACED", text)


def _sources(subject: Subject) -> Iterator[tuple[str, Any, str, str]]:
    for name, changes, reason in (
        ("an LSN of the future", {"lsn": subject.lsn + (1 << 44)}, "lsn_of_the_future"),
        ("an LSN just below 2^53", {"lsn": (1 << 53) - 1}, "lsn_of_the_future"),
        ("an LSN beyond 2^53", {"lsn": 1 << 53}, "impossible_source"),
        ("an LSN beyond 2^64", {"lsn": 1 << 64}, "impossible_source"),
        ("a negative LSN", {"lsn": -1}, "impossible_source"),
        ("an LSN that is a float", {"lsn": subject.lsn + 0.5}, "not_an_event"),
        ("an LSN that is a text", {"lsn": "0/16B3748"}, "not_an_event"),
        ("an LSN that is an array", {"lsn": [subject.lsn]}, "not_an_event"),
        ("a transaction of the future", {"txId": subject.xid + 1_000_000}, "impossible_transaction"),
        ("the highest 32-bit transaction", {"txId": (1 << 32) - 1}, "impossible_transaction"),
        ("a 64-bit transaction of the future", {"txId": 1 << 40}, "impossible_transaction"),
        ("a frozen transaction of the future", {"txId": (1 << 40) + 2}, "impossible_transaction"),
        ("a transaction beyond 2^63", {"txId": 1 << 63}, "impossible_source"),
        ("a negative transaction", {"txId": -3}, "impossible_source"),
        ("a transaction that is a text", {"txId": "7"}, "not_an_event"),
        ("a commit time that is a text", {"ts_ms": "2026-01-01"}, "not_an_event"),
        ("a commit time that is null", {"ts_ms": None}, "not_an_event"),
        ("a commit time that is a float", {"ts_ms": 1.5e12}, "not_an_event"),
        ("a negative commit time", {"ts_ms": -1}, "impossible_source"),
        ("a commit time beyond 2^64", {"ts_ms": 1 << 64}, "impossible_source"),
    ):
        yield name, subject.sourced(**changes), reason, reason
    unplaced: tuple[tuple[str, dict[str, Any]], ...] = (
        ("no LSN", {"lsn": ...}),
        ("a null LSN", {"lsn": None}),
        ("an LSN of 0", {"lsn": 0}),
        ("no transaction", {"txId": ...}),
        ("neither LSN nor transaction", {"lsn": ..., "txId": ...}),
    )
    for name, missing in unplaced:
        yield name, subject.sourced(**missing), INVALIDATES, INVALIDATES


def _sound(subject: Subject) -> Iterator[tuple[str, Any, str, str]]:
    unknown = subject.rowed(surplus={"deep": [1, 2]}) | {"transaction": None, "extra": [None]}
    yield "fields that nobody knows", unknown, APPLIED, APPLIED
    sound = encoded(subject.event())
    twice = sound.replace(b'{"op"', b'{"op": "d", "after": null, "op"', 1)
    yield "fields that come twice, the last one counts", twice, APPLIED, APPLIED
    escaped = sound.replace(b'"op"', b'"\\u006fp"', 1)
    yield "escaped names of fields", escaped, APPLIED, APPLIED
    yield "white space around", b" \r\n\t" + sound + b"\n", APPLIED, APPLIED
    yield "committed in the year 33658", subject.sourced(ts_ms=10**15), APPLIED, APPLIED
    yield "committed in 1970", subject.sourced(ts_ms=0), APPLIED, APPLIED
    yield "older than the copy", subject.sourced(lsn=1), CONTAINED, APPLIED


def _keys(subject: Subject) -> Iterator[BadRecord]:
    value = encoded(subject.event())
    number = subject.row["id"]
    yield BadRecord("no key", None, value, "missing_key", "missing_key")
    for name, key in (
        ("an empty key", b""),
        ("a key that is no JSON", b"users/1"),
        ("a key that is a number", str(number).encode()),
        ("a key that is an array", encoded([number])),
        ("a key that is null", b"null"),
        ("a key without its column", b"{}"),
        ("a key that is a text", encoded({"id": str(number)})),
        ("a key that is a float", encoded({"id": number + 0.5})),
        ("a key that is a boolean", encoded({"id": True})),
        ("a key whose column is null", encoded({"id": None})),
        ("a key with trailing garbage", encoded(subject.key) + b"x"),
        ("a key with schema and payload", encoded({"schema": {}, "payload": subject.key})),
        ("a key in invalid UTF-8", b'{"id": "\xff"}'),
        ("a key nested deeply", b'{"id": ' + nested(6_000) + b"}"),
        ("a key of 5000 digits", b'{"id": 1' + b"0" * 5_000 + b"}"),
        ("a key of 1 MB", b'{"id": ' + b" " * (1 << 20) + str(number).encode() + b"}"),
    ):
        yield BadRecord(name, key, value, "bad_key", "bad_key")
    other = encoded({"id": number + 1})
    yield BadRecord("the key of another row", other, value, "key_mismatch", "key_mismatch")
    more = encoded({"id": number, "tenant": "a:*%"})
    yield BadRecord("a key with more columns", more, value, APPLIED, APPLIED)
    garbage = b"\x00garbage"
    yield BadRecord("neither key nor value to be read", garbage, garbage, "not_json", "not_json")


def placed(bad: BadRecord, subject: Subject, lsn: int, xid: int) -> BadRecord:
    """The record with another place than the subject's, where it says the subject's."""
    value = bad.value
    if value is not None:
        value = value.replace(b'"lsn": %d,' % subject.lsn, b'"lsn": %d,' % lsn)
        value = value.replace(b'"txId": %d,' % subject.xid, b'"txId": %d,' % xid)
    return replace(bad, value=value)


def request_corpus(number: int) -> Iterator[BadRequest]:
    """Every kind for the topic of requests; the subject is the user of this number."""
    sound = encoded({"pattern": f"user:{number}:*"})
    no_request, undeclared = "not_an_invalidation", "undeclared_pattern"
    for name, value in (
        ("an empty value", b""),
        ("white space", b"  "),
        ("plain text", f"user:{number}:*".encode()),
        ("JSON cut short", sound[:-2]),
        ("trailing garbage", sound + b"}"),
        ("two documents", sound + sound),
        ("a trailing NUL byte", sound + b"\x00"),
        ("a byte order mark", b"\xef\xbb\xbf" + sound),
        ("UTF-16", sound.decode().encode("utf-16")),
        ("gzip", gzip.compress(sound)),
        ("Avro with a schema id", b"\x00\x00\x00\x00\x07" + sound),
        ("NaN", b'{"pattern": NaN}'),
        ("invalid UTF-8", b'{"pattern": "user:\xff:*"}'),
        ("a lone surrogate", b'{"pattern": "user:\\ud800:*"}'),
        ("deep nesting", b'{"pattern": ' + nested(100_000) + b"}"),
        ("10 MB of garbage", b"\xfe" * (10 << 20)),
        ("null", b"null"),
        ("a number", b"42"),
        ("a string", encoded(f"user:{number}:*")),
        ("an array", b"[" + sound + b"]"),
        ("an empty object", b"{}"),
        ("two nulls", b'{"pattern": null, "key": null}'),
        ("a pattern that is a number", b'{"pattern": 42}'),
        ("a pattern that is a list", encoded({"pattern": [f"user:{number}:*"]})),
        ("a pattern that is an object", encoded({"pattern": {"user": number}})),
        ("a key that is a number", encoded({"key": number})),
        ("a key that is a boolean", b'{"key": true}'),
        ("schema and payload", encoded({"schema": {}, "payload": {"pattern": f"user:{number}:*"}})),
        ("a change event", encoded({"op": "u", "source": {}, "after": {"id": number}})),
    ):
        yield BadRequest(name, value, no_request, "everything")
    yield BadRequest("no value", None, "null_value", "everything")
    yield BadRequest("no value under a key", None, "null_value", "everything", key=b'{"id": 1}')
    yield BadRequest("a pattern of 10 MB", encoded({"pattern": "user:" + "x" * (10 << 20)}), no_request, "family")
    yield BadRequest("a key of 20 kB", encoded({"key": "user:" + "9" * 20_000}), no_request, "family")
    both = encoded({"pattern": f"user:{number}:*", "key": f"user:{number}"})
    yield BadRequest("both a pattern and a key", both, no_request, "tag")
    yield BadRequest(
        "a reason that is a number", encoded({"pattern": f"user:{number}:*", "reason": 7}), no_request, "tag"
    )
    for name, request, drops in (
        ("an empty pattern", {"pattern": ""}, "everything"),
        ("an empty key", {"key": ""}, "everything"),
        ("a star alone", {"pattern": "*"}, "everything"),
        ("a glob in the family", {"pattern": "us?r:1:*"}, "everything"),
        ("a glob in the value", {"pattern": f"user:{number}*"}, "family"),
        ("a set of values", {"pattern": "user:[0-9]:*"}, "family"),
        ("a star in the middle", {"pattern": "user:*:orders:*"}, "family"),
        ("a tag without its star", {"pattern": f"user:{number}"}, "key"),
        ("a tag with too many values", {"pattern": f"user:{number}:orders:*"}, "family"),
        ("a tag with an empty value", {"pattern": "user::*"}, "family"),
        ("a value that no row has", {"pattern": f"user:0{number}:*"}, "family"),
        ("a value out of range", {"pattern": f"user:{1 << 70}:*"}, "family"),
        ("a value of 5000 digits", {"pattern": f"user:1{'0' * 5_000}:*"}, "family"),
        ("a value with a NUL", {"pattern": "user:\x00:*"}, "family"),
        ("a value with a line break", {"pattern": f"user:{number}\n:*"}, "family"),
        ("a broken escape", {"pattern": "user:%zz:*"}, "family"),
        ("a family that nobody declares", {"pattern": "session:1:*"}, "nothing"),
        ("a family in capitals", {"pattern": f"USER:{number}:*"}, "nothing"),
        ("a key of no family", {"key": "session:1"}, "nothing"),
        ("a key with a star", {"key": "user:*"}, "family"),
        ("a key with too few values", {"key": "user"}, "family"),
        ("a key with too many values", {"key": f"user:{number}:2"}, "family"),
        ("a key that no row has", {"key": f"user:0{number}"}, "family"),
        ("a key of 5000 digits", {"key": f"user:1{'0' * 5_000}"}, "family"),
    ):
        yield BadRequest(name, encoded(request), undeclared, drops)
    more = encoded({"pattern": f"user:{number}:*", "ticket": [1, {"x": None}]})
    yield BadRequest("fields that nobody knows", more, APPLIED, "tag")
    twice = b'{"pattern": "session:1:*", ' + sound[1:]
    yield BadRequest("fields that come twice, the last one counts", twice, APPLIED, "tag")
    yield BadRequest("junk in the key", sound, APPLIED, "tag", key=b"\xff" * 100_000)
    junk = [("", b""), ("x" * 5_000, b"\xff\x00"), ("freshline-topic", b"forged")]
    yield BadRequest("junk in the headers", sound, APPLIED, "tag", headers=junk)
