"""Demand: monotone, bounded, calm at a constant load with noise, and never just under what is needed."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.lag.demand import Demand, demand, load_per_s, published, replicas_for
from infra.settings import DemandSettings

RATE = 100.0
LOADS = st.lists(st.floats(0, 1000), min_size=1, max_size=48)
TARGETS = DemandSettings(ceiling=48)


def test_what_is_on_its_way_is_no_backlog() -> None:
    assert load_per_s(10, 50, 60) == 10
    assert load_per_s(10, 650, 60) == 20
    assert load_per_s(0, 60, 60) == 1
    # Records that retention takes away look like arrivals that are less than none.
    assert load_per_s(-10, 0, 60) >= 0


@given(loads=LOADS, place=st.integers(0, 47), more=st.floats(0, 1000), former=st.none() | st.integers(1, 60))
def test_more_load_never_asks_for_fewer_replicas(
    loads: list[float], place: int, more: float, former: int | None
) -> None:
    heavier = list(loads)
    heavier[place % len(loads)] += more
    assert demand(loads, RATE, TARGETS, former).replicas <= demand(heavier, RATE, TARGETS, former).replicas


@given(loads=LOADS, rate=st.floats(1, 1000), faster=st.floats(1, 10))
def test_faster_replicas_are_never_more(loads: list[float], rate: float, faster: float) -> None:
    assert replicas_for(loads, rate * faster, 0.9)[0] <= replicas_for(loads, rate, 0.9)[0]


@given(loads=LOADS, former=st.none() | st.integers(1, 60), floor=st.integers(1, 5), ceiling=st.integers(5, 20))
def test_never_more_than_partitions_nor_than_the_ceiling(
    loads: list[float], former: int | None, floor: int, ceiling: int
) -> None:
    wanted = demand(loads, RATE, DemandSettings(floor=floor, ceiling=ceiling), former).replicas
    assert floor <= wanted <= max(floor, min(ceiling, len(loads)))


@given(loads=st.lists(st.floats(0, 85), min_size=1, max_size=48))
def test_no_replica_is_asked_for_more_than_it_can_do(loads: list[float]) -> None:
    """Whichever partitions come together by chance, evenly loaded ones fit; an uneven one is given more room."""
    even = [sum(loads) / len(loads)] * len(loads)
    needed = demand(even, RATE, TARGETS, None).replicas
    assert math.ceil(len(even) / needed) * even[0] <= RATE * 0.90 * (1 + 1e-6)


def test_partitions_come_whole() -> None:
    # 24 partitions of 0.2 replicas each are 4.8 replicas; but four on each of six is what fits.
    assert replicas_for([0.2 * 90] * 24, RATE, 0.90) == (5, "load")
    assert replicas_for([0.21 * 90] * 24, RATE, 0.90) == (6, "load")
    assert replicas_for([0.34 * 90] * 24, RATE, 0.90) == (12, "load")


def test_a_hot_partition_gets_room() -> None:
    assert replicas_for([80.0] + [5.0] * 23, RATE, 0.90)[1] == "hot_partition"
    few, _ = replicas_for([5.0] * 24, RATE, 0.90)
    one_hot, _ = replicas_for([80.0] + [5.0] * 23, RATE, 0.90)
    too_hot, _ = replicas_for([8_000.0] + [5.0] * 23, RATE, 0.90)
    assert few < one_hot <= too_hot < 24


@pytest.mark.parametrize("level", [0.7, 1.0, 2.4, 3.3, 5.9])
def test_noise_moves_nothing(level: float) -> None:
    random = Random(3)
    answers: list[int] = []
    former = demand([level * RATE / 24] * 24, RATE, TARGETS, None).replicas
    for _ in range(1_000):
        loads = [level * RATE / 24 * random.gauss(1, 0.1) for _ in range(24)]
        former = demand(loads, RATE, TARGETS, former).replicas
        answers.append(former)
    changes = sum(one != other for one, other in pairwise(answers))
    assert changes <= 1
    assert min(answers) >= level / 0.9


def test_the_former_answer_is_kept_while_the_loads_allow_it() -> None:
    loads = [87.0]
    twelve = loads * 12
    assert demand(twelve, RATE, TARGETS, 12) == Demand(12, "load")
    between = [0.88 * RATE / 2] * 24
    assert demand(between, RATE, TARGETS, None).replicas == 12
    assert demand(between, RATE, TARGETS, 24) == Demand(24, "held")
    assert demand(between, RATE, TARGETS, 3) == Demand(12, "load")


def test_idle_needs_the_floor() -> None:
    assert demand([0.0] * 8, RATE, DemandSettings(floor=0), None) == Demand(0, "idle")
    assert demand([0.0] * 8, RATE, DemandSettings(floor=2), None) == Demand(2, "idle")


@given(running=st.integers(1, 200), wanted=st.integers(1, 200))
def test_the_hpa_is_told_what_it_does_not_ignore(running: int, wanted: int) -> None:
    told = published(wanted, running)
    assert told >= wanted
    if wanted > running:
        assert told / running > 1.1
    else:
        assert told == wanted
