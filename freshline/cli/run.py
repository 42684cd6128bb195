"""``freshline run``: the workers of one or several roles in this process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import Annotated, Final

import typer
import uvloop
from prometheus_client import CollectorRegistry

from freshline.catalogs import load_catalog
from freshline.observation import observed
from freshline.roles import COALESCING, LAG, ROLES, Roles
from infra.configuration import load_settings
from infra.logs import configure_logs
from infra.settings import Settings
from schemas.errors import SettingsError

_OF_KAFKA_ALONE: Final = {COALESCING, LAG}
_ALLOCATIONS_PER_COLLECTION: Final = 10_000


def run(
    roles: Annotated[list[str] | None, typer.Argument(help="Which of them; without one they are listed.")] = None,
    port: Annotated[int | None, typer.Option(help="Where metrics and probes are served; 0 takes a free port.")] = None,
) -> None:
    """Apply changes to the copies: one worker a role, until SIGTERM or Ctrl-C. A second one ends it at once."""
    if not roles:
        for name in ROLES:
            typer.echo(name)
        return
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise SettingsError(f"There is no role {', '.join(unknown)}. There are: {', '.join(ROLES)}.")
    settings = load_settings().require(["kafka"] if set(roles) <= _OF_KAFKA_ALONE else ["kafka", "postgres", "redis"])
    configure_logs(settings.worker.log_level)
    _spare_the_collector()
    uvloop.run(run_roles(list(dict.fromkeys(roles)), settings, port=settings.worker.port if port is None else port))


def _spare_the_collector() -> None:
    """Let it look for cycles among thousands of records at a time, and not again at what is there from the beginning.

    What a worker allocates for a record is in no cycle. By default it is looked at after every 700 allocations, which
    takes a sixth of a worker's time while it drains a backlog.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION)


async def run_roles(names: list[str], settings: Settings, *, port: int) -> None:
    """Run these roles until the process is told to stop.

    Raises:
        FreshlineError: a worker ended by itself.
    """
    registry = CollectorRegistry()
    roles = Roles(names, settings, load_catalog(settings.catalog), registry)
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            # What was not committed is done again by whoever takes over, so nothing is lost by going at once.
            loop.add_signal_handler(each, os._exit, 128 + number)
        roles.stop()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop, each)
    with observed(settings.worker.host, port, registry, roles.progress):
        await roles.run()
