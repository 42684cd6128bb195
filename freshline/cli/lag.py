"""``freshline lag``: how far consumer groups are behind, and whether changes come at all; once or as a live table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live

from freshline.catalogs import load_catalog
from freshline.cli.console import wide_console
from freshline.cli.lag_view import lag_table, width_of
from freshline.cli.source_view import source_line
from freshline.lag.report import GroupLag
from freshline.lag.source import SourceReport, late_after_s
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
    json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch a line for each look.")] = False,
) -> None:
    """Show how far consumer groups are behind, and how many workers they need.

    Exits with 1 where a group is lagging, stalled, stopped or unknown; without names also where the connector failed or
    the newest heartbeat is late.
    """
    settings = load_settings().require(["kafka"])
    if watch and json:
        asyncio.run(_follow(settings, groups, lambda report, source: typer.echo(_encoded(report, source))))
        return
    if watch:
        with Live(refresh_per_second=4) as live:
            view = partial(_view, settings, partitions=partitions)
            asyncio.run(_follow(settings, groups, lambda report, source: live.update(view(report, source))))
        return
    report, source = asyncio.run(_looked(settings, groups))
    if json:
        typer.echo(msgspec.json.format(_encoded(report, source)))
    else:
        wide_console(width_of(report)).print(_view(settings, report, source, partitions=partitions))
    is_well = source is None or source.is_well(late_after_s(settings))
    if not is_well or any(group.status != "ok" for group in report):
        raise typer.Exit(1)


async def _looked(settings: Settings, groups: Sequence[str] | None) -> tuple[list[GroupLag], SourceReport | None]:
    """Groups, and the source; whoever names groups is not told of it, for it may be none of theirs."""
    async with open_watch(settings, load_catalog(settings.catalog), groups) as (looking, source):
        await looking.round()
        async with asyncio.TaskGroup() as meanwhile:
            meanwhile.create_task(asyncio.sleep(_APART_S))
            looked = None if groups else meanwhile.create_task(source.look())
        report = await looking.round()
    if not report:
        raise NoSuchGroupError(f"Kafka knows no group {' or '.join(groups or ())}. `freshline lag '*'` lists them all.")
    return report, None if looked is None else looked.result()


async def _follow(
    settings: Settings,
    groups: Sequence[str] | None,
    show: Callable[[Sequence[GroupLag], SourceReport | None], None],
) -> None:
    """Show each look, until cancelled."""
    async with (
        open_watch(settings, load_catalog(settings.catalog), groups) as (looking, source),
        asyncio.TaskGroup() as beside,
    ):
        if not groups:
            beside.create_task(source.run())
        while True:
            try:
                report = await looking.round()
            except StoreUnavailableError:
                report = looking.unknown()
            show(report, None if groups else source.report)
            await asyncio.sleep(_APART_S)


def _view(
    settings: Settings, report: Sequence[GroupLag], source: SourceReport | None, *, partitions: bool
) -> RenderableType:
    table = lag_table(report, partitions=partitions)
    return table if source is None else Group(table, source_line(source, late_after_s(settings)))


def _encoded(report: Sequence[GroupLag], source: SourceReport | None) -> bytes:
    return msgspec.json.encode({"groups": [_facts(group) for group in report], "source": source})


def _facts(group: GroupLag) -> dict[str, object]:
    """A group with what is computed of it."""
    names = ("status", "messages", "seconds", "arrival_per_s", "service_per_s", "drain_s")
    return {**msgspec.to_builtins(group), **{name: getattr(group, name) for name in names}}
