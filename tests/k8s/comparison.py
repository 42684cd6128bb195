"""Demand beside lag over a threshold, which is KEDA's rule, in the same cluster under the same load.

    pytest tests/k8s/comparison.py        (an hour; nothing else should run)

KEDA hands the group's lag to the HPA as an external metric with its ``lagThreshold`` as the average value, and no more
than there are partitions; here the watcher's lag goes the same way. The load is a day in minutes: quiet, up in steps,
and back. ``slow`` is a store that takes a tenth of each connection, and a tenth of the load, with nothing tuned again.
A group begins with a backlog, as after a snapshot, so how fast its workers are was seen before.

Timelines are left in ``.local/k8s/comparison/``, figures beside it; ``python -m bench.scaling --docs`` shows those that
lie in ``bench/results/cluster/``.
"""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from bench.scaling.real import RECOVERY_S
from bench.scaling.timelines import Figures, Sample, figures
from tests.k8s.timeline import TIMELINES
from tests.k8s.world import DEMAND, Makes, ScaledBy

FOLDER: Final = TIMELINES / "comparison"
LATENCY_S: Final = 0.02
# Some 1,500 records a second of a worker.
CONNECTION_BYTES_PER_S: Final = 600_000.0
BACKLOG_PER_S, BACKLOG_S = 3_500.0, 5.0
# Until whatever a rule makes of the backlog has been seen.
SETTLE_S: Final = 50.0
QUIET_PER_S: Final = 40.0
# Records a second, and for how long.
DAY: Final = ((QUIET_PER_S, 40), (1_000, 35), (2_200, 45), (3_500, 60), (1_000, 45), (QUIET_PER_S, 45))


def lag_over(threshold: float) -> ScaledBy:
    """KEDA's rule."""
    return ScaledBy("freshline_group_lag_messages", threshold)


# Ten is KEDA's default. A thousand is what a worker has on its way at its full rate, where it commits once a second.
RULES: Final = {"demand": DEMAND} | {f"lag-{each}": lag_over(each) for each in (10, 1_000)}


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("slower", [1, 10], ids=["fast", "slow"])
@pytest.mark.parametrize("rule", RULES)
async def test_a_rule_under_the_load(makes: Makes, rule: str, slower: int) -> None:
    speed = CONNECTION_BYTES_PER_S / slower
    async with makes.open(latency_s=LATENCY_S, connection_bytes_per_s=speed, scaled_by=RULES[rule]) as world:
        timeline, events = world.timeline, world.events
        events.per_s = QUIET_PER_S / slower
        await timeline.reaches("workers work", lambda s: s.running > 0 and (s.lag_s or 99) < 10, 300, for_s=5)
        events.per_s = BACKLOG_PER_S / slower
        await timeline.goes_on(BACKLOG_S)
        events.per_s = QUIET_PER_S / slower
        await timeline.goes_on(SETTLE_S)
        began_s = timeline.now_s
        for per_s, seconds in DAY:
            events.per_s = per_s / slower
            await timeline.goes_on(seconds)
        samples = timeline.since(began_s)
        _keep(f"{rule}-{'slow' if slower > 1 else 'fast'}", samples)
        await world.nothing_is_wrong()


def _keep(name: str, samples: list[Sample]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_bytes(msgspec.json.encode(samples))
    together = FOLDER.with_suffix(".json")
    known = msgspec.json.decode(together.read_bytes(), type=dict[str, Figures]) if together.exists() else {}
    together.write_bytes(msgspec.json.encode(known | {name: figures(samples, RECOVERY_S)}))
