"""Demand beside lag over a threshold, which is KEDA's rule, in the same cluster under the same load.

    pytest tests/k8s/comparison.py        (an hour; nothing else should run)

KEDA hands the group's lag to the HPA as an external metric with its ``lagThreshold`` as the average value, and no more
than there are partitions; here the watcher's lag goes the same way. ``slow`` is a store ten times as far away, and a
tenth of the load, with nothing tuned again. Timelines are left in ``.local/k8s/comparison/``, figures beside it;
``python -m bench.scaling --docs`` shows those that lie in ``bench/results/cluster/``.
"""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from bench.scaling.timelines import Figures, Sample, figures
from tests.k8s.timeline import TIMELINES
from tests.k8s.world import DEMAND, RECOVERY_S, Makes, ScaledBy

FOLDER: Final = TIMELINES / "comparison"
FAST_S: Final = 0.1
LOW_PER_S, HIGH_PER_S = 350.0, 3_500.0
# Until whatever a rule does with few records has been seen.
SETTLE_S, LOW_S, HIGH_S, AFTER_S = 25.0, 15.0, 120.0, 80.0


def lag_over(threshold: float) -> ScaledBy:
    """KEDA's rule."""
    return ScaledBy("freshline_group_lag_messages", threshold)


# Ten is KEDA's default.
RULES: Final = {"demand": DEMAND} | {f"lag-{each}": lag_over(each) for each in (10, 2_000)}


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("slower", [1, 10], ids=["fast", "slow"])
@pytest.mark.parametrize("rule", RULES)
async def test_a_rule_under_the_load(makes: Makes, rule: str, slower: int) -> None:
    async with makes.open(latency_s=FAST_S * slower, scaled_by=RULES[rule]) as world:
        timeline, events = world.timeline, world.events
        events.per_s = LOW_PER_S / slower
        await timeline.reaches("workers work", lambda s: s.running > 0 and (s.lag_s or 99) < 10, 300, for_s=5)
        await timeline.goes_on(SETTLE_S)
        began_s = timeline.now_s
        await timeline.goes_on(LOW_S)
        events.per_s = HIGH_PER_S / slower
        await timeline.goes_on(HIGH_S)
        events.per_s = LOW_PER_S / slower
        await timeline.goes_on(AFTER_S)
        samples = timeline.since(began_s)
        _keep(f"{rule}-{'slow' if slower > 1 else 'fast'}", samples)
        await world.nothing_is_wrong()


def _keep(name: str, samples: list[Sample]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_bytes(msgspec.json.encode(samples))
    together = FOLDER.with_suffix(".json")
    known = msgspec.json.decode(together.read_bytes(), type=dict[str, Figures]) if together.exists() else {}
    together.write_bytes(msgspec.json.encode(known | {name: figures(samples, RECOVERY_S)}))
