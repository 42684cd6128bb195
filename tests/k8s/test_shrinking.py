"""Workers come and go under load, and nothing is lost or wrong."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Final

import pytest

from bench.scaling.timelines import Sample
from tests.k8s.world import Makes

TIMES: Final = 20
LOAD_PER_S: Final = 500.0


@pytest.mark.timeout(3_600)
async def test_shrinking_and_growing_twenty_times_under_load_makes_nothing_wrong(makes: Makes) -> None:
    random = Random(6)
    async with makes.open(latency_s=0.1, scaled_by=None) as world:
        timeline = world.timeline
        try:
            world.events.per_s = LOAD_PER_S
            for _ in range(TIMES):
                for replicas in (random.randint(3, 5), random.randint(1, 2)):
                    world.scale(replicas)
                    there_are = partial(_there_are, replicas)
                    await timeline.reaches(f"there are {replicas}", there_are, 120, for_s=2)
            await world.nothing_is_wrong()
        finally:
            timeline.write("shrinking")


def _there_are(replicas: int, sample: Sample) -> bool:
    return sample.replicas == sample.running == replicas
