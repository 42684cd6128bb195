"""``freshline up``: starts the local stack and returns when every service of it answers."""

import asyncio
import time
from typing import Annotated

import typer
from rich.console import Console

from freshline.cli.stack_view import download_bars, print_services
from infra.configuration import load_settings
from infra.local.stack import SERVICES, LocalStack


def up(
    services: Annotated[
        list[str] | None,
        typer.Argument(help=f"Which of {', '.join(SERVICES)}; all where none is named.", show_default=False),
    ] = None,
) -> None:
    """Start Postgres, Valkey, Kafka and Connect on this machine; what runs already is left alone.

    The first start downloads them. They run on free ports, their data and logs lie in `.local`, and every other
    command finds them there unless the settings name servers.
    """
    console = Console(stderr=True)
    began = time.monotonic()
    with download_bars(console) as progress, console.status("starting"):
        stack = LocalStack(load_settings().local, progress)
        asyncio.run(stack.start(services or SERVICES))
    print_services(asyncio.run(stack.status()))
    console.print(f"up after {time.monotonic() - began:.1f} s")
