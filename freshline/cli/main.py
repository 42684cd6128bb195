"""The entry point of ``freshline``. Adding a command is one line in `COMMANDS` and one module.

The module of a command is imported only when it is asked for, so that each starts quickly; the others are known here
by name and help text alone. A module has either a function named like its command or a ``typer.Typer`` named ``app``.
"""

import importlib
import keyword
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from schemas.errors import FreshlineError

# Distinct from 1, with which `verify` and `status` say that what they looked at is not as it should be.
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """One command: its name, the line about it in the list of all, and where the chapters of that list begin."""

    name: str
    help: str
    chapter: str

    @property
    def function(self) -> str:
        """Its name as Python writes it: of its module, and of the function in it."""
        name = self.name.replace("-", "_")
        return f"{name}_" if keyword.iskeyword(name) else name


STACK = "The local stack"
SOURCE = "The database and the topics"
COPIES = "The copies"
TRIAL = "Trying it out"

COMMANDS = (
    Command("up", "Start Postgres, Valkey, Kafka and Connect on this machine.", STACK),
    Command("down", "Stop them.", STACK),
    Command("status", "Show how each of them is.", STACK),
    Command("db", "Prepare a database for Freshline, or take that back.", SOURCE),
    Command("topics", "Make the topics.", SOURCE),
    Command("connector", "Register Debezium's connector, look at it, or remove it.", SOURCE),
    Command("run", "Run the workers of one or several roles.", COPIES),
    Command("lag", "Show how far consumer groups are behind, and how many workers they need.", COPIES),
    Command("resources", "Say what roles should be given of CPU and memory.", COPIES),
    Command("verify", "Compare every copy with the database.", COPIES),
    Command("explain", "Say what a key holds, why, and since which event.", COPIES),
    Command("semantic", "Search the index of documents, look at it, compare it, or make it anew.", COPIES),
    Command("dead-letters", "Look at records that could not be used, and send them again.", COPIES),
    Command("try", "Start everything, drive the reference application, compare every copy, stop.", TRIAL),
    Command("load", "Drive the reference application against a running stack.", TRIAL),
    Command("config", "Show every setting and where it came from.", TRIAL),
)


def application(asked_for: str | None) -> typer.Typer:
    """The command line, with the one command that is asked for behind it and only the names of the others."""
    app = typer.Typer(
        name="freshline",
        help="Keeps everything derived from a Postgres database as fresh as its change log says.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        # Even with one command it has a name.
        callback=lambda: None,
    )
    for command in COMMANDS:
        if command.name != asked_for:
            app.command(command.name, help=command.help, rich_help_panel=command.chapter)(_nothing)
            continue
        module = importlib.import_module(f"freshline.cli.{command.function}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=command.name, help=command.help, rich_help_panel=command.chapter)
        else:
            function = getattr(module, command.function)
            app.command(command.name, rich_help_panel=command.chapter)(function)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. An expected error is printed as its message alone.

    Returns:
        0 when all is well, 1 when what was looked at is not as it should be, 2 on an error, 130 when interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked_for = next((argument for argument in given if not argument.startswith("-")), None)
    try:
        application(asked_for)(given, prog_name="freshline")
    except FreshlineError as error:
        typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
        typer.echo(str(error), err=True)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_ERROR if end.code else 0
    return 0


def _nothing() -> None:
    """Stand for a command that is not asked for, in the list of all."""


if __name__ == "__main__":
    sys.exit(main())
