"""How the local stack is shown on a terminal: a table of its services, and bars while something is downloaded."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from freshline.cli.console import WIDTH_OF_A_FILE, wide_console
from infra.local.progress import Progress as ShowProgress
from infra.local.service import ServiceStatus

STYLES = {"running": "green", "not answering": "yellow", "stopped": "dim"}


def print_services(services: Sequence[ServiceStatus]) -> None:
    """Print one row a service; into a file or a pipe without folding."""
    wide_console(WIDTH_OF_A_FILE).print(_services_table(services))


def _services_table(services: Sequence[ServiceStatus]) -> Table:
    """One row a service."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("service", "state", "endpoint", "pid", "log"):
        table.add_column(column, overflow="fold")
    for service in services:
        style = STYLES[service.state]
        pid = "" if service.pid is None else str(service.pid)
        table.add_row(service.name, f"[{style}]{service.state}[/]", service.endpoint, pid, _short(service.log_file))
    return table


def _short(file: Path) -> str:
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


@contextmanager
def download_bars(console: Console) -> Iterator[ShowProgress]:
    """Draw a bar for each file that is on its way; nothing stays of it afterwards."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True) as bars:

        @contextmanager
        def show(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
            task = bars.add_task(what, total=total_bytes)
            try:
                yield lambda done_bytes: bars.advance(task, done_bytes)
            finally:
                bars.remove_task(task)

        yield show
