"""``freshline dead-letters``: the records that could not be used, what is known of each, and sending them again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from freshline.dead_letters import Origin, chosen, read_letters, replay
from infra.configuration import load_settings
from schemas.errors import SettingsError

app = typer.Typer(no_args_is_help=True)

_ORIGIN_HELP = "topic/partition/offset, as `list` shows it."


@app.command("list")
def list_letters(
    *,
    pending: Annotated[bool, typer.Option("--pending", help="Only those that were not sent again.")] = False,
) -> None:
    """List them, the oldest first: one line for each record, with every group that refused it."""
    letters = asyncio.run(read_letters(load_settings()))
    for letter in letters:
        if pending and letter.replayed_at_ms is not None:
            continue
        reasons = ", ".join(dict.fromkeys(refusal.reason for refusal in letter.refusals.values()))
        sent = f"  sent again {_time(letter.replayed_at_ms)}" if letter.replayed_at_ms is not None else ""
        typer.echo(f"{_time(letter.refused_at_ms)}  {letter.origin}  {reasons}  ({', '.join(letter.refusals)}){sent}")


@app.command()
def show(
    origin: Annotated[str, typer.Argument(help=_ORIGIN_HELP)],
    *,
    values: Annotated[bool, typer.Option("--values", help="Also print key and value, which may be personal.")] = False,
) -> None:
    """Show what is known of one."""
    (letter,) = chosen(asyncio.run(read_letters(load_settings())), [Origin.parse(origin)])
    typer.echo(f"origin          {letter.origin}")
    for refusal in letter.refusals.values():
        typer.echo(f"refused         {_time(refusal.at_ms)} by {refusal.group}: {refusal.reason}: {refusal.detail}")
    typer.echo(f"key             {_size(letter.key)}")
    typer.echo(f"value           {_size(letter.value)}")
    if letter.left_out_bytes is not None:
        typer.echo(f"left out        {letter.left_out_bytes or 'unknown'} bytes: read them at the origin")
    for name, _ in letter.headers:
        typer.echo(f"header          {name}")
    if letter.replayed_at_ms is not None:
        typer.echo(f"sent again      {_time(letter.replayed_at_ms)}")
    if values:
        typer.echo(f"key: {_text(letter.key)}")
        typer.echo(f"value: {_text(letter.value)}")
        for name, value in letter.headers:
            typer.echo(f"header {name}: {_text(value)}")


@app.command("replay")
def replay_letters(
    origins: Annotated[list[str] | None, typer.Argument(help=_ORIGIN_HELP)] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that were not sent again yet.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again already.")] = False,
) -> None:
    """Send records again to the topic they came from, once what made them unusable is mended."""
    if bool(origins) is everything:
        raise SettingsError("Say which: name origins, as `freshline dead-letters list` shows them, or say --all.")
    asyncio.run(_replay([Origin.parse(text) for text in origins or ()], again=again))


async def _replay(origins: list[Origin], *, again: bool) -> None:
    settings = load_settings()
    letters = await read_letters(settings)
    wanted = chosen(letters, origins) if origins else letters
    left_out = await replay(
        settings, wanted, again=again, done=lambda letter: typer.echo(f"sent again: {letter.origin}")
    )
    for letter in left_out:
        if letter.left_out_bytes is not None:
            typer.echo(
                f"left out: {letter.origin}, too large to be kept: read it at its origin while its topic keeps it",
                err=True,
            )
        elif origins:
            typer.echo(
                f"left out: {letter.origin}, which was sent again already (--again sends it once more)", err=True
            )


def _size(content: bytes | None) -> str:
    return "none" if content is None else f"{len(content)} bytes"


def _text(content: bytes | None) -> str:
    return "none" if content is None else content.decode(errors="backslashreplace")


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
