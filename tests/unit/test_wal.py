"""Positions and snapshots of Postgres."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.wal import Snapshot, format_lsn, parse_lsn

XIDS = st.integers(min_value=3, max_value=2**40)


@given(st.integers(min_value=0, max_value=2**53))
def test_an_lsn_survives_being_printed(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


def test_an_lsn_is_read_as_postgres_prints_it() -> None:
    assert parse_lsn("16/B374D848") == 0x16_B374D848


def test_a_text_that_is_no_lsn_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_lsn("tomorrow")


def test_a_snapshot_sees_what_completed_before_it_and_nothing_that_runs() -> None:
    snapshot = Snapshot.parse("100:110:102,105")
    assert snapshot.sees(101)
    assert not snapshot.sees(102)
    assert not snapshot.sees(110)


def test_a_snapshot_without_running_transactions_is_read() -> None:
    assert Snapshot.parse("731:731:") == Snapshot(731)


@given(
    xmax=st.integers(min_value=2**31, max_value=2**45),
    distance=st.integers(min_value=-(2**31) + 1, max_value=2**31 - 1),
)
def test_a_transaction_id_of_32_bits_is_widened_to_the_nearest(xmax: int, distance: int) -> None:
    xid = xmax + distance
    assert Snapshot(xmax).widen(xid & 0xFFFFFFFF) == xid


@given(xmax=st.integers(min_value=3, max_value=2**20), xid=st.integers(min_value=3, max_value=2**20))
def test_ids_of_a_young_cluster_are_not_widened(xmax: int, xid: int) -> None:
    assert Snapshot(xmax).widen(xid) == xid


@given(st.data())
def test_of_two_snapshots_the_later_has_completed_more(data: st.DataObject) -> None:
    """Run random histories of transactions and compare every pair of snapshots of one history."""
    running: list[int] = []
    next_xid, latest_completed = 10, 9
    completions: list[int] = []
    snapshots: list[tuple[int, Snapshot]] = []
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(["begin", "complete", "look"]))
        if step == "begin":
            running.append(next_xid)
            next_xid += 1
        elif step == "complete" and running:
            xid = running.pop(data.draw(st.integers(0, len(running) - 1)))
            latest_completed = max(latest_completed, xid)
            completions.append(xid)
        elif step == "look":
            xmax = latest_completed + 1
            snapshots.append((len(completions), Snapshot(xmax, tuple(x for x in running if x < xmax))))
    for count, snapshot in snapshots:
        assert {xid for xid in completions if snapshot.sees(xid)} == set(completions[:count])
        for other_count, other in snapshots:
            assert (count < other_count) == (snapshot.completed < other.completed)
