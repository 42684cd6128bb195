"""Demand: monotone, bounded, calm at a constant load with noise, and never just under what is needed."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.lag.demand import Demand, demand, load_per_s, published
from freshline.lag.packing import replicas_for
from infra.kafka.assignment import Member, spread
from infra.settings import DemandSettings

RATE = 100.0
LOADS = st.lists(st.floats(0, 1000), min_size=1, max_size=48)
TOPICS = st.lists(st.lists(st.floats(0, 200), min_size=1, max_size=12), min_size=1, max_size=4)
TARGETS = DemandSettings(ceiling=48)


def test_what_is_on_its_way_is_no_backlog() -> None:
    assert load_per_s(10, 50, 60) == 10
    assert load_per_s(10, 650, 60) == 20
    assert load_per_s(0, 60, 60) == 1
    # Records that retention takes away look like arrivals that are less than none.
    assert load_per_s(-10, 0, 60) >= 0


@given(
    topics=TOPICS,
    topic=st.integers(0, 3),
    place=st.integers(0, 11),
    more=st.floats(0, 1000),
    former=st.none() | st.integers(1, 60),
)
def test_more_load_never_asks_for_fewer_replicas(
    topics: list[list[float]], topic: int, place: int, more: float, former: int | None
) -> None:
    heavier = [list(loads) for loads in topics]
    changed = heavier[topic % len(topics)]
    changed[place % len(changed)] += more
    assert demand(topics, RATE, TARGETS, former).replicas <= demand(heavier, RATE, TARGETS, former).replicas


@given(topics=TOPICS, rate=st.floats(1, 1000), faster=st.floats(1, 10))
def test_faster_replicas_are_never_more(topics: list[list[float]], rate: float, faster: float) -> None:
    assert replicas_for(topics, rate * faster, 0.9)[0] <= replicas_for(topics, rate, 0.9)[0]


@given(topics=TOPICS, former=st.none() | st.integers(1, 60), floor=st.integers(1, 5), ceiling=st.integers(5, 20))
def test_never_more_than_partitions_nor_than_the_ceiling(
    topics: list[list[float]], former: int | None, floor: int, ceiling: int
) -> None:
    wanted = demand(topics, RATE, DemandSettings(floor=floor, ceiling=ceiling), former).replicas
    assert floor <= wanted <= max(floor, min(ceiling, sum(map(len, topics))))


@given(levels=st.lists(st.tuples(st.integers(1, 12), st.floats(0, 85)), min_size=1, max_size=4))
def test_what_is_asked_for_is_enough_for_how_partitions_are_spread(levels: list[tuple[int, float]]) -> None:
    """Each topic evenly loaded, and topics as different as they like."""
    needed = replicas_for([[load] * partitions for partitions, load in levels], RATE, 0.90)[0]
    partitions = {f"t{place}": range(count) for place, (count, _) in enumerate(levels)}
    load_of = {f"t{place}": load for place, (_, load) in enumerate(levels)}
    assigned = spread(partitions, {f"m{number}": Member(partitions) for number in range(max(1, needed))})
    worst = max(sum(load_of[partition.topic] for partition in each) for each in assigned.values())
    assert worst <= RATE * 0.90 * (1 + 1e-6)


def test_a_topic_that_has_all_the_load_counts_by_its_own_partitions() -> None:
    # Eight partitions of 0.45 replicas, beside sixteen that idle: two on each of four.
    assert replicas_for([[45 * 0.9] * 8, [0.0] * 8, [0.0] * 8], RATE, 0.90) == (4, "load")
    assert replicas_for([[55 * 0.9] * 8, [0.0] * 8, [0.0] * 8], RATE, 0.90) == (8, "load")


@given(loads=st.lists(st.floats(0, 85), min_size=1, max_size=48))
def test_no_replica_is_asked_for_more_than_it_can_do(loads: list[float]) -> None:
    """Whichever partitions come together by chance, evenly loaded ones fit; an uneven one is given more room."""
    even = [sum(loads) / len(loads)] * len(loads)
    needed = demand([even], RATE, TARGETS, None).replicas
    assert math.ceil(len(even) / needed) * even[0] <= RATE * 0.90 * (1 + 1e-6)


def test_partitions_come_whole() -> None:
    # 24 partitions of 0.2 replicas each are 4.8 replicas; but four on each of six is what fits.
    assert replicas_for([[0.2 * 90] * 24], RATE, 0.90) == (5, "load")
    assert replicas_for([[0.21 * 90] * 24], RATE, 0.90) == (6, "load")
    assert replicas_for([[0.34 * 90] * 24], RATE, 0.90) == (12, "load")


def test_a_hot_partition_gets_room() -> None:
    assert replicas_for([[80.0] + [5.0] * 23], RATE, 0.90)[1] == "hot_partition"
    few, _ = replicas_for([[5.0] * 24], RATE, 0.90)
    one_hot, _ = replicas_for([[80.0] + [5.0] * 23], RATE, 0.90)
    too_hot, _ = replicas_for([[8_000.0] + [5.0] * 23], RATE, 0.90)
    assert few < one_hot <= too_hot < 24


@pytest.mark.parametrize("level", [0.7, 1.0, 2.4, 3.3, 5.9])
def test_noise_moves_nothing(level: float) -> None:
    random = Random(3)
    answers: list[int] = []
    former = demand([[level * RATE / 24] * 24], RATE, TARGETS, None).replicas
    for _ in range(1_000):
        loads = [level * RATE / 24 * random.gauss(1, 0.1) for _ in range(24)]
        former = demand([loads], RATE, TARGETS, former).replicas
        answers.append(former)
    changes = sum(one != other for one, other in pairwise(answers))
    assert changes <= 1
    assert min(answers) >= level / 0.9


def test_the_former_answer_is_kept_while_the_loads_allow_it() -> None:
    loads = [87.0]
    twelve = loads * 12
    assert demand([twelve], RATE, TARGETS, 12) == Demand(12, "load")
    between = [0.88 * RATE / 2] * 24
    assert demand([between], RATE, TARGETS, None).replicas == 12
    assert demand([between], RATE, TARGETS, 24) == Demand(24, "held")
    assert demand([between], RATE, TARGETS, 3) == Demand(12, "load")


def test_idle_needs_the_floor() -> None:
    assert demand([[0.0] * 8], RATE, DemandSettings(floor=0), None) == Demand(0, "idle")
    assert demand([[0.0] * 8], RATE, DemandSettings(floor=2), None) == Demand(2, "idle")


@given(running=st.integers(1, 200), wanted=st.integers(1, 200))
def test_the_hpa_is_told_what_it_does_not_ignore(running: int, wanted: int) -> None:
    told = published(wanted, running)
    assert told >= wanted
    if wanted > running:
        assert told / running > 1.1
    else:
        assert told == wanted
