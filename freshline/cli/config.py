"""``freshline config show``: every setting, and where it came from."""

import typer
from rich.console import Console
from rich.table import Table

from infra.configuration import load_configuration

app = typer.Typer(no_args_is_help=True, callback=lambda: None)


@app.command()
def show() -> None:
    """Print every setting with its value and origin. Secrets are hidden."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("setting", "value", "from"):
        table.add_column(column, overflow="fold")
    for name, value, origin in load_configuration().rows():
        table.add_row(name, value, origin, style="dim" if origin == "default" else None)
    Console(soft_wrap=True).print(table)
