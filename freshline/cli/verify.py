"""``freshline verify``: compares every copy with the database."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from freshline.catalogs import load_catalog, load_derivations
from freshline.cli.report_view import report_lines, report_table
from freshline.verification.quiet import QUIET_TIMEOUT_S, wait_until_quiet
from freshline.verification.report import Report
from freshline.verification.verify import open_verification
from infra.configuration import load_settings
from infra.settings import Settings


def verify(
    *,
    live: Annotated[
        bool,
        typer.Option("--live", help="Traffic goes on: wait for nothing, and count what stays wrong for seconds."),
    ] = False,
    timeout: Annotated[float, typer.Option(help="How long to wait for the workers, in seconds.")] = QUIET_TIMEOUT_S,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Compare every copy in Redis with the database. Exits with 1 where one is wrong.

    Waits first until everything that was committed is applied, which it can only be where nobody writes.
    """
    report = asyncio.run(_verify(load_settings(), live=live, timeout_s=timeout, quiet=json))
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        console = Console(soft_wrap=True)
        console.print(report_table(report))
        for line in report_lines(report):
            console.print(line)
    if report.wrong:
        raise typer.Exit(1)


async def _verify(settings: Settings, *, live: bool, timeout_s: float, quiet: bool) -> Report:
    settings.require(["kafka", "postgres", "redis"] if not live else ["postgres", "redis"])
    catalog = load_catalog(settings.catalog)
    with Console(stderr=True, quiet=quiet).status("comparing") as status:
        if not live:
            await wait_until_quiet(
                settings, catalog, timeout_s=timeout_s, tell=lambda what: status.update(f"waiting for {what}")
            )
        status.update("comparing")
        derivations = load_derivations(settings)
        async with open_verification(settings, catalog, derivations=derivations, live=live) as verification:
            return await verification.run()
