"""``freshline explain KEY``: what a key holds, why, and since which event."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from freshline.catalogs import load_catalog, load_derivations
from freshline.explanation import Explanation, as_plain, open_explainer
from infra.configuration import load_settings
from infra.settings import Settings
from schemas.entry import PLACEHOLDER, Header
from schemas.wal import format_lsn

_YES_NO = {True: "[green]yes[/]", False: "[red]no[/]", None: "can't be told"}


def explain(
    key: Annotated[str, typer.Argument(help="As readers write it: user:42, or user:42:conversations.")],
    *,
    values: Annotated[bool, typer.Option("--values", help="Also print the values, which may be personal.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Say what a key holds, why, and since which event, and whether it is what the database says.

    Exits with 1 where a reader would be served something else than the database says at this moment, which a change on
    its way also makes.
    """
    explanation = asyncio.run(_explain(load_settings(), key, values=values))
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(as_plain(explanation))).decode())
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for row in _lines(explanation):
            table.add_row(*row)
        Console(soft_wrap=True).print(table)
    if explanation.served and explanation.equals_database is False:
        raise typer.Exit(1)


async def _explain(settings: Settings, key: str, *, values: bool) -> Explanation:
    async with open_explainer(settings, load_catalog(settings.catalog)) as explainer:
        return await explainer.explain(key, load_derivations(settings), values=values)


def _lines(found: Explanation) -> Iterator[tuple[str, str]]:
    yield "key", f"{found.key} ({'a row of ' + found.table if found.table else 'a query'})"
    yield "holds", found.holds
    yield "served", _YES_NO[found.served] + (f": {found.why_not}" if found.why_not else "")
    if found.header is not None:
        yield from _header_lines(found, found.header)
    if found.ttl_s is not None:
        yield "lives for", f"{found.ttl_s:.1f} s more"
    for tag in found.tags:
        yield "tag", f"{tag.tag}: " + ("unchanged" if tag.holds else "[red]changed since[/]")
    for name, body in (("value", found.body), ("database", found.database_body)):
        if body is not None:
            yield name, escape(body.decode())


def _header_lines(found: Explanation, header: Header) -> Iterator[tuple[str, str]]:
    yield "since", found.since
    for name, milliseconds in (
        ("committed at", header.origin.committed_at_ms),
        ("written at", header.written_at_ms),
        ("lease until", header.lease_until_ms),
    ):
        if milliseconds:
            yield name, _time(milliseconds)
    if header.lsn:
        yield "floor" if header.kind == PLACEHOLDER else "position", format_lsn(header.lsn)
    yield "epoch", header.epoch + ("" if header.epoch == found.state.epoch else f" (now {found.state.epoch})")
    if header.kind != PLACEHOLDER:
        yield "columns", header.format
        yield "as the database", _YES_NO[found.equals_database]


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
