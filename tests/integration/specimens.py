"""One column of every type that can be cached, and values for each: generated ones, and those known to be awkward."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from schemas.catalog import Column, Table

PREAMBLE = """
CREATE EXTENSION citext; CREATE EXTENSION ltree;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy, very', 'a "quoted" one', 'null');
CREATE DOMAIN price AS numeric(12,2) CHECK (value > -1e10);
CREATE DOMAIN quantity AS numeric;
CREATE DOMAIN moment AS timestamptz(3);
CREATE DOMAIN later_moment AS moment;
CREATE DOMAIN label AS text;
CREATE DOMAIN code AS char(5);
CREATE DOMAIN single AS float4;
CREATE DOMAIN span AS interval;
CREATE DOMAIN document AS jsonb;
CREATE DOMAIN day AS date;
"""

Strategy = st.SearchStrategy[str]


@dataclass(frozen=True)
class Specimen:
    """A type: as a table declares it, as a catalog writes it, and values as Postgres reads them.

    ``certain`` is False where events of ordinary values are not believed either.
    """

    declared: str
    values: Strategy
    awkward: tuple[str, ...]
    written: str | None = None
    certain: bool = True

    @property
    def catalog_type(self) -> str:
        """The type as a catalog writes it."""
        return self.written or self.declared

    def big(self) -> str | None:
        """A value too long to be stored within its row, if the type has such."""
        if self.declared.endswith("[]"):
            # Neither null nor more than one dimension: an array that an event tells for certain.
            return "{" + ",".join([self.awkward[2][1:].removesuffix(",NULL}")] * 9_000) + "}"
        return _BIG.get(self.declared)


# -- Values, as text that Postgres reads ------------------------------------------------------------------------------

_CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
_TEXT = st.text(_CHARACTERS, max_size=20)


def _integers(bits: int) -> Strategy:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(str)


_FLOAT8 = st.floats(allow_nan=True).map(repr)
_FLOAT4 = st.floats(width=32).map(repr)
_NUMERIC = st.one_of(
    st.builds("{}e{}".format, st.integers(-(10**40), 10**40), st.integers(-40, 40)),
    st.sampled_from(["NaN", "Infinity"]),
)
_MONEYLIKE = st.decimals(-(10**9), 10**9, places=2).map(str)
_SECONDS = st.integers(0, 86_400_000_000 - 1).map(
    lambda us: f"{us // 3_600_000_000:02}:{us // 60_000_000 % 60:02}:{us // 1_000_000 % 60:02}.{us % 1_000_000:06}"
)


def _dates(last_year: int) -> Strategy:
    def text(year: int, month: int, day: int) -> str:
        return f"{year:04}-{month:02}-{day:02}" if year > 0 else f"{1 - year:04}-{month:02}-{day:02} BC"

    years = st.one_of(st.integers(1900, 2100), st.integers(-4711, last_year))
    return st.builds(text, years, st.integers(1, 12), st.integers(1, 28))


def _with_time(date: str, time: str, zone: str = "") -> str:
    day, era = (date[:-3], " BC") if date.endswith(" BC") else (date, "")
    return f"{day} {time}{zone}{era}"


_TIMESTAMP = st.builds(_with_time, _dates(294_275), _SECONDS)
_ZONES = st.builds(
    lambda sign, h, m: f"{sign}{h:02}:{m:02}", st.sampled_from("+-"), st.integers(0, 14), st.integers(0, 59)
)
_TIMESTAMPTZ = st.builds(_with_time, _dates(294_275), _SECONDS, _ZONES)
_INTERVAL = st.builds(
    lambda months, days, us: f"{months} months {days} days {us} microseconds",
    st.one_of(st.just(0), st.integers(-(10**9), 10**9)),
    st.one_of(st.just(0), st.integers(-(10**9), 10**9)),
    st.one_of(st.integers(-(10**9), 10**9), st.integers(-7 * 10**18, 7 * 10**18)),
)
_JSON_TREE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=5,
)
_JSON = st.builds(
    lambda tree, escaped, indent: json.dumps(tree, ensure_ascii=escaped, indent=indent),
    _JSON_TREE,
    st.booleans(),
    st.sampled_from([None, 1]),
)
_UUID = st.uuids().map(str)
_BYTEA = st.binary(max_size=100).map(lambda value: "\\x" + value.hex())
_INET = st.one_of(
    st.builds(lambda a, n: f"{a}/{n}", st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(lambda a, n: f"{a}/{n}", st.ip_addresses(v=6), st.integers(0, 128)),
    st.ip_addresses().map(str),
)
_MAC = st.binary(min_size=6, max_size=6).map(lambda value: value.hex(":"))
_MOODS = ("sad", "ok", "happy, very", 'a "quoted" one', "null")
_ASCII = st.text(string.ascii_letters + string.digits + "_", max_size=20)


def _range(bounds: Strategy, order: Callable[[str], Any]) -> Strategy:
    def text(low: str, high: str, opening: str, closing: str) -> str:
        low, high = sorted((low, high), key=order)
        return f'{opening}"{low}","{high}"{closing}'

    return st.one_of(
        st.builds(text, bounds, bounds, st.sampled_from("[("), st.sampled_from(")]")), st.sampled_from(["empty", "(,)"])
    )


def _array_text(elements: Iterable[str | None]) -> str:
    escaped = (
        "NULL" if element is None else '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for element in elements
    )
    return "{" + ",".join(escaped) + "}"


def _array(specimen: Specimen, *, certain: bool = True) -> Specimen:
    square = "{" + ",".join([_array_text([specimen.awkward[0]]), _array_text([specimen.awkward[-1]])]) + "}"
    awkward = (
        "{}",
        "{NULL}",
        _array_text([specimen.awkward[0], None]),
        _array_text([None, specimen.awkward[-1]]),
        square,
        _array_text(specimen.awkward),
        *(_array_text([value]) for value in specimen.awkward),
    )
    elements = st.one_of(st.none(), specimen.values, st.sampled_from(specimen.awkward))
    return Specimen(
        f"{specimen.declared}[]",
        st.lists(elements, max_size=4).map(_array_text),
        awkward,
        f"{specimen.catalog_type}[]",
        certain=certain,
    )


_BIG = {
    **dict.fromkeys(("text", "varchar", "citext", "label"), "text " * 2_000),
    **dict.fromkeys(("json", "jsonb", "document"), json.dumps(["json"] * 2_000)),
    **dict.fromkeys(("numeric", "quantity"), "1234567890" * 2_000),
    "bytea": "\\x" + "00ff" * 5_000,
    "xml": "<a>" + "text " * 2_000 + "</a>",
    "tsvector": " ".join(f"'{n:06}'" for n in range(2_000)),
    "ltree": ".".join(f"label{n}" for n in range(2_000)),
    "numrange": "[0," + "1234567890" * 2_000 + "]",
}

# -- The specimens ----------------------------------------------------------------------------------------------------

_TEXTS = ("", "plain", "it's", 'a "b" \\ /', "é😀\u2028\x7f\x01\t\r\n", "NULL", "{}", "  blanks  ", "[Ljava", "\ufeff")
_TIMES = ("00:00:00", "12:34:56.123456", "12:34:56.1", "12:34:00", "23:59:59.999999", "24:00:00", "00:00:00.000001")
_DAYS = (
    *("2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "0001-12-31 BC", "4714-11-24 BC", "0001-01-01"),
    *("0999-12-31", "1500-02-28", "1582-10-10", "9999-12-31", "10000-01-01", "1970-01-01"),
)
_MOMENTS = (
    *(_with_time(day, "12:34:56.120000", "") if "inf" not in day else day for day in _DAYS),
    *("294276-12-31 23:59:59.999999", "294247-01-10 04:00:25.2", "2024-03-31 02:30:00", "1900-01-01 00:00:00.000001"),
)
_FLOATS = (
    *("0", "-0", "1", "-1.5", "0.1", "1e16", "1e17", "1e23", "5e-324", "2.2250738585072014e-308", "NaN", "Infinity"),
    *("-Infinity", "9007199254740993", "1.7976931348623157e308", "123456789012"),
)
_SINGLES = (
    *("0", "-0", "1", "-1.5", "0.1", "1e10", "16777217", "1.4e-45", "2e-44", "1.17549435e-38", "NaN", "Infinity"),
    *("-Infinity", "3.4028235e38", "123456.789", "8.5899346e9", "1.1920929e-7"),
)
_NUMBERS = (
    *("0", "1.50", "-1", "0.000", "1e20", "1e-20", "NaN", "Infinity", "-Infinity", "1e1000", "-1e-1000"),
    "123456789012345678901234567890.1234567890",
)
_SPANS = (
    *("0", "1 year 2 months 3 days 04:05:06.789", "-1 year -2 months +3 days -04:05:06.789", "1 microsecond"),
    *("-1 microsecond", "178000000 years 11 months", "-178000000 years", "2147483647 hours", "7.999984 seconds"),
    *("1 month -1 day", "-00:00:01.5", "-13 months", "59.999999 seconds", "1 day -1 microsecond"),
)
_JSONS = (
    *('{"b":1, "a":[1,2,  3], "a":2}', '"\\u00e9\\u0041"', "1.10", "12345678901234567890123.50", "null", '""'),
    *(' { "z" : 1e5 , "k":"\\"\\\\" } ', '"\\ud83d\\ude00"', "[]", "{}", "-0", "1e-7"),
)

_BOOL = Specimen("bool", st.sampled_from(["true", "false"]), ("true", "false"))
_INT2 = Specimen("int2", _integers(16), ("32767", "-32768", "0"))
_INT4 = Specimen("int4", _integers(32), ("2147483647", "-2147483648"))
_INT8 = Specimen("int8", _integers(64), ("9223372036854775807", "-9223372036854775808", "9007199254740993"))
_OID = Specimen("oid", st.integers(0, 2**32 - 1).map(str), ("4294967295", "0"))
_REAL = Specimen("float4", _FLOAT4, _SINGLES)
_DOUBLE = Specimen("float8", _FLOAT8, _FLOATS)
_DECIMAL = Specimen("numeric", _NUMERIC, _NUMBERS)
_PRICE = Specimen("numeric(12,2)", _MONEYLIKE, ("0", "1.5", "NaN", "-1234567890.129"))
_STRING = Specimen("text", _TEXT, _TEXTS)
_VARCHAR = Specimen("varchar(9)", _TEXT, _TEXTS)
_CHAR = Specimen("char(5)", _TEXT, _TEXTS)
_CITEXT = Specimen("citext", _TEXT, _TEXTS)
_JSON_TEXT = Specimen("json", _JSON, (*_JSONS, '"\\u0000"', '"\\ud800"'))
_JSONB = Specimen("jsonb", _JSON.filter(lambda text: "\\u0000" not in text), _JSONS)
_BYTES = Specimen("bytea", _BYTEA, ("\\x", "\\x00ff10", "\\x" + "ab" * 200))
_ID = Specimen("uuid", _UUID, ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",))
_MOOD = Specimen("mood", st.sampled_from(_MOODS), _MOODS, "enum")
_INET_ADDRESS = Specimen("inet", _INET, ("10.0.0.1", "10.0.0.1/8", "::1", "2001:DB8::/32", "::ffff:1.2.3.4"))
_NETWORK = Specimen("cidr", st.ip_addresses().map(str), ("10.0.0.0/8", "10.1.2.3/32", "::/0"))
_MAC_ADDRESS = Specimen("macaddr", _MAC, ("08:00:2B:01:02:03",))
_MAC8 = Specimen("macaddr8", _MAC, ("08:00:2b:01:02:03:04:05",))
_MOMENT = Specimen(
    "timestamptz", _TIMESTAMPTZ, tuple(f"{m}" if "inf" in m or "BC" in m else f"{m}+00" for m in _MOMENTS)
)
_LOCAL = Specimen("timestamp", _TIMESTAMP, _MOMENTS)
_DAY = Specimen("date", _dates(5_874_897), (*_DAYS, "5874897-12-31"))
_CLOCK = Specimen("time", _SECONDS, _TIMES)
_ZONED_CLOCK = Specimen(
    "timetz",
    st.builds("{}{}".format, _SECONDS, _ZONES),
    ("00:00:00+00", "12:34:56.1+05:30", "23:59:59.999999+15:59", "24:00:00+00", "24:00:00-03", "00:00:00-12"),
)
_SPAN = Specimen("interval", _INTERVAL, _SPANS)
_INTS = Specimen("int4range", _range(st.integers(-1000, 1000).map(str), int), ("[1,5]", "empty", "(,)", "[1,)"))
_NUMBERS_RANGE = Specimen("numrange", _range(_MONEYLIKE, float), ("[1.50,5)", "(,1.0]"))

SPECIMENS: tuple[Specimen, ...] = (
    *(_BOOL, _INT2, _INT4, _INT8, _OID, _REAL, _DOUBLE, _DECIMAL, _PRICE, _STRING, _VARCHAR, _CHAR, _CITEXT),
    *(_JSON_TEXT, _JSONB, _BYTES, _ID, _MOOD, _INET_ADDRESS, _NETWORK, _MAC_ADDRESS, _MAC8, _MOMENT, _LOCAL, _DAY),
    *(_CLOCK, _ZONED_CLOCK, _SPAN, _INTS, _NUMBERS_RANGE),
    Specimen("numeric(20,0)", st.integers(-(10**19), 10**19).map(str), ("1.5", "100")),
    Specimen("numeric(3,8)", st.integers(0, 999).map(lambda n: f"{n}e-8"), ("0", "0.00000999")),
    Specimen('"char"', st.sampled_from(string.ascii_letters), ("a", "")),
    Specimen("name", _ASCII, ("a_name", "")),
    Specimen("varchar", _TEXT, _TEXTS),
    Specimen("xml", _ASCII.map(lambda text: f"<a>{text}</a>"), ("<a/>", "<?xml version='1.0'?><b>&lt;</b>")),
    Specimen("ltree", st.just("a.b.c"), ("a", "")),
    Specimen("tsvector", _ASCII.map(lambda text: f"'{text}_':1 b"), ("'a':1 'b'",)),
    *(Specimen(f"timestamptz({p})", _TIMESTAMPTZ, ("2024-02-29 12:34:56.5Z", "infinity")) for p in (0, 1, 3, 6)),
    *(Specimen(f"timestamp({p})", _TIMESTAMP, ("2024-02-29 12:34:56.5", "-infinity")) for p in (0, 3)),
    Specimen("time(3)", _SECONDS, ("23:59:59.9999", "12:00")),
    Specimen("interval(2)", _INTERVAL, ("7.999984 seconds",)),
    Specimen("int8range", _range(st.integers(-1000, 1000).map(str), int), ("[1,5]",)),
    Specimen("tsrange", _range(st.just("2024-01-01 10:00"), str), ("(,infinity]",), certain=False),
    Specimen("tstzrange", _range(st.just("2024-01-01 10:00+02"), str), ("[2024-01-01 00:00+00,)",), certain=False),
    Specimen("daterange", _range(st.just("2024-01-01"), str), ("[2020-01-01,2021-01-01]",), certain=False),
    # Domains are written as what they are based on.
    Specimen("price", _MONEYLIKE, ("1.5",), "numeric(12,2)"),
    Specimen("quantity", _NUMERIC, _NUMBERS, "numeric"),
    Specimen("moment", _TIMESTAMPTZ, ("2024-02-29 12:34:56.1Z",), "timestamptz(3)"),
    Specimen("later_moment", _TIMESTAMPTZ, ("2024-02-29 12:34:56.1Z",), "timestamptz(3)"),
    Specimen("label", _TEXT, _TEXTS, "text"),
    Specimen("code", _TEXT, _TEXTS, "char(5)"),
    Specimen("single", _FLOAT4, _SINGLES, "float4"),
    Specimen("span", _INTERVAL, _SPANS, "interval"),
    Specimen("document", _JSONB.values, _JSONS, "jsonb"),
    Specimen("day", _DAY.values, _DAYS, "date"),
    *map(_array, (_BOOL, _INT2, _INT4, _INT8, _OID, _REAL, _DOUBLE, _DECIMAL, _PRICE, _STRING, _VARCHAR, _CHAR)),
    *map(_array, (_CITEXT, _JSON_TEXT, _JSONB, _BYTES, _ID, _MOOD, _INET_ADDRESS, _NETWORK, _MAC_ADDRESS, _MAC8)),
    *map(_array, (_INTS, _NUMBERS_RANGE)),
    *(_array(specimen, certain=False) for specimen in (_MOMENT, _LOCAL, _DAY, _CLOCK, _ZONED_CLOCK)),
)


def columns() -> list[Column]:
    """A cached column for each specimen."""
    return [Column(f"c{i}", specimen.catalog_type, nullable=True) for i, specimen in enumerate(SPECIMENS)]


def table(*cached: Column) -> Table:
    """The table of specimens, with these columns cached."""
    return Table("specimens", key=("id",), columns=(Column("id", "int8"), *cached))


def create_statement() -> str:
    """Make the table. Every column has a default, which a null must not be taken for."""
    listed = ", ".join(
        f"c{i} {specimen.declared} DEFAULT {_literal(specimen.awkward[0])}" for i, specimen in enumerate(SPECIMENS)
    )
    return f"CREATE TABLE specimens (id int8 PRIMARY KEY, {listed})"


def write_statement() -> str:
    """Insert or update one row: $1 is its id, then the text of each column or null."""
    values = ", ".join(f"${i + 2}::text::{specimen.declared}" for i, specimen in enumerate(SPECIMENS))
    changed = ", ".join(f"c{i} = excluded.c{i}" for i in range(len(SPECIMENS)))
    return f"INSERT INTO specimens VALUES ($1, {values}) ON CONFLICT (id) DO UPDATE SET {changed}"


def _literal(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"'{quoted}'"
