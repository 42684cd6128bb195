"""What offsets, ends and records mean: lag and status, without a broker."""

from __future__ import annotations

import math

import pytest

from freshline.lag.partition import Lag, lag_of, next_offset
from freshline.lag.report import GroupLag, PartitionLag
from freshline.lag.status import Standing, Status, status_of, stood, worst
from infra.kafka.observer import Bounds, Committed, Unread

NOW_MS = 1_000_000.0
BOUNDS = Bounds(10, 100, 105)


@pytest.mark.parametrize(
    ("committed", "expected"),
    [
        (None, 10),  # it committed nothing yet
        (5, 10),  # retention overtook it
        (10, 10),
        (70, 70),
        (100, 100),
        (103, 103),  # it reads what is not committed, too
        (106, 10),  # the topic was made anew
    ],
)
def test_a_group_goes_on_where_a_member_would(committed: int | None, expected: int) -> None:
    assert next_offset(None if committed is None else Committed(committed), BOUNDS) == expected


def test_lag_is_the_distance_to_the_end_and_the_age_of_the_oldest() -> None:
    assert lag_of(Committed(70), BOUNDS, Unread(72, 990_000), NOW_MS) == Lag(30, 10.0, 70)
    assert lag_of(Committed(5), BOUNDS, Unread(10, 990_000), NOW_MS) == Lag(90, 10.0, 10, overtaken=5)


@pytest.mark.parametrize("unread", [None, Unread(100, None), Unread(100, 990_000), Unread(104, 990_000)])
def test_where_nothing_can_be_read_there_is_no_lag(unread: Unread | None) -> None:
    assert lag_of(Committed(70), BOUNDS, unread, NOW_MS) == Lag(0, 0.0, 70)


def test_a_record_of_tomorrow_is_not_negative() -> None:
    assert lag_of(Committed(70), BOUNDS, Unread(70, 2_000_000), NOW_MS).seconds == 0


def status(lag: Lag | None, standing: Standing | None = None, *, has_members: bool = True, now_s: float = 0) -> Status:
    return status_of(lag, standing, now_s, has_members=has_members, lagging_s=30, stalled_s=60)


def test_the_status_says_the_worst_that_is_known() -> None:
    assert status(None) == "unknown"
    assert status(Lag(0, 0, 1), has_members=False) == "ok"
    assert status(Lag(1, 0, 1), has_members=False) == "stopped"
    assert status(Lag(1, 29, 1)) == "ok"
    assert status(Lag(1, 31, 1)) == "lagging"
    assert worst(["ok", "lagging", "unknown"]) == "unknown"
    assert worst(["stalled", "unknown", "stopped"]) == "stopped"
    assert worst([]) == "ok"


def test_who_does_not_move_while_more_comes_is_stalled() -> None:
    standing = stood(None, Lag(5, 1, 10), 0)
    assert stood(standing, Lag(9, 50, 10), 59) == standing
    assert status(Lag(9, 59, 10), standing, now_s=59) == "lagging"
    assert status(Lag(9, 61, 10), standing, now_s=61) == "stalled"
    # Nothing came: it may be at one long record, and whoever waits sees that by its age.
    assert status(Lag(5, 61, 10), standing, now_s=61) == "lagging"
    moved = stood(standing, Lag(9, 2, 11), 61)
    assert moved is not None
    assert moved.since_s == 61
    assert stood(moved, Lag(0, 0, 20), 62) is None


def partition(number: int, messages: int | None, **more: float) -> PartitionLag:
    return PartitionLag("t", number, "unknown" if messages is None else "ok", messages=messages, **more)  # type: ignore[arg-type]


def test_a_group_is_the_sum_of_its_partitions_and_unknown_where_one_is() -> None:
    known = partition(0, 100, seconds=5.0, arrival_per_s=10.0, service_per_s=20.0)
    idle = partition(1, 0, seconds=0.0, arrival_per_s=0.0, service_per_s=0.0)
    group = GroupLag("g", [known, idle])
    assert (group.messages, group.seconds, group.drain_s, group.status) == (100, 5.0, 10.0, "ok")
    half_known = GroupLag("g", [known, partition(1, None)])
    assert (half_known.messages, half_known.seconds, half_known.drain_s) == (None, None, None)
    assert half_known.status == "unknown"


def test_a_lag_that_grows_is_never_drained() -> None:
    growing = partition(0, 100, seconds=5.0, arrival_per_s=20.0, service_per_s=20.0)
    assert GroupLag("g", [growing]).drain_s == math.inf
    gone = partition(0, 0, seconds=0.0, arrival_per_s=20.0, service_per_s=20.0)
    assert GroupLag("g", [gone]).drain_s == 0
