"""``python -m bench [area …]``: measure, print, and write ``bench/results/latest.json``."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from rich.console import Console

from bench import answers, documents, drain, feedback, freshness, handover, lag_rounds, polling, rebalance
from bench.false_friends import measuring as false_friends
from bench.pipeline import pipeline
from bench.results import Figure, show, write
from bench.scaling import measuring as scaling

# These bring their own servers, or need none.
ALONE = ("answers", "false_friends", "feedback", "lag", "scaling")
AREAS = ("freshness", "handover", "polling", "rebalance", "drain", "documents", *ALONE)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="area", help=f"of {', '.join(AREAS)}; all of them by default")
    parser.add_argument("--seconds", type=float, default=30, help="how long freshness is measured")
    parser.add_argument("--documents", type=int, default=10_000, help="how many an index is made of from nothing")
    parser.add_argument("--changes", type=int, default=300_000, help="how large the backlog of drain is")
    arguments = parser.parse_args()
    unknown = set(arguments.areas) - set(AREAS)
    if unknown:
        parser.error(f"there is no area {', '.join(sorted(unknown))}: there are {', '.join(AREAS)}")
    areas = arguments.areas or AREAS
    figures: list[Figure] = []
    if "false_friends" in areas:
        figures += [Figure(name, value, _unit(name)) for name, value in false_friends.measure().items()]
    if "feedback" in areas:
        figures += feedback.measure()
    if "scaling" in areas:
        figures += scaling.measure()
    figures += asyncio.run(_measure(areas, arguments.seconds, arguments.changes, arguments.documents))
    show(figures, Console())
    write(figures)


async def _measure(areas: Sequence[str], seconds: float, changes: int, made: int) -> list[Figure]:
    figures: list[Figure] = []
    if "answers" in areas:
        figures += await answers.measure()
    if "lag" in areas:
        figures += await lag_rounds.measure()
    if not set(areas) - set(ALONE):
        return figures
    async with pipeline() as running:
        if "freshness" in areas:
            figures += await freshness.measure(running, seconds)
        if "handover" in areas:
            figures += await handover.measure(running, min(seconds, 10))
        if "polling" in areas:
            figures += await polling.measure(running, min(seconds, 10))
        if "rebalance" in areas:
            figures += await rebalance.measure(running)
        if "drain" in areas:
            figures += await drain.measure(running, changes)
        if "documents" in areas:
            figures += await documents.measure_edits(running, seconds)
            figures += await documents.measure_from_nothing(running, made)
    return figures


def _unit(name: str) -> str:
    return "ms" if name.endswith("_ms") else "share"


if __name__ == "__main__":
    main()
