"""The form of what lies in Redis, and the token that a writer gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.entry import LAYOUT, Header, Origin, pack, unpack
from schemas.token import TokenError, WriteToken
from schemas.wal import Snapshot

NUMBERS = st.integers(min_value=0, max_value=2**53)
HEADERS = st.builds(
    Header,
    layout=st.just(LAYOUT),
    kind=st.sampled_from(["v", "a", "p"]),
    epoch=st.text(max_size=20),
    lsn=NUMBERS,
    xid=NUMBERS,
    snapshot=st.builds(Snapshot, NUMBERS, st.lists(NUMBERS, max_size=5).map(tuple)),
    completed=NUMBERS,
    token=st.text(max_size=20),
    lease_until_ms=NUMBERS,
    format=st.text(max_size=8),
    origin=st.builds(Origin, st.text(max_size=20), st.integers(0, 99), NUMBERS, NUMBERS),
    tags=st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=3).map(tuple),
    written_at_ms=NUMBERS,
)


@given(HEADERS, st.binary(max_size=300))
def test_an_entry_is_read_as_it_was_written(header: Header, body: bytes) -> None:
    assert unpack(pack(header, body)) == (header, body)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_entry_count_as_absent(noise: bytes) -> None:
    found = unpack(noise)
    assert found is None or found[0].layout == LAYOUT


def test_an_entry_of_another_layout_counts_as_absent() -> None:
    assert unpack(pack(Header(LAYOUT + 1, "v", "e"))) is None


@given(NUMBERS, NUMBERS)
def test_a_token_survives_being_a_text(lsn: int, completed: int) -> None:
    token = WriteToken(lsn, completed)
    assert WriteToken.parse(str(token)) == token


@pytest.mark.parametrize("text", ["", "1", "x-y", "12-", "1-2-3"])
def test_a_text_that_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError, match="not a write token"):
        WriteToken.parse(text)


def test_an_entry_covers_a_write_that_came_before_its_event_or_its_snapshot() -> None:
    token = WriteToken(lsn=100, completed=50)
    assert token.covered_by(Header(LAYOUT, "v", "e", lsn=101))
    assert token.covered_by(Header(LAYOUT, "v", "e", completed=50))
    assert not token.covered_by(Header(LAYOUT, "v", "e", lsn=100, completed=49))
