"""Kubernetes's own autoscaler, fed through Prometheus and its adapter, scales real workers by demand."""

from __future__ import annotations

from typing import Final

import pytest

from tests.k8s.timeline import Sample, figures
from tests.k8s.world import RECOVERY_S, Makes

LATENCY_S: Final = 0.25
LOW_PER_S, HIGH_PER_S = 150.0, 1_500.0
# Ten stabilisation windows.
LONG_S: Final = 200.0


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
            events.per_s = 0
            await timeline.reaches("everything is applied", lambda s: s.lag_messages == 0, 120)
        finally:
            timeline.write("tenfold")
        # Up, and after the load's end down.
        assert figures(timeline.since(rose_s), RECOVERY_S).reversals == 1
        lasting = [sample for sample in timeline.since(caught_up_s + 60) if sample.at_s < fell_s]
        # What demand says is what there is.
        assert {sample.replicas for sample in lasting} == {sample.demand for sample in lasting}
        await world.ground.all_applied()
        assert await events.wrong() == []


def _is_under(sample: Sample, target_s: float) -> bool:
    return sample.lag_s is not None and sample.lag_s < target_s
