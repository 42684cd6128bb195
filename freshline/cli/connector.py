"""``freshline connector``: Debezium's connector, registered, looked after, and taken away."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from freshline.catalogs import load_catalog
from freshline.source.connector import (
    STREAMING_TIMEOUT_S,
    ConnectorReport,
    apply_connector,
    connector_report,
    remove_connector,
)
from freshline.source.situation import Action
from infra.configuration import load_settings

app = typer.Typer(no_args_is_help=True, help="Debezium's connector: apply, status, remove.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done, and what drifted.")]
_NOT_WELL = 1


@app.command()
def apply(
    dry_run: DryRun = False,
    timeout_s: Annotated[float, typer.Option(help="How long to wait for changes to arrive.")] = STREAMING_TIMEOUT_S,
) -> None:
    """Register the connector or mend what drifted, and return once its changes arrive. Nothing twice."""
    settings = load_settings().require(["postgres", "connect"])
    catalog = load_catalog(settings.catalog)

    def done(action: Action) -> None:
        typer.echo(f"done: {action.value}")

    applied = asyncio.run(apply_connector(settings, catalog, dry_run=dry_run, timeout_s=timeout_s, done=done))
    for difference in applied.drift:
        typer.echo(f"{'differs' if dry_run else 'mended'}: {difference}")
    if dry_run:
        for action in applied.actions:
            typer.echo(f"would: {action.value}")
    if not applied.actions:
        typer.echo("Nothing to do.")


@app.command()
def status() -> None:
    """How the connector, its task and its slot are. Exits with 1 where something is not well."""
    settings = load_settings().require(["postgres", "connect"])
    report = asyncio.run(connector_report(settings, load_catalog(settings.catalog)))
    for line in _lines(report):
        typer.echo(line)
    if report.status is None or not report.status.running or report.drift or report.generation is None:
        raise typer.Exit(_NOT_WELL)


@app.command()
def remove(dry_run: DryRun = False) -> None:
    """Delete the connector, its offsets and its slot: nothing of ours holds log back afterwards."""
    settings = load_settings().require(["postgres", "connect"])
    found = asyncio.run(remove_connector(settings, dry_run=dry_run))
    for line in found:
        typer.echo(f"{'would have' if dry_run else 'done'}: {line}")
    if not found:
        typer.echo("Nothing to do.")


def _lines(report: ConnectorReport) -> list[str]:
    lines = ["connector: does not exist (freshline connector apply)"]
    if report.status is not None:
        lines = [f"connector: {report.status.state} on {report.status.worker_id}"]
        lines.extend(f"task {task.id}: {task.state} {task.reason}".rstrip() for task in report.status.tasks)
    lines.extend(f"drift: {difference}" for difference in report.drift)
    slot = report.slot
    if slot is None:
        lines.append("slot: does not exist")
    else:
        held = "?" if slot.retained_bytes is None else f"{slot.retained_bytes:,}"
        state = "read" if slot.active else "not read by anyone"
        lines.append(f"slot {slot.name}: {state}, {slot.wal_status}, holds {held} bytes of log back")
    lines.append(f"generation: {report.generation or 'none, so nothing is cached (freshline connector apply)'}")
    return lines
