"""The reference application's SQL, by name."""

from __future__ import annotations

from importlib.resources import files
from typing import Final, TypeAlias

from asyncpg.pool import PoolConnectionProxy

from infra.postgres.pool import Connection
from infra.postgres.statements import parse

# A connection of one's own, or one that a pool lends.
Session: TypeAlias = Connection | PoolConnectionProxy


def _read(file: str) -> dict[str, str]:
    return parse(files("freshline.reference").joinpath(file).read_text(encoding="utf-8"))


CHANGES: Final = _read("changes.sql")
QUERIES: Final = _read("queries.sql")
LIBRARY: Final = _read("library.sql")
