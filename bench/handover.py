"""The handover from Debezium's reader to its task: `max.batch.size` as it comes, beside 1.

The task waits for a full batch until `poll.interval.ms` is over. A batch of one record is full as soon as there is one.
"""

from __future__ import annotations

import json

from bench.freshness import RATE_PER_S, bare_latencies
from bench.pipeline import Pipeline
from bench.results import Figure, compared, percentile

_SIZES = (2_048, 1)


async def measure(pipeline: Pipeline, seconds: float) -> list[Figure]:
    """The medians of a bare consumer by batch size, in milliseconds."""
    figures: list[Figure] = []
    for size in _SIZES:
        overrides = json.dumps({"max.batch.size": str(size)})
        await pipeline.command("connector", "apply", FRESHLINE_CONNECT__OVERRIDES=overrides)
        median = percentile(await bare_latencies(pipeline, seconds), 0.5)
        name = f"handover.bare.p50@{RATE_PER_S},batch{size}"
        figures.append(compared(name, median, "ms", figures[0]) if figures else Figure(name, median, "ms"))
    await pipeline.command("connector", "apply")
    return figures
