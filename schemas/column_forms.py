"""The one table of column types: for each, the field of the row, the reader's SQL, and what an event can't tell.

The canonical form of a value is the one that Debezium sends, so that the hot path converts nothing. The reader lets
Postgres build that very JSON. Where an event can't tell a value (it says the same, or nonsense, for several), the row
can't be written from it: it invalidates, and a reader fills the true value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from schemas.debezium import UNAVAILABLE, UNAVAILABLE_BASE64, UNAVAILABLE_NUMBERS, UNAVAILABLE_UUID
from schemas.errors import CatalogError

# Says of a column's value in an event that it can't be believed.
Doubt: TypeAlias = Callable[[Any], bool]


class ColumnForm(msgspec.Struct, frozen=True):
    """How values of one Postgres type look.

    Attributes:
        field: the type of the row's field, without None.
        sql: the expression whose ``to_json`` is the canonical form; ``{v}`` is the column.
        telltales: strings in an event that may stand for another value than they say.
        doubt: for what can't be said by a few strings.
        single: a float4, whose decimal digits depend on who wrote them.
        doubts_null: an event says null also where it could not convert the value, and stops the connector on that
            where the column is NOT NULL.
    """

    field: Any
    sql: str = "{v}"
    telltales: frozenset[str] = frozenset()
    doubt: Doubt | None = None
    single: bool = False
    doubts_null: bool = False


class PostgresType(msgspec.Struct, frozen=True):
    """A type as a catalog writes it, taken apart: ``numeric(12,2)[]``."""

    base: str
    modifiers: tuple[int, ...] = ()
    array: bool = False

    @property
    def name(self) -> str:
        """The type without its modifiers."""
        return self.base + ("[]" if self.array else "")


_SYNTAX = re.compile(
    r"(?P<base>[a-z_][a-z0-9_ ]*?|\"char\")\s*(\((?P<modifiers>-?\d+(\s*,\s*-?\d+)?)\))?"
    r"(?P<zone> with(out)? time zone)?(?P<array>(\[\])*)"
)
_ALIASES: Final = {
    "bigint": "int8",
    "boolean": "bool",
    "char": "bpchar",
    "character": "bpchar",
    "character varying": "varchar",
    "decimal": "numeric",
    "double precision": "float8",
    "int": "int4",
    "integer": "int4",
    "real": "float4",
    "smallint": "int2",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}


def parse_type(text: str) -> PostgresType:
    """Take a type apart, its aliases resolved: ``bigint`` is ``int8``.

    Raises:
        CatalogError: it is not written like a type.
    """
    match = _SYNTAX.fullmatch(text.strip())
    if match is None:
        raise CatalogError(f"{text!r} is not written like a Postgres type, as in int8, numeric(12,2) or text[]")
    base = match["base"] + (match["zone"] or "")
    modifiers = tuple(int(part) for part in match["modifiers"].split(",")) if match["modifiers"] else ()
    return PostgresType(_ALIASES.get(base, base), modifiers, bool(match["array"]))


# -- Scalars ----------------------------------------------------------------------------------------------------------

_MARK = frozenset({UNAVAILABLE})
_TEXT = ColumnForm(str, telltales=_MARK)
_PLAIN_TEXT = ColumnForm(str)
_INTEGER = ColumnForm(int)
# Ranges of times are written in the zone and the style of whoever asks.
_SESSION_TEXT = ColumnForm(str, doubt=lambda value: value is not None)

# -0 loses its sign as a JSON integer; NaN and the infinities are strings on both sides.
_FLOAT_SQL = (
    "CASE WHEN {v} = 0 THEN (CASE WHEN {v}::text = '-0' THEN '-0.0' ELSE '0.0' END)::json ELSE to_json({v}) END"
)

# As Debezium names them: they are no decimal numbers, and must not be mistaken for some.
_NUMERIC_SQL = (
    "CASE {v} WHEN 'NaN' THEN 'NAN' WHEN 'Infinity' THEN 'POSITIVE_INFINITY' WHEN '-Infinity' THEN 'NEGATIVE_INFINITY'"
    " ELSE {v}::text END"
)

# ISO 8601 with astronomical years: 0000 is 1 BC, and years beyond 9999 have a sign.
_YEAR_SQL = (
    "CASE WHEN {v} >= '10000-01-01' THEN '+' || extract(year FROM {v}) WHEN {v} >= '0001-01-01'"
    " THEN lpad(extract(year FROM {v})::text, 4, '0') WHEN {v} >= '0001-01-01 BC' THEN '0000'"
    " ELSE '-' || lpad((-1 - extract(year FROM {v}))::text, 4, '0') END"
)


def _dated_sql(value: str, common: str, far: str) -> str:
    """Write a date or a timestamp: ``common`` from year 1 to 9999, else its year and then ``far``."""
    return (
        f"CASE WHEN {value} >= '0001-01-01' AND {value} < '10000-01-01' THEN {common}"
        f" WHEN isfinite({value}) THEN {_YEAR_SQL.format(v=value)} || {far} ELSE {value}::text END"
    )


def _timestamp_sql(value: str, rest: str) -> str:
    """``rest`` is a pattern of to_char, from the month on."""
    return _dated_sql(value, f"to_char({value}, 'YYYY{rest}')", f"to_char({value}, '{rest}')")


def _timestamptz(precision: int) -> ColumnForm:
    fraction = f".FF{precision}" if precision else ""
    return ColumnForm(str, _timestamp_sql("({v} AT TIME ZONE 'UTC')", f'-MM-DD"T"HH24:MI:SS{fraction}"Z"'))


# Trailing zeros go, unlike those of timestamptz.
_TIMESTAMP_SQL = (
    "CASE WHEN isfinite({v}) THEN rtrim(rtrim("
    + _timestamp_sql("{v}", '-MM-DD"T"HH24:MI:SS.US')
    + ", '0'), '.') || 'Z'"
    " ELSE {v}::text END"
)
# What Debezium makes of the infinities; the first is also a time that exists.
_TIMESTAMP = ColumnForm(
    str, _TIMESTAMP_SQL, telltales=frozenset({"+294247-01-10T04:00:25.2Z", "-290308-12-21T19:59:27.6Z"})
)
# to_char knows no date beyond the last timestamp.
_FAR_DATE_SQL = "to_char(extract(month FROM {v}), '\"-\"FM00') || to_char(extract(day FROM {v}), '\"-\"FM00') || 'Z'"
_DATE = ColumnForm(
    str,
    _dated_sql("{v}", """to_char({v}, 'YYYY-MM-DD"Z"')""", _FAR_DATE_SQL),
    telltales=frozenset({"-5877611-06-21Z", "-5877611-06-22Z"}),
)
# 24:00:00 arrives as midnight.
_TIME = ColumnForm(str, "{v}::text || 'Z'", telltales=frozenset({"00:00:00Z"}))
# In UTC, where 24:00:00 is midnight by definition. Adding nothing wraps it.
_TIMETZ = ColumnForm(str, "(({v} AT TIME ZONE 'UTC')::time + interval '0')::text || 'Z'")

_INTERVAL_SQL = (
    "CASE WHEN isfinite({v}) THEN 'P' || extract(year FROM {v})::bigint || 'Y'"
    " || extract(month FROM {v})::bigint || 'M' || extract(day FROM {v})::bigint || 'DT'"
    " || extract(hour FROM {v})::bigint || 'H'"
    " || extract(minute FROM {v})::bigint || 'M' || trim_scale(extract(second FROM {v})) || 'S' ELSE {v}::text END"
)
_ZERO_INTERVAL = "P0Y0M0DT0H0M0S"
_ROUNDED_SECONDS = re.compile(r"\.\d{7,}S$").search


def _doubtful_interval(value: str | None) -> bool:
    """The infinities arrive as no time at all; seconds pass through a double and may lose a billionth."""
    return value is not None and (value == _ZERO_INTERVAL or _ROUNDED_SECONDS(value) is not None)


_BYTEA_SQL = "translate(encode({v}, 'base64'), E'\\n', '')"

_SCALARS: Final[dict[str, ColumnForm]] = {
    "bool": ColumnForm(bool),
    "int2": _INTEGER,
    "int4": _INTEGER,
    "int8": _INTEGER,
    "oid": ColumnForm(int, "{v}::int8"),
    "float4": ColumnForm(float | str, _FLOAT_SQL, single=True),
    "float8": ColumnForm(float | str, _FLOAT_SQL),
    "numeric": ColumnForm(str, _NUMERIC_SQL, telltales=_MARK),
    # The type's own text, blanks at the end of char(n) included: a cast to text would cut them.
    "text": _TEXT,
    "varchar": _TEXT,
    "bpchar": _TEXT,
    "citext": _TEXT,
    "xml": _TEXT,
    "ltree": _TEXT,
    "tsvector": _TEXT,
    '"char"': _PLAIN_TEXT,
    "name": _PLAIN_TEXT,
    "enum": _PLAIN_TEXT,
    "uuid": _PLAIN_TEXT,
    "inet": _PLAIN_TEXT,
    "cidr": _PLAIN_TEXT,
    "macaddr": _PLAIN_TEXT,
    "macaddr8": _PLAIN_TEXT,
    "json": ColumnForm(str, "{v}::text", telltales=_MARK),
    "jsonb": ColumnForm(str, "{v}::text", telltales=_MARK),
    "bytea": ColumnForm(str, _BYTEA_SQL, telltales=frozenset({UNAVAILABLE_BASE64})),
    "timestamp": _TIMESTAMP,
    "date": _DATE,
    "time": _TIME,
    "timetz": _TIMETZ,
    "interval": ColumnForm(str, _INTERVAL_SQL, doubt=_doubtful_interval),
    "int4range": _PLAIN_TEXT,
    "int8range": _PLAIN_TEXT,
    "numrange": _TEXT,
    "tsrange": _SESSION_TEXT,
    "tstzrange": _SESSION_TEXT,
    "daterange": _SESSION_TEXT,
}

# -- Arrays -----------------------------------------------------------------------------------------------------------


def _doubtful_array(value: list[Any] | None, *, mark: list[Any] | None, null: bool) -> bool:
    """Arrays of more dimensions arrive as nulls or as Java's names of objects (``[Ljava.lang.String;@1b2c``)."""
    if not value:
        return null and value is None
    first = value[0]
    if first is None:
        return value.count(None) == len(value)
    return value == mark or (isinstance(first, str) and first.startswith("[L"))


def _array(element: Any, sql: str = "{v}", *, mark: list[Any] | None = None, single: bool = False) -> ColumnForm:
    """An array. Without a ``mark`` an unchanged TOASTed value is null, which stops the connector if it is NOT NULL."""
    null = mark is None
    return ColumnForm(
        list[element | list[Any] | None],
        sql,
        doubt=partial(_doubtful_array, mark=mark, null=null),
        single=single,
        doubts_null=null,
    )


# More dimensions are left as they are: no event tells them.
_BYTEA_ARRAY_SQL = (
    "CASE WHEN array_ndims({v}) > 1 THEN to_json({v}) WHEN {v} IS NOT NULL THEN to_json(ARRAY(SELECT "  # noqa: S608
    + _BYTEA_SQL.format(v="element")
    + " FROM unnest({v}) WITH ORDINALITY AS elements(element, position) ORDER BY position)) END"
)
_AS_TEXTS_SQL = "{v}::text[]"
_TEXT_ARRAY = _array(str, mark=[UNAVAILABLE])
_PLAIN_ARRAY = _array(str)
_FLOAT_ARRAY_SQL = "regexp_replace(to_json({v})::text, '-0(?=[],])', '-0.0', 'g')::json"
# Elements pass through Java's old calendar: dates BC arrive as dates AD, times lose their microseconds.
_TEMPORAL_ARRAY = ColumnForm(list[Any], doubt=lambda value: value != [], doubts_null=True)

_ARRAYS: Final[dict[str, ColumnForm]] = {
    "bool": _array(bool),
    "int2": _array(int),
    "int4": _array(int, mark=UNAVAILABLE_NUMBERS),
    "int8": _array(int, mark=UNAVAILABLE_NUMBERS),
    "oid": _array(int, "{v}::int8[]"),
    "float4": _array(float | str, _FLOAT_ARRAY_SQL, single=True),
    "float8": _array(float | str, _FLOAT_ARRAY_SQL),
    "numeric": _array(str, _AS_TEXTS_SQL),
    "text": _TEXT_ARRAY,
    "varchar": _TEXT_ARRAY,
    "bpchar": _TEXT_ARRAY,
    "citext": _PLAIN_ARRAY,
    "enum": _PLAIN_ARRAY,
    "uuid": _array(str, mark=[UNAVAILABLE_UUID]),
    "inet": _PLAIN_ARRAY,
    "cidr": _PLAIN_ARRAY,
    "macaddr": _PLAIN_ARRAY,
    "macaddr8": _PLAIN_ARRAY,
    "json": _array(str, _AS_TEXTS_SQL, mark=[UNAVAILABLE]),
    "jsonb": _array(str, _AS_TEXTS_SQL, mark=[UNAVAILABLE]),
    "bytea": _array(str, _BYTEA_ARRAY_SQL, mark=[UNAVAILABLE_BASE64]),
    "int4range": _PLAIN_ARRAY,
    "int8range": _PLAIN_ARRAY,
    "numrange": _PLAIN_ARRAY,
    "timestamptz": _TEMPORAL_ARRAY,
    "timestamp": _TEMPORAL_ARRAY,
    "date": _TEMPORAL_ARRAY,
    "time": _TEMPORAL_ARRAY,
    "timetz": _TEMPORAL_ARRAY,
}

_REFUSED: Final[dict[str, str]] = {
    "bit": "Debezium sends bits without their number",
    "varbit": "Debezium sends bits without their number",
    "money": "its text depends on the database's locale",
    "hstore": "Debezium sends it in no certain order; jsonb will do",
    "interval[]": "Debezium leaves it out",
    "name[]": "Debezium leaves it out; text[] will do",
}
_MAX_FRACTION_DIGITS: Final = 6


def column_form(text: str, *, nullable: bool) -> ColumnForm:
    """The form of a column of this type.

    Raises:
        CatalogError: the type can't be cached. The message says why, and what to do.
    """
    parsed = parse_type(text)
    reason = _REFUSED.get(parsed.name) or _REFUSED.get(parsed.base)
    if reason is not None:
        raise CatalogError(f"type {text} can't be cached: {reason}. Leave the column out")
    if not parsed.array and parsed.base == "timestamptz":
        return _timestamptz(parsed.modifiers[0] if parsed.modifiers else _MAX_FRACTION_DIGITS)
    if parsed.base == "numeric" and parsed.modifiers[1:] and parsed.modifiers[1] < 0:
        raise CatalogError(f"type {text} can't be cached: Debezium misreads a negative scale. Leave the column out")
    form = (_ARRAYS if parsed.array else _SCALARS).get(parsed.base)
    if form is None:
        raise CatalogError(
            f"type {text} is not among those that can be cached. Write a domain as the type it is based on and an "
            "enumeration as 'enum', or leave the column out"
        )
    if form.doubts_null and not nullable:
        raise CatalogError(
            f"type {text} can be cached only where the column may be null: Debezium stops on an unchanged TOASTed "
            "value of a NOT NULL one. Drop the constraint and say nullable=True, or leave the column out"
        )
    return form


def actual_type_fault(declared: str, actual: str, *, over_array: bool) -> str | None:
    """Why a column of the database does not have the form of its declared type, although the type is right.

    Args:
        declared: the type as the catalog writes it.
        actual: the column's type as Postgres writes it, with its modifiers; a domain's base type.
        over_array: the column is of a domain over an array.
    """
    said = parse_type(declared)
    if over_array:
        return (
            "is of a domain over an array, of which Debezium says null where an update left a TOASTed value alone: "
            "make it a plain array or unlist it"
        )
    if said.array or said.base not in {"timestamptz", "numeric"}:
        return None
    found = parse_type(actual)
    try:
        wanted = column_form(actual, nullable=True)
    except CatalogError as error:
        return f"is {actual}: {error}"
    if column_form(declared, nullable=True) != wanted:
        digits = found.modifiers[0] if found.modifiers else _MAX_FRACTION_DIGITS
        return f"keeps {digits} digits of a second, so its events do too: write timestamptz({digits}) in the catalog"
    return None
