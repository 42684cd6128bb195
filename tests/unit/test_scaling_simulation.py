"""The simulator of the HPA keeps to its algorithm, and demand is calmer in it than lag over a threshold."""

from __future__ import annotations

import numpy as np
import pytest

from bench.scaling.hpa import BEHAVIOURS, Autoscaler, Behaviour, Policy
from bench.scaling.loads import LOADS, PARTITIONS
from bench.scaling.rules import DemandRule, LagRule
from bench.scaling.simulation import simulate
from infra.settings import DemandSettings

TARGETS = DemandSettings(ceiling=PARTITIONS)
FREE = Behaviour((Policy("Pods", 100, 15),), (Policy("Percent", 100, 15),), 0, 0)


def decided(behaviour: Behaviour, replicas: int, *usages: float | None, every_s: int = 15, most: int = 24) -> list[int]:
    """What there is after each sync, where a replica is to have 1 of the metric."""
    autoscaler = Autoscaler(behaviour, least=1, most=most)
    found: list[int] = []
    for number, usage in enumerate(usages):
        replicas = autoscaler.decide(number * every_s, replicas, usage, 1.0)
        found.append(replicas)
    return found


@pytest.mark.parametrize(
    ("usage", "expected"), [(10.9, 10), (11.1, 12), (9.1, 10), (8.9, 9), (None, 10), (0, 1), (99, 24)]
)
def test_within_the_tolerance_nothing_changes(usage: float | None, expected: int) -> None:
    assert decided(FREE, 10, usage) == [expected]


def test_a_fall_waits_for_the_window() -> None:
    calm = Behaviour(FREE.up, FREE.down, 0, 60)
    assert decided(calm, 8, 8, 2, 2, 2, 2, 2) == [8, 8, 8, 8, 2, 2]


def test_a_rise_is_as_fast_as_its_policy() -> None:
    assert decided(BEHAVIOURS["moderate"], 4, *[24] * 7) == [6, 6, 9, 9, 14, 14, 21]
    assert decided(BEHAVIOURS["aggressive"], 1, *[24] * 5) == [2, 4, 8, 16, 24]


def test_of_several_policies_the_one_that_allows_most_counts() -> None:
    both = Behaviour((Policy("Pods", 3, 15), Policy("Percent", 50, 15)), FREE.down, 0, 0)
    assert decided(both, 2, *[24] * 4) == [5, 8, 12, 18]


@pytest.mark.parametrize("load", ["constant", "slow leak"])
def test_demand_is_calmer_than_lag_and_no_later(load: str) -> None:
    by_lag = simulate(LOADS[load], LagRule(1_000), BEHAVIOURS["moderate"], rate_per_s=200)
    ours = simulate(LOADS[load], DemandRule(TARGETS), BEHAVIOURS["moderate"], rate_per_s=200)
    assert ours.over_s <= by_lag.over_s
    assert ours.reversals <= by_lag.reversals / 4
    assert ours.replica_s < by_lag.replica_s


def test_an_outage_changes_nothing_while_it_lasts() -> None:
    ours = simulate(LOADS["outage"], DemandRule(TARGETS), BEHAVIOURS["moderate"], rate_per_s=200)
    assert np.ptp(ours.replicas[1_230:1_320]) == 0
