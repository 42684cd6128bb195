"""Keys and tags: one value of the database has one text."""

import uuid

import pytest

from schemas.catalog import Catalog, Column, Table
from schemas.errors import CatalogError, KeyValueError, PatternError
from schemas.keys import value_text
from schemas.voiceassist import USERS, VOICEASSIST


@pytest.mark.parametrize(
    ("column_type", "value", "text"),
    [
        ("int8", 42, "42"),
        ("bigint", "42", "42"),
        ("int8", -7, "-7"),
        ("uuid", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("uuid", uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("text", "a b", "a b"),
        ("varchar(20)", "", ""),
        ("bool", True, "true"),
        ("enum", "red", "red"),
    ],
)
def test_a_value_has_the_text_that_events_have(column_type: str, value: object, text: str) -> None:
    assert value_text(column_type, value) == text


@pytest.mark.parametrize(
    ("column_type", "value"),
    [
        ("int8", "042"),
        ("int8", "-0"),
        ("int8", " 42"),
        ("int8", "\u0664\u0662"),
        ("int8", 4.0),
        ("int8", True),
        ("int8", None),
        ("int8", 1 << 63),
        ("int2", 1 << 15),
        ("uuid", "no"),
        ("text", 42),
        ("text", "a\0b"),
        ("text", "\ud800"),
        ("bool", 1.5),
    ],
)
def test_a_value_that_no_row_can_have_is_refused(column_type: str, value: object) -> None:
    with pytest.raises(KeyValueError):
        value_text(column_type, value)


@pytest.mark.parametrize("column_type", ["numeric", "citext", "char(3)", "timestamptz", "int8[]"])
def test_types_without_a_single_text_cant_be_asked_for(column_type: str) -> None:
    with pytest.raises(CatalogError, match="several texts"):
        value_text(column_type, "1")


def test_a_key_error_names_the_table_and_its_key() -> None:
    with pytest.raises(KeyValueError, match=r"Key \(id\) of public.users: 'x' is not a value of int8"):
        USERS.key_texts(["x"])
    with pytest.raises(KeyValueError, match="2 values were given"):
        USERS.key_texts([1, 2])


@pytest.mark.parametrize("tag", ["user:042", "user:+42", "user:x", "user:4 2"])
def test_a_tag_that_no_change_drops_is_refused(tag: str) -> None:
    with pytest.raises(PatternError, match="No change drops the tag"):
        VOICEASSIST.check_tag(tag)


def test_a_key_is_taken_apart_into_the_texts_of_its_values() -> None:
    table = Table(name="t", key=("a", "b"), entry="t:{a}:{b}", columns=(Column("a", "int4"), Column("b", "text")))
    catalog = Catalog((table,))
    key = "t:1:x%3Ay%20z"
    assert catalog.key_texts_of(key) == (table, ("1", "x:y z"))
    with pytest.raises(PatternError):
        catalog.key_texts_of("t:01:x")
