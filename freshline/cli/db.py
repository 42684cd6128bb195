"""``freshline db``: the database's side of following its log."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from freshline.catalogs import load_catalog
from freshline.source.database import prepare_database, remove_from_database
from infra.configuration import load_settings
from infra.postgres.migrate import NEWEST, migrate
from infra.postgres.steps import Plan, Step
from infra.settings import PostgresSettings
from schemas.errors import SettingsError

app = typer.Typer(no_args_is_help=True, help="Prepare the database for being followed, and take that back.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the statements, for a look or for a DBA.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WholeRows = Annotated[
    list[str] | None,
    typer.Option(help="A table (schema.name) whose whole rows may leave Postgres where no column list can be had."),
]


@app.command("migrate")
def migrate_command(
    revision: Annotated[str, typer.Argument(help="The revision to reach.")] = NEWEST,
    down: Annotated[bool, typer.Option("--down", help="Take revisions back; what their tables hold is lost.")] = False,
    yes: Yes = False,
) -> None:
    """Bring the reference application's tables to the newest revision, or to this one."""
    settings = load_settings().require(["postgres"])
    if down and not yes:
        typer.confirm(
            f"Take revisions of {settings.postgres.database!r} back, with the rows in their tables?", abort=True
        )
    before, after = asyncio.run(migrate(settings.postgres.connect_arguments(), revision, down=down))
    typer.echo(
        f"At revision {after or 'none'}: nothing to do."
        if before == after
        else f"{before or 'none'} -> {after or 'none'}"
    )


@app.command()
def prepare(dry_run: DryRun = False, yes: Yes = False, whole_rows: WholeRows = None) -> None:
    """Make what Debezium and the readers need: publication, replica identities, heartbeat, roles. Nothing twice.

    Prints each statement with its reason before anything is done.
    """
    settings = load_settings().require(["postgres"])
    catalog = load_catalog(settings.catalog)
    postgres = _with_whole_rows(settings.postgres, whole_rows)
    plan = asyncio.run(prepare_database(postgres, catalog, dry_run=True))
    _print(plan)
    if plan.steps and not dry_run:
        _confirm(postgres, yes)
        asyncio.run(prepare_database(postgres, catalog, done=_done))


@app.command()
def remove(dry_run: DryRun = False, yes: Yes = False) -> None:
    """Take back all that `prepare` made. The tables and what they hold stay.

    Prints each statement with its reason before anything is done. Run `freshline connector remove` first.
    """
    settings = load_settings().require(["postgres"])
    catalog = load_catalog(settings.catalog)
    plan = asyncio.run(remove_from_database(settings.postgres, catalog, dry_run=True))
    _print(plan)
    if plan.steps and not dry_run:
        _confirm(settings.postgres, yes)
        asyncio.run(remove_from_database(settings.postgres, catalog, done=_done))


def _with_whole_rows(settings: PostgresSettings, tables: list[str] | None) -> PostgresSettings:
    for name in tables or ():
        if name.count(".") != 1:
            raise SettingsError(f"--whole-rows takes a table as schema.name, not {name!r}.")
    return settings.model_copy(update={"whole_rows": settings.whole_rows | frozenset(tables or ())})


def _print(plan: Plan) -> None:
    for step in plan.steps:
        typer.echo(f"-- {step.why}")
        typer.echo(f"{step};\n")
    if not plan.steps:
        typer.echo("Nothing to do.")
    for advice in plan.advice:
        typer.secho(f"Advice: {advice}", fg=typer.colors.YELLOW, err=True)


def _confirm(settings: PostgresSettings, yes: bool) -> None:
    if not yes:
        typer.confirm(f"Do this in database {settings.database!r}?", abort=True)


def _done(step: Step) -> None:
    typer.echo(f"done: {str(step).splitlines()[0]}")
