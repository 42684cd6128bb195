"""The catalog: what it refuses, and the keys, tags and patterns that it makes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import Catalog, Column, Table, Template
from schemas.errors import CatalogError, PatternError
from schemas.keys import key_part
from schemas.voiceassist import CONVERSATIONS, USERS, VOICEASSIST

ID = Column("id", "int8")


def test_a_row_falls_under_the_tags_of_its_values() -> None:
    assert CONVERSATIONS.tags_of({"id": 7, "user_id": 42}) == ["conversation:7", "user:42"]


def test_a_null_has_no_tag() -> None:
    table = Table("notes", key=("id",), columns=(ID, Column("owner", "int8", nullable=True)), tags=("user:{owner}",))
    assert table.tags_of({"id": 1, "owner": None}) == []


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2))
def test_different_values_make_different_keys(values: list[str]) -> None:
    template = Template("pair:{a}:{b}")
    key = template.fill(values)
    assert key.count(":") == 2
    assert "*" not in key
    other = template.fill([values[1], values[0]])
    assert (key == other) == (values[0] == values[1])


def test_what_gives_a_key_its_form_is_escaped() -> None:
    assert key_part("a:b*c d%") == "a%3Ab%2Ac%20d%25"


@pytest.mark.parametrize(
    ("pattern", "tag"),
    [
        ("user:42:*", "user:42"),
        ("conversation:7:*", "conversation:7"),
        ("user:*", "user:*"),
        ("document:*", "document:*"),
    ],
)
def test_a_pattern_is_a_declared_tag_and_a_star(pattern: str, tag: str) -> None:
    assert VOICEASSIST.parse_pattern(pattern) == tag


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "",
        "user:42",
        "user:*:messages",
        "us*",
        "user:4?:*",
        "user:[12]:*",
        "order:42:*",
        "user:1:2:*",
        "user::*",
        ":*",
    ],
)
def test_any_other_glob_is_refused_and_told_what_to_declare(pattern: str) -> None:
    with pytest.raises(PatternError, match=r"[Dd]eclare"):
        VOICEASSIST.parse_pattern(pattern)


def test_a_key_is_traced_to_its_table() -> None:
    assert VOICEASSIST.table_of_key("user:42") is USERS


@pytest.mark.parametrize("key", ["user", "user:", "user:1:2", "message:1", "user:*", ""])
def test_what_is_no_key_of_an_entry_is_refused(key: str) -> None:
    with pytest.raises(PatternError, match="not the key of an entry"):
        VOICEASSIST.table_of_key(key)


@pytest.mark.parametrize(
    ("faulty", "complaint"),
    [
        ({"key": ()}, "no key"),
        ({"entry": "user:{name}"}, "must name the key columns"),
        ({"entry": "User-{id}"}, "not of the form"),
        ({"tags": ("user:{owner}",)}, "not listed"),
        ({"columns": (ID, ID)}, "listed twice"),
        ({"columns": (Column("id", "int8", nullable=True),)}, "can't be nullable"),
        ({"ttl_s": 0}, "must be positive"),
        ({"tags": ("tag:{id}",)}, "reserved"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(faulty: dict[str, object], complaint: str) -> None:
    sound: dict[str, object] = {"name": "users", "key": ("id",), "columns": (ID,), "entry": "user:{id}"}
    with pytest.raises(CatalogError, match=complaint):
        Table(**(sound | faulty))  # type: ignore[arg-type]


def test_two_tables_can_not_share_a_family_of_entries() -> None:
    other = Table("people", key=("id",), columns=(ID,), entry="user:{id}")
    with pytest.raises(CatalogError, match="family of entries more than once: user"):
        Catalog((USERS, other))


def test_an_unknown_table_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(CatalogError, match=r"public\.users"):
        VOICEASSIST.table("orders")


def test_caching_another_column_makes_another_format() -> None:
    wider = Table("users", key=("id",), columns=(*USERS.columns, Column("locale", "text")))
    assert wider.format != USERS.format
