"""``freshline lag``: how far consumer groups are behind, once or as a live table."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import typer
from rich.live import Live

from freshline.catalogs import load_catalog
from freshline.cli.console import wide_console
from freshline.cli.lag_view import lag_table, width_of
from freshline.lag.report import GroupLag
from freshline.lag.watching import open_watch
from infra.configuration import load_settings
from infra.settings import Settings
from schemas.errors import FreshlineError, StoreUnavailableError

# Between two looks, from which rates are known.
_APART_S: Final = 1.0


class NoSuchGroupError(FreshlineError):
    """No group has a name like that."""


def lag(
    groups: Annotated[
        list[str] | None, typer.Argument(help="Names, with * for any characters; our own groups without one.")
    ] = None,
    *,
    partitions: Annotated[bool, typer.Option("--partitions", help="A line for each partition.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on looking until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show how far consumer groups are behind, and how many workers they need.

    Exits with 1 where a group is lagging, stalled, stopped or unknown.
    """
    settings = load_settings().require(["kafka"])
    if watch and not json:
        asyncio.run(_live(settings, groups, partitions=partitions))
        return
    report = asyncio.run(_looked(settings, groups))
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode([_facts(group) for group in report])).decode())
    else:
        wide_console(width_of(report)).print(lag_table(report, partitions=partitions))
    if any(group.status != "ok" for group in report):
        raise typer.Exit(1)


async def _looked(settings: Settings, groups: Sequence[str] | None) -> list[GroupLag]:
    async with open_watch(settings, load_catalog(settings.catalog), groups) as looking:
        await looking.round()
        await asyncio.sleep(_APART_S)
        report = await looking.round()
    if not report:
        raise NoSuchGroupError(f"Kafka knows no group {' or '.join(groups or ())}. `freshline lag '*'` lists them all.")
    return report


async def _live(settings: Settings, groups: Sequence[str] | None, *, partitions: bool) -> None:
    async with open_watch(settings, load_catalog(settings.catalog), groups) as looking:
        with Live(refresh_per_second=4) as live:
            while True:
                try:
                    report = await looking.round()
                except StoreUnavailableError:
                    report = looking.unknown()
                live.update(lag_table(report, partitions=partitions))
                await asyncio.sleep(_APART_S)


def _facts(group: GroupLag) -> dict[str, object]:
    """A group with what is computed of it."""
    names = ("status", "messages", "seconds", "arrival_per_s", "service_per_s", "drain_s")
    return {**msgspec.to_builtins(group), **{name: getattr(group, name) for name in names}}
