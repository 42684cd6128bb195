"""``python -m bench [area …]``: measure, print, and write ``bench/results/latest.json``."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from rich.console import Console

from bench import drain, freshness, handover, polling
from bench.pipeline import pipeline
from bench.results import Figure, show, write

AREAS = ("freshness", "handover", "polling", "drain")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="area", help=f"of {', '.join(AREAS)}; all of them by default")
    parser.add_argument("--seconds", type=float, default=30, help="how long freshness is measured")
    parser.add_argument("--changes", type=int, default=300_000, help="how large the backlog of drain is")
    arguments = parser.parse_args()
    unknown = set(arguments.areas) - set(AREAS)
    if unknown:
        parser.error(f"there is no area {', '.join(sorted(unknown))}: there are {', '.join(AREAS)}")
    asyncio.run(_measure(arguments.areas or AREAS, arguments.seconds, arguments.changes))


async def _measure(areas: Sequence[str], seconds: float, changes: int) -> None:
    console = Console()
    figures: list[Figure] = []
    async with pipeline() as running:
        if "freshness" in areas:
            figures += await freshness.measure(running, seconds)
        if "handover" in areas:
            figures += await handover.measure(running, min(seconds, 10))
        if "polling" in areas:
            figures += await polling.measure(running, min(seconds, 10))
        if "drain" in areas:
            figures += await drain.measure(running, changes)
    show(figures, console)
    write(figures)


if __name__ == "__main__":
    main()
