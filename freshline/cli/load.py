"""``freshline load``: drives the reference application against servers and workers that run already."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry
from rich.console import Console

from freshline.catalogs import load_catalog
from freshline.cli.trial_view import counted
from freshline.opening import open as open_cache
from freshline.reference.changes import WEIGHTS
from freshline.reference.load import Counts, Load, Plan, pause
from freshline.reference.reads import CachedReads
from freshline.trial.local import is_of_local_stack
from freshline.trial.watch import hits_by_tier
from infra.configuration import load_settings
from infra.postgres.pool import open_pool
from infra.settings import Settings

_TELL_EVERY_S = 5.0


def load(
    *,
    duration: Annotated[float, typer.Option(help="How long it runs, in seconds; 0: until Ctrl-C.")] = 60.0,
    changes: Annotated[int, typer.Option(help="End after so many changed rows; 0: don't.")] = 0,
    rate: Annotated[float, typer.Option(help="Rows changed a second; 0: as many as possible.")] = 100.0,
    reads: Annotated[float, typer.Option(help="Reads a second; 0: as many as possible.")] = 300.0,
    writers: Annotated[int, typer.Option(help="How many write side by side.")] = 4,
    readers: Annotated[int, typer.Option(help="How many read side by side.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 1,
    truncate: Annotated[bool, typer.Option("--truncate", help="Also TRUNCATE tables now and then.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask, whosever database it is.")] = False,
) -> None:
    """Change rows of the reference application as its servers would, and read through the cache.

    It changes and deletes rows of every table as it likes, so it asks first unless the database is the local stack's.
    Exits with 1 where a read was older than the write whose token it presented.
    """
    settings = load_settings().require(["postgres", "redis"])
    if not yes and not is_of_local_stack(settings):
        where = f"{settings.postgres.database!r} at {settings.postgres.host or settings.postgres.socket_folder}"
        typer.confirm(f"Rows of database {where} will be changed and deleted. Go on?", abort=True)
    plan = Plan(
        seed=seed,
        writers=writers,
        readers=readers,
        changes_per_s=rate or None,
        reads_per_s=reads or None,
        changes=changes or None,
        duration_s=duration or None,
        weights={**WEIGHTS, **(dict.fromkeys(("truncate_messages", "truncate_documents"), 0.025) if truncate else {})},
    )
    console = Console(soft_wrap=True)
    counts, hits = asyncio.run(_drive(plan, settings, console))
    for line in counted(counts, hits):
        console.print(line, highlight=False)
    if counts.violations:
        raise typer.Exit(1)


async def _drive(plan: Plan, settings: Settings, console: Console) -> tuple[Counts, dict[str, int]]:
    registry = CollectorRegistry()
    arguments = settings.postgres.connect_arguments()
    async with (
        open_pool(arguments, application="voiceassist", max_size=plan.writers + 1) as pool,
        open_cache(settings, load_catalog(settings.catalog), registry=registry) as cache,
    ):
        driven = Load(plan, pool, CachedReads(cache))
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, driven.stop)
        async with asyncio.TaskGroup() as group:
            group.create_task(_tell(driven, console, ended))
            await driven.run()
            ended.set()
        return driven.counts, hits_by_tier(registry)


async def _tell(driven: Load, console: Console, ended: asyncio.Event) -> None:
    while not ended.is_set():
        await pause(_TELL_EVERY_S, ended)
        counts = driven.counts
        console.print(
            f"{counts.rows:,} rows changed, {counts.reads.total():,} reads, {counts.away} found a store away, "
            f"{len(counts.violations)} too old",
            highlight=False,
        )
