"""``freshline status``: how each service of the local stack is."""

import asyncio
from typing import Annotated

import msgspec
import typer

from freshline.cli.stack_view import print_services
from infra.configuration import load_settings
from infra.local.stack import LocalStack


def status(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show each service of the local stack. Exits with 1 where one does not run or does not answer."""
    services = asyncio.run(LocalStack(load_settings().local).status())
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(services, enc_hook=str)).decode())
    else:
        print_services(services)
    if any(service.state != "running" for service in services):
        raise typer.Exit(1)
