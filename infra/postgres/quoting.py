"""Names and values as part of a statement: utility statements take no arguments, so they are quoted here alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from schemas.errors import SettingsError

NAME_LIMIT_BYTES = 63


def identifier(name: str) -> str:
    """One name, always quoted, so that no content can end it.

    Raises:
        SettingsError: Postgres can't hold such a name, or would silently cut it.
    """
    if not name or "\0" in name or len(name.encode()) > NAME_LIMIT_BYTES:
        raise SettingsError(
            f"{name!r} can't be a name in Postgres: it takes 1 to {NAME_LIMIT_BYTES} bytes without NUL. Choose another."
        )
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """A name within its schema."""
    return f"{identifier(schema)}.{identifier(name)}"


def columns(names: Iterable[str]) -> str:
    """A parenthesised list of columns."""
    return f"({', '.join(identifier(name) for name in names)})"


def literal(text: str) -> str:
    """A string constant, whatever ``standard_conforming_strings`` says.

    Raises:
        SettingsError: the text holds NUL, which Postgres can't.
    """
    if "\0" in text:
        raise SettingsError("A value for Postgres holds a NUL character, which it can't store. Remove it.")
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else f"'{quoted}'"


def derived_name(prefix: str, name: str) -> str:
    """``prefix_name``, with the end replaced by a hash of the whole where Postgres would cut it."""
    whole = f"{prefix}_{name}"
    if len(whole.encode()) <= NAME_LIMIT_BYTES:
        return whole
    digest = hashlib.blake2b(whole.encode(), digest_size=4).hexdigest()
    kept = whole.encode()[: NAME_LIMIT_BYTES - len(digest) - 1].decode(errors="ignore")
    return f"{kept}_{digest}"
