"""What is pending of documents, and when its records are due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.refresh import Refresh
from streams.pending import DELETED, QUIET, UNREST, Backlog, Place, Timing, merged

TIMING = Timing(quiet_s=0.5, unrest_s=5.0)
PLACE = Place("va.public.documents", 0, b"one")
OTHER = Place("va.public.documents", 0, b"other")


def change(lsn: int = 1, *tags: str, at_ms: int = 0) -> Refresh:
    """One change of a document."""
    xid32 = 100 + lsn if lsn else 0
    return Refresh("public.documents", (1,), lsn, xid32, tags, committed_at_ms=at_ms, changed_at_ms=at_ms)


changes = st.builds(
    lambda lsn, tags, at_ms: change(lsn, *tags, at_ms=at_ms),
    st.integers(0, 5),
    st.lists(st.sampled_from("abc"), max_size=3, unique=True),
    st.integers(1, 100),
)


@given(st.lists(changes, min_size=1))
def test_what_is_merged_covers_every_change_in_it(found: list[Refresh]) -> None:
    whole, *rest = found
    for each in rest:
        whole = merged(whole, each)
    assert whole.lsn == max(each.lsn for each in found)
    assert (whole.lsn, whole.xid32) in {(each.lsn, each.xid32) for each in found}
    assert set(whole.tags) == {tag for each in found for tag in each.tags}
    assert whole.changed_at_ms == min(each.changed_at_ms for each in found)
    assert whole.committed_at_ms == max(each.committed_at_ms for each in found)
    assert whole.changes <= len(found)


@given(changes, changes)
def test_a_change_that_is_read_again_adds_nothing(first: Refresh, second: Refresh) -> None:
    whole = merged(first, second)
    if second.lsn:
        assert merged(whole, second) == whole


def test_a_row_of_a_snapshot_takes_no_position_from_a_change() -> None:
    assert merged(change(0, "a"), change(7, "b")) == Refresh("public.documents", (1,), 7, 107, ("a", "b"), changes=2)
    assert merged(change(7), change(0)).lsn == 7


def test_a_document_is_due_once_it_is_quiet() -> None:
    backlog = Backlog(TIMING)
    backlog.add(PLACE, change(1), 0.0)
    backlog.add(PLACE, change(2), 0.4)
    assert backlog.take_due(0.5, 10) == []
    (due,) = backlog.take_due(0.9, 10)
    assert (due.record.lsn, due.why) == (2, QUIET)


def test_a_document_that_does_not_come_to_rest_is_due_all_the_same() -> None:
    backlog = Backlog(TIMING)
    for step in range(13):
        backlog.add(PLACE, change(step + 1), step * 0.4)
        assert backlog.take_due(step * 0.4, 10) == []
    (due,) = backlog.take_due(5.0, 10)
    assert (due.record.changes, due.why) == (13, UNREST)


def test_what_is_not_to_wait_is_due_at_once_and_takes_the_rest_along() -> None:
    backlog = Backlog(TIMING)
    backlog.add(PLACE, change(1, "a"), 0.0)
    backlog.add(PLACE, change(2, "b"), 0.1, at_once=DELETED)
    (due,) = backlog.take_due(0.1, 10)
    assert (due.record.tags, due.why) == (("a", "b"), DELETED)
    assert backlog.settle(due.document) == []
    assert len(backlog) == 0
    assert backlog.take_due(99.0, 10) == []


def test_no_more_are_taken_than_asked_for() -> None:
    backlog = Backlog(TIMING)
    backlog.add(PLACE, change(1), 0.0)
    backlog.add(OTHER, change(1), 0.0)
    assert [len(backlog.take_due(1.0, 1)) for _ in range(3)] == [1, 1, 0]


def test_what_comes_while_a_record_is_on_its_way_is_another_record() -> None:
    backlog = Backlog(TIMING)
    backlog.add(PLACE, change(1, "a"), 0.0)
    (due,) = backlog.take_due(1.0, 10)
    backlog.add(PLACE, change(2, "b"), 1.1)
    (dirty,) = backlog.take_dirty()
    # A crash now must find both: nobody knows whether the record arrived.
    assert dirty.pending.tags == ("a", "b")
    dirty.stored[b"key"] = None
    assert backlog.settle(due.document) == []
    (again,) = backlog.take_due(1.6, 10)
    assert (again.record.tags, again.record.changes) == (("b",), 1)
    assert backlog.settle(again.document) == [b"key"]


def test_a_deletion_while_a_record_is_on_its_way_follows_it_at_once() -> None:
    backlog = Backlog(TIMING)
    backlog.add(PLACE, change(1), 0.0)
    (due,) = backlog.take_due(1.0, 10)
    backlog.add(PLACE, change(2), 1.0, at_once=DELETED)
    assert backlog.take_due(1.0, 10) == []
    backlog.settle(due.document)
    (deletion,) = backlog.take_due(1.0, 10)
    assert (deletion.record.lsn, deletion.why) == (2, DELETED)


def test_what_the_table_held_is_due_after_the_quiet_time_whoever_wrote_it() -> None:
    backlog = Backlog(TIMING)
    backlog.restore(PLACE, change(1, "a"), b"one", 10.0)
    backlog.restore(PLACE, change(2, "b"), b"two", 10.0)
    assert backlog.take_due(10.4, 10) == []
    (due,) = backlog.take_due(10.5, 10)
    assert (due.record.lsn, due.record.tags) == (2, ("a", "b"))
    assert backlog.settle(due.document) == [b"one", b"two"]


@pytest.mark.parametrize("rebalances", [1, 30])
def test_rebalances_do_not_put_a_record_off_for_ever(rebalances: int) -> None:
    backlog = Backlog(TIMING)
    backlog.add(PLACE, change(1), 0.0)
    for step in range(rebalances):
        now = 0.4 * (step + 1)
        since = backlog.forget()
        backlog.restore(PLACE, change(1), b"key", now, since=since[PLACE])
        if backlog.take_due(now, 10):
            assert now >= 5.0
            return
    assert backlog.next_due_at() is not None
    assert rebalances == 1


@given(st.lists(st.tuples(st.sampled_from([PLACE, OTHER]), st.floats(0, 3), st.booleans()), min_size=1, max_size=40))
def test_every_change_is_sent_within_the_time_of_unrest_and_seldom(steps: list[tuple[Place, float, bool]]) -> None:
    backlog = Backlog(TIMING)
    now, sent, deletions = 0.0, 0, 0
    waits_since: dict[Place, float] = {}

    def send() -> None:
        nonlocal sent
        for due in backlog.take_due(now, 100):
            assert now - waits_since.pop(due.document.place) <= TIMING.unrest_s + 3
            sent += 1
            backlog.settle(due.document)

    for lsn, (place, wait_s, is_deletion) in enumerate(steps, 1):
        now += wait_s
        send()
        backlog.add(place, change(lsn), now, at_once=DELETED if is_deletion else None)
        waits_since.setdefault(place, now)
        deletions += is_deletion
    now += TIMING.unrest_s
    send()
    assert not waits_since
    assert len(backlog) == 0
    assert sent <= len(steps)
    # Between two records of a document lies the quiet time, unless it was deleted.
    assert sent <= deletions + 2 * (now / TIMING.quiet_s + 1)
