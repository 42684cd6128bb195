"""``freshline semantic``: the index of documents, searched, looked at, compared with the database, and made anew."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console

from freshline.background import interruptible
from freshline.catalogs import load_catalog
from freshline.semantic.extras import extras_missing
from infra.configuration import load_settings
from infra.logs import configure_logs
from infra.settings import Settings
from schemas.errors import SettingsError

try:
    from freshline.cli.semantic_explain import explain
    from freshline.cli.semantic_view import (
        found_lines,
        generations_table,
        index_lines,
        rebuild_bar,
        status_lines,
    )
    from freshline.roles import SEMANTIC_REFRESH
    from freshline.semantic.opening import open_search
    from freshline.semantic.reindexing import Reindexing, open_reindexing
    from freshline.semantic.report import IndexReport
    from freshline.semantic.status import IndexStatus, read_status
    from freshline.semantic.verification import open_index_verification
    from freshline.verification.quiet import QUIET_TIMEOUT_S, wait_until_quiet
    from infra.qdrant.passages import FoundPassage
    from infra.redis.index_state import Rebuild
except ModuleNotFoundError as error:
    raise extras_missing(error) from error

app = typer.Typer(no_args_is_help=True)
app.command()(explain)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
# Whoever waits at a terminal waits longer than a service.
_QDRANT_TIMEOUT_S: Final = 10.0
# What coalescing may take beside its quiet time until a record is in Kafka.
_COALESCED_WITHIN_S: Final = 1.0


@app.callback()
def _group() -> None:
    """Leave the standard output to what was asked for."""
    configure_logs("warning")


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What is sought, in your own words.")],
    *,
    tenant: Annotated[str | None, typer.Option(help="Whose documents: the value of the tenant column.")] = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table; may be given again.")] = None,
    limit: Annotated[int, typer.Option(help="How many passages at most.", min=1, max=1000)] = 10,
    json: Json = False,
) -> None:
    """Find the passages that mean what is sought, the best first."""
    passages = asyncio.run(_search(load_settings(), text, tenant=tenant, tables=table or [], limit=limit))
    if json:
        typer.echo(_json(passages))
        return
    console = Console(soft_wrap=True)
    for line in found_lines(passages):
        console.print(line, highlight=False)
    if not passages:
        console.print("Nothing was found.")


async def _search(
    settings: Settings, text: str, *, tenant: str | None, tables: list[str], limit: int
) -> list[FoundPassage]:
    reader = settings.reader.model_copy(update={"qdrant_timeout_s": _QDRANT_TIMEOUT_S})
    patient = settings.model_copy(update={"reader": reader})
    async with open_search(patient, load_catalog(settings.catalog)) as searcher:
        return await searcher.search(text, tenant=tenant, tables=tables, limit=limit)


@app.command()
def status(*, json: Json = False) -> None:
    """Show the generations of the index, what is in them, and how far they are compared with the database."""
    found: IndexStatus = asyncio.run(read_status(load_settings()))
    if json:
        typer.echo(_json(found))
        return
    console = Console(soft_wrap=True)
    if found.generations:
        console.print(generations_table(found))
    for line in status_lines(found):
        console.print(line, highlight=False)


@app.command()
def verify(
    *,
    vectors: Annotated[bool, typer.Option("--vectors", help="Embed every passage again: takes long.")] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Traffic goes on: wait for nothing, and count what stays wrong for seconds."),
    ] = False,
    generation: Annotated[str | None, typer.Option(help="Another one than the one that is searched.")] = None,
    timeout: Annotated[float, typer.Option(help="How long to wait for the workers, in seconds.")] = QUIET_TIMEOUT_S,
    json: Json = False,
) -> None:
    """Compare the index with the database, passage by passage. Exits with 1 where something is wrong.

    Waits first until every edit that was committed is indexed, which it can only be where nobody writes.
    """
    report = asyncio.run(
        _verify(load_settings(), vectors=vectors, live=live, generation=generation, timeout_s=timeout, quiet=json)
    )
    if json:
        typer.echo(_json(report))
    else:
        console = Console(soft_wrap=True)
        for line in index_lines(report):
            console.print(line, highlight=False)
    if not report.is_good:
        raise typer.Exit(1)


async def _verify(
    settings: Settings, *, vectors: bool, live: bool, generation: str | None, timeout_s: float, quiet: bool
) -> IndexReport:
    settings.require(["qdrant", "postgres"] if live else ["qdrant", "kafka", "postgres", "redis"])
    catalog = load_catalog(settings.catalog)
    with Console(stderr=True, quiet=quiet).status("comparing") as shown:

        async def until_indexed() -> None:
            await wait_until_quiet(
                settings,
                catalog,
                roles=[SEMANTIC_REFRESH],
                timeout_s=timeout_s,
                tell=lambda what: shown.update(f"waiting for {what}"),
            )

        async with open_index_verification(
            settings, catalog, generation=generation, vectors=vectors, live=live
        ) as verification:
            if not live:
                await until_indexed()
                # What was changed a moment ago may still be coalesced.
                shown.update("waiting for edits to be coalesced")
                await asyncio.sleep(settings.stream.quiet_ms / 1000 + _COALESCED_WITHIN_S)
                await until_indexed()
            shown.update("comparing")
            return await verification.run()


@app.command()
def reindex(
    *,
    model: Annotated[str | None, typer.Option(help="Another model: a name, or a folder that every worker has.")] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Let the rebuild wait.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let it go on, also after a failure.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Call it off.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only ask for it.")] = False,
) -> None:
    """Make the index anew beside the one that is searched, and let searches go there once it is whole.

    The workers do it. Searches and edits go on meanwhile, and none of them waits.
    """
    if sum([pause, resume, cancel, model is not None]) > 1:
        raise SettingsError("Choose one of --model, --pause, --resume and --cancel.")
    settings = load_settings()
    console = Console(soft_wrap=True, stderr=True)
    work = _reindex(settings, console, model=model, pause=pause, resume=resume, cancel=cancel, waits=not no_wait)
    typer.echo(asyncio.run(interruptible(work)))


async def _reindex(
    settings: Settings, console: Console, *, model: str | None, pause: bool, resume: bool, cancel: bool, waits: bool
) -> str:
    async with open_reindexing(settings) as reindexing:
        if pause:
            rebuild = await reindexing.pause()
            return f"Paused: {rebuild.generation}."
        if cancel:
            rebuild = await reindexing.cancel()
            return f"Called off: {rebuild.generation}. The workers drop it in a while."
        try:
            rebuild = await reindexing.resume() if resume else await _asked(reindexing, console, model)
            if not waits:
                return f"Asked for: {rebuild.generation}, with {rebuild.model}."
            with rebuild_bar(console) as show:
                await reindexing.wait(rebuild, show)
        except asyncio.CancelledError:
            console.print(
                "What was asked for goes on without us: `freshline semantic status` shows how far it is, and "
                "`freshline semantic reindex --cancel` calls it off.",
                highlight=False,
            )
            raise
        return f"Searched from now on: {rebuild.generation}, made with {rebuild.model}."


async def _asked(reindexing: Reindexing, console: Console, model: str | None) -> Rebuild:
    with console.status("loading the model, to see that it is there"):
        return await reindexing.ask(model)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
