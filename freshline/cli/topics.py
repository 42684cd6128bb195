"""``freshline topics``: the topics of the tables, of invalidations, of dead letters and of heartbeats."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from freshline.catalogs import load_catalog
from freshline.source.topics import apply_topics
from infra.configuration import load_settings

app = typer.Typer(no_args_is_help=True, help="Make the topics as the settings say.")


@app.callback()
def _group() -> None:
    """Keep ``apply`` a command of its own, also while it is the only one."""


@app.command()
def apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    add_partitions: Annotated[
        bool, typer.Option("--add-partitions", help="Accept that keys move to other partitions.")
    ] = False,
) -> None:
    """Create what is missing and mend what differs. Nothing twice; partitions are added only on demand."""
    settings = load_settings().require(["kafka"])
    catalog = load_catalog(settings.catalog)
    needed = asyncio.run(apply_topics(settings, catalog, dry_run=dry_run, add_partitions=add_partitions))
    for change in needed:
        if change.due:
            typer.echo(f"{'would' if dry_run else 'done'}: {change}")
        else:
            typer.secho(f"Left to you: {change}.", fg=typer.colors.YELLOW, err=True)
    if not any(change.due for change in needed):
        typer.echo("Nothing to do.")
