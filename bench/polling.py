"""What polling costs: the CPU of an idle Connect, by how long Debezium's task sleeps while its queue is empty."""

from __future__ import annotations

import asyncio

import psutil

from bench.pipeline import Pipeline
from bench.results import Figure, compared
from infra.local.stack import LocalStack

INTERVALS_MS = (20, 5, 2, 1)
_SETTLE_S = 3.0


async def measure(pipeline: Pipeline, seconds: float) -> list[Figure]:
    """Shares of one core, in percent."""
    pid = LocalStack(pipeline.settings.local).connect.pid
    if pid is None:
        raise SystemExit("Connect does not run")
    process = psutil.Process(pid)
    figures: list[Figure] = []
    for interval in INTERVALS_MS:
        await pipeline.command("connector", "apply", FRESHLINE_CONNECT__POLL_INTERVAL_MS=str(interval))
        await asyncio.sleep(_SETTLE_S)
        before = process.cpu_times()
        await asyncio.sleep(seconds)
        after = process.cpu_times()
        share = 100 * (after.user + after.system - before.user - before.system) / seconds
        name = f"polling.connect_cpu_percent@{interval}ms"
        figures.append(
            compared(name, share, "% of a core", figures[0]) if figures else Figure(name, share, "% of a core")
        )
    await pipeline.command("connector", "apply")
    return figures
