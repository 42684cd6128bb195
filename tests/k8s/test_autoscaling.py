"""Kubernetes's own autoscaler, fed through Prometheus and its adapter, scales real workers by demand."""

from __future__ import annotations

import math
from typing import Final

import pytest

from bench.scaling.real import PARTITIONS, RECOVERY_S
from bench.scaling.timelines import Sample, figures
from tests.k8s.world import Makes, Rise

LATENCY_S: Final = 0.25
# One worker can do the lower one, and four the higher one: in the middle of a step, where noise changes nothing.
LOW_PER_S, HIGH_PER_S = 250.0, 2_500.0
# Ten stabilisation windows.
LONG_S: Final = 200.0
HELD_S: Final = 100.0
OUTAGE_S: Final = 120.0
# Some 750 records a second, which is less than one worker can do, of eight, and than comes.
SATURATED_BYTES_PER_S: Final = 300_000.0
SATURATING_PER_S: Final = 1_200.0


@pytest.mark.timeout(3_600)
async def test_ten_times_the_load_brings_workers_and_they_go_when_it_ends(makes: Makes) -> None:
    async with makes.open(latency_s=LATENCY_S) as world:
        timeline, events = world.timeline, world.events
        try:
            events.per_s = LOW_PER_S
            await timeline.reaches("one is enough", lambda s: s.replicas == s.running == s.demand == 1, 300, for_s=30)
            rose_s = timeline.now_s
            events.per_s = HIGH_PER_S
            await timeline.reaches("more come", lambda s: s.replicas > 2 and s.running == s.replicas, 120)
            await timeline.reaches("the lag is worked off", lambda s: _is_under(s, RECOVERY_S / 3), 180, for_s=10)
            caught_up_s = timeline.now_s
            await timeline.goes_on(LONG_S, never=lambda s: not _is_under(s, RECOVERY_S))
            fell_s = timeline.now_s
            events.per_s = LOW_PER_S
            await timeline.reaches("they go again", lambda s: s.replicas == s.running == 1, 300, for_s=40)
            await world.nothing_is_wrong()
        finally:
            timeline.write("tenfold")
        # Up, and after the load's end down.
        assert figures(timeline.since(rose_s), RECOVERY_S).reversals == 1
        lasting = [sample for sample in timeline.since(caught_up_s + 60) if sample.at_s < fell_s]
        # What demand says is what there is.
        assert {sample.replicas for sample in lasting} == {sample.demand for sample in lasting}


@pytest.mark.timeout(3_600)
async def test_while_the_store_is_away_the_replicas_are_held(makes: Makes) -> None:
    async with makes.open(latency_s=LATENCY_S) as world:
        timeline, events = world.timeline, world.events
        try:
            events.per_s = 4 * LOW_PER_S
            await timeline.reaches(
                "a few are enough", lambda s: s.replicas == s.running and _is_under(s, 5), 300, for_s=60
            )
            before = timeline.samples[-1].replicas
            world.store.go_away()
            await timeline.goes_on(OUTAGE_S, never=lambda s: s.replicas != before)
            assert timeline.samples[-1].reason == "store_away"
            world.store.come_back()
            await timeline.reaches("what waited is worked off", lambda s: _is_under(s, RECOVERY_S), 600, for_s=30)
            await world.nothing_is_wrong()
        finally:
            timeline.write("outage")


@pytest.mark.timeout(3_600)
async def test_where_the_store_can_do_no_more_the_replicas_stop_rising(makes: Makes) -> None:
    async with makes.open(latency_s=LATENCY_S, up=Rise(50, 45)) as world:
        timeline, events = world.timeline, world.events
        try:
            events.per_s = LOW_PER_S
            await timeline.reaches("one is enough", lambda s: s.replicas == s.running == s.demand == 1, 300, for_s=30)
            world.store.of_all.bytes_per_s = SATURATED_BYTES_PER_S
            events.per_s = SATURATING_PER_S
            await timeline.reaches("it is seen", lambda s: s.reason == "saturated", 400)
            await timeline.reaches(
                "no more than are of use", lambda s: s.replicas == s.running == s.demand, 300, for_s=10
            )
            most = timeline.samples[-1].replicas
            await timeline.goes_on(HELD_S, never=lambda s: s.replicas > most)
            assert most < PARTITIONS
            world.store.of_all.bytes_per_s = math.inf
            await world.nothing_is_wrong()
        finally:
            timeline.write("saturated")


def _is_under(sample: Sample, target_s: float) -> bool:
    return sample.lag_s is not None and sample.lag_s < target_s
