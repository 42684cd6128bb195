"""SQL by name: each statement lives in a ``.sql`` file of this package, with its arguments and its promise.

A block begins with ``-- name: what_it_is``; the comment lines that follow say which arguments it takes and what it
promises; the rest up to the next block is the statement.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from schemas.errors import FreshlineError

_BLOCK = re.compile(r"^-- name: *(\w+) *$", re.MULTILINE)


class UnknownStatementError(FreshlineError):
    """A statement was asked for by a name that its file does not have."""


def parse(text: str) -> dict[str, str]:
    """The statements of one file, by name, without their comments."""
    _, *parts = _BLOCK.split(text)
    return {
        name: "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip().removesuffix(";")
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


@cache
def statements(file: str) -> dict[str, str]:
    """All statements of ``sql/<file>.sql``, by name."""
    return parse(files("infra.postgres").joinpath("sql", f"{file}.sql").read_text(encoding="utf-8"))


def statement(file: str, name: str) -> str:
    """The statement of this name.

    Raises:
        UnknownStatementError: the file has no such statement.
    """
    found = statements(file).get(name)
    if found is None:
        raise UnknownStatementError(
            f"sql/{file}.sql has no statement {name!r}. It has: {', '.join(sorted(statements(file)))}"
        )
    return found
