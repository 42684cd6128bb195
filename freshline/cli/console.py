"""The terminal that commands print tables to."""

from __future__ import annotations

from rich.console import Console

WIDTH_OF_A_FILE = 200


def wide_console(width: int) -> Console:
    """The terminal as it is; a file or a pipe with so many columns, so that nothing is folded."""
    console = Console()
    return console if console.is_terminal else Console(width=width)
