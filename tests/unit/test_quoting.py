"""Names and values as parts of statements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.postgres.quoting import NAME_LIMIT_BYTES, derived_name, identifier, literal
from infra.postgres.statements import UnknownStatementError, parse, statement
from schemas.errors import SettingsError


@given(st.text(min_size=1, max_size=15).filter(lambda text: "\0" not in text))
def test_an_identifier_has_no_quote_that_ends_it(name: str) -> None:
    quoted = identifier(name)
    assert quoted[0] == quoted[-1] == '"'
    assert '"' not in quoted[1:-1].replace('""', "")
    assert quoted[1:-1].replace('""', '"') == name


@given(st.text(max_size=40).filter(lambda text: "\0" not in text))
def test_a_literal_has_no_quote_that_ends_it(text: str) -> None:
    quoted = literal(text)
    assert quoted.removeprefix("E")[0] == quoted[-1] == "'"
    inner = quoted.removeprefix("E")[1:-1].replace("''", "")
    assert "'" not in inner
    if quoted.startswith("E"):
        assert "\\" not in inner.replace("\\\\", "")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "é" * 32])
def test_a_name_that_postgres_would_cut_or_refuse_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        identifier(name)


@given(st.text(min_size=1, max_size=80))
def test_a_derived_name_fits_and_tells_long_names_apart(name: str) -> None:
    made = derived_name("freshline_identity", name)
    assert len(made.encode()) <= NAME_LIMIT_BYTES
    if len(name.encode()) > 63:
        assert made != derived_name("freshline_identity", name + "x")


def test_statements_are_found_by_name_without_their_comments() -> None:
    found = parse("-- about the file\n\n-- name: one\n-- Promise: a row.\nSELECT 1;\n\n-- name: two\nSELECT\n  2\n")
    assert found == {"one": "SELECT 1", "two": "SELECT\n  2"}


def test_an_unknown_statement_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(UnknownStatementError, match="horizon"):
        statement("slot", "nonsense")
