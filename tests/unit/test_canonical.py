"""The canonical form, as far as it needs no server. What Debezium sends is shown in tests/integration."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import encode, has_unavailable, row_expression, row_from_json, row_type
from schemas.catalog import Column, Table
from schemas.column_forms import actual_type_fault, column_form, parse_type
from schemas.debezium import UNAVAILABLE, UNAVAILABLE_BASE64, UNAVAILABLE_NUMBERS, UNAVAILABLE_UUID
from schemas.errors import CatalogError
from schemas.voiceassist import VOICEASSIST

NOTES = Table(
    "notes", ("id",), (Column("id", "int8"), Column("body", "text", nullable=True), Column("weight", "numeric"))
)


def one_column(column_type: str) -> Table:
    return Table("things", ("id",), (Column("id", "int8"), Column("v", column_type, nullable=True)))


def row_with(column_type: str, value: Any) -> tuple[Any, Table]:
    table = one_column(column_type)
    return row_from_json(table, msgspec.json.encode({"id": 1, "v": value})), table


def test_a_row_is_its_cached_columns_in_the_catalogs_order() -> None:
    row = row_from_json(NOTES, '{"secret": "s", "weight": "1.50", "id": 9007199254740993, "body": null}')
    assert encode(row) == b'{"id":9007199254740993,"body":null,"weight":"1.50"}'


def test_encoding_what_was_encoded_changes_nothing() -> None:
    body = b'{"id":1,"body":"\xc3\xa9\\n","weight":"0.000"}'
    assert encode(row_from_json(NOTES, body)) == body


@pytest.mark.parametrize(
    "text",
    ['{"id": 1, "body": "x"}', '{"id": 1, "body": "x", "weight": 1.5}', '{"id": null, "body": "", "weight": ""}'],
)
def test_a_row_that_lacks_a_column_or_has_another_type_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        row_from_json(NOTES, text)


def test_every_table_of_the_reference_catalog_has_a_form() -> None:
    for table in VOICEASSIST.tables:
        assert row_type(table).__struct_fields__ == tuple(column.name for column in table.columns)


def test_names_are_quoted() -> None:
    expression = row_expression(one_column("int4"), 'a"b')
    assert '"a""b"."v" AS "v"' in expression


@pytest.mark.parametrize(
    ("column_type", "value"),
    [
        ("text", UNAVAILABLE),
        ("jsonb", UNAVAILABLE),
        ("numeric", UNAVAILABLE),
        ("bytea", UNAVAILABLE_BASE64),
        ("text[]", [UNAVAILABLE]),
        ("bytea[]", [UNAVAILABLE_BASE64]),
        ("int4[]", UNAVAILABLE_NUMBERS),
        ("uuid[]", [UNAVAILABLE_UUID]),
        ("float8[]", None),
        ("enum[]", None),
    ],
)
def test_a_toasted_value_left_alone_is_unavailable(column_type: str, value: object) -> None:
    assert has_unavailable(*row_with(column_type, value))


@pytest.mark.parametrize(
    ("column_type", "value"),
    [
        ("text[]", ["[Ljava.lang.String;@1b2c3d", "[Ljava.lang.String;@4e5f6a"]),
        ("int8[]", [None, None]),
        ("interval", "P0Y0M0DT0H0M0S"),
        ("interval", "P0Y0M0DT0H0M7.999983999S"),
        ("timestamp", "+294247-01-10T04:00:25.2Z"),
        ("timestamp(3)", "-290308-12-21T19:59:27.6Z"),
        ("date", "-5877611-06-21Z"),
        ("time", "00:00:00Z"),
        ("timestamptz[]", ["4713-01-01T00:00:00.000000Z"]),
        ("tstzrange", '["2024-01-01 00:00:00+01",)'),
    ],
)
def test_what_stands_for_several_values_is_not_believed(column_type: str, value: object) -> None:
    assert has_unavailable(*row_with(column_type, value))


@pytest.mark.parametrize(
    ("column_type", "value"),
    [
        ("text", None),
        ("text", f"{UNAVAILABLE}?"),
        ("text[]", None),
        ("text[]", []),
        ("text[]", [None, UNAVAILABLE]),
        ("int8[]", [1, None]),
        ("float8[]", []),
        ("timestamptz[]", []),
        ("tstzrange", None),
        ("timestamptz", "infinity"),
        ("interval", "P0Y0M0DT0H0M7.999984S"),
        ("interval", None),
        ("time", "00:00:00.000001Z"),
    ],
)
def test_what_can_be_told_is_believed(column_type: str, value: object) -> None:
    assert not has_unavailable(*row_with(column_type, value))


def test_one_value_that_is_unavailable_makes_the_row_so() -> None:
    table = Table("things", ("id",), (Column("id", "int8"), *(Column(name, "text", nullable=True) for name in "abc")))
    for name in "abc":
        assert has_unavailable(row_type(table)(**{"id": 1, "a": "x", "b": None, "c": "y", name: UNAVAILABLE}), table)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float4_has_one_form_whoever_wrote_its_digits(value: float) -> None:
    single = struct.pack("<f", value)
    for digits in (9, 12, 17):  # as Java before 19, and as who takes it for a float8
        row, _ = row_with("float4", float(f"{value:.{digits}g}"))
        body = encode(row)
        assert body == encode(row_with("float4", value)[0])
        assert struct.pack("<f", msgspec.json.decode(body)["v"]) == single


@pytest.mark.parametrize(("sent", "kept"), [(0.1, b"0.1"), (1.4e-45, b"1e-45"), (0.10000000149011612, b"0.1")])
def test_a_float4_has_its_shortest_form(sent: float, kept: bytes) -> None:
    assert encode(row_with("float4", sent)[0]) == b'{"id":1,"v":' + kept + b"}"
    assert encode(row_with("float4[]", [sent, None, "NaN"])[0]) == b'{"id":1,"v":[' + kept + b',null,"NaN"]}'


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", None, -0.0, 5e-324, 1e23])
def test_floats_beyond_json_and_zeros_keep_what_they_are(value: object) -> None:
    row, _ = row_with("float8", value)
    assert repr(msgspec.json.decode(encode(row))["v"]) == repr(value)


@pytest.mark.parametrize(
    ("text", "name", "modifiers"),
    [
        ("bigint", "int8", ()),
        ("numeric(12, 2)[]", "numeric[]", (12, 2)),
        ("character varying(20)", "varchar", (20,)),
        ("timestamp(3) with time zone", "timestamptz", (3,)),
        ("time without time zone[]", "time[]", ()),
        ('"char"', '"char"', ()),
        ("numeric(3,-2)", "numeric", (3, -2)),
        ("text[][]", "text[]", ()),
    ],
)
def test_a_type_is_taken_apart(text: str, name: str, modifiers: tuple[int, ...]) -> None:
    parsed = parse_type(text)
    assert (parsed.name, parsed.modifiers) == (name, modifiers)


@pytest.mark.parametrize(
    ("column_type", "reason"),
    [
        ("money", "locale"),
        ("bit(3)", "without their number"),
        ("varbit[]", "without their number"),
        ("hstore", "order"),
        ("interval[]", "leaves it out"),
        ("name[]", "leaves it out"),
        ("numeric(3,-2)", "negative scale"),
        ("point", "is not among those"),
        ("int4multirange", "is not among those"),
        ("no type!", "not written like"),
    ],
)
def test_a_type_that_cant_be_cached_is_refused_with_the_reason(column_type: str, reason: str) -> None:
    with pytest.raises(CatalogError, match=reason):
        row_type(one_column(column_type))


def test_an_array_that_would_stop_debezium_must_be_nullable() -> None:
    assert column_form("float8[]", nullable=True).doubts_null
    assert not column_form("text[]", nullable=False).doubts_null
    with pytest.raises(CatalogError, match="only where the column may be null"):
        column_form("float8[]", nullable=False)


def test_all_columns_that_cant_be_cached_are_named_at_once() -> None:
    table = Table("t", ("id",), (Column("id", "int8"), Column("a", "money"), Column("b c", "text"), Column("d", "box")))
    with pytest.raises(CatalogError, match=r"'a'.*'b c'.*'d'"):
        row_type(table)


@pytest.mark.parametrize(
    ("declared", "actual", "over_array", "fault"),
    [
        ("timestamptz", "timestamp(3) with time zone", False, r"write timestamptz\(3\)"),
        ("timestamptz(3)", "timestamp with time zone", False, r"write timestamptz\(6\)"),
        ("timestamptz", "timestamp(6) with time zone", False, None),
        ("numeric", "numeric(3,-2)", False, "negative scale"),
        ("numeric", "numeric(12,2)", False, None),
        ("text[]", "text[]", True, "domain over an array"),
        ("timestamp", "timestamp(3) without time zone", False, None),
        ("text", "text", False, None),
    ],
)
def test_modifiers_that_change_the_form_are_found(
    declared: str, actual: str, over_array: bool, fault: str | None
) -> None:
    found = actual_type_fault(declared, actual, over_array=over_array)
    if fault is None:
        assert found is None
    else:
        with pytest.raises(CatalogError, match=fault):
            raise CatalogError(found)
