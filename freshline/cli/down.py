"""``freshline down``: stops the local stack."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from infra.configuration import load_settings
from infra.local.stack import SERVICES, LocalStack


def down(
    services: Annotated[
        list[str] | None,
        typer.Argument(help=f"Which of {', '.join(SERVICES)}; all where none is named.", show_default=False),
    ] = None,
    *,
    data: Annotated[bool, typer.Option("--data", help="Also remove what they stored.")] = False,
) -> None:
    """Stop the local stack, whatever state it is in. What was downloaded stays for the next start."""
    with Console(stderr=True).status("stopping (after the first run, classes are archived for faster starts)"):
        asyncio.run(LocalStack(load_settings().local).stop(services or SERVICES, data=data))
