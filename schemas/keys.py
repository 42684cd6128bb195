"""Values as parts of keys and tags: one value of the database has one text, whoever writes it.

The events' keys are made of what Postgres stores (``42``, a lower-case uuid). A reader's key must be the very same
text, otherwise its entry would lie where no event ever finds it. So values are checked by their column's type, and
types whose equal values have several texts (``numeric``, ``citext``, ``char(n)``) can't be asked for by a reader.
"""

from __future__ import annotations

import re
import uuid
from functools import cache
from typing import Final
from urllib.parse import unquote

from schemas.column_forms import parse_type
from schemas.errors import CatalogError, KeyValueError

_ESCAPED: Final = re.compile(r"[%:*\s]")
_DIGITS: Final = re.compile(r"-?(0|[1-9][0-9]*)")
_INTEGERS: Final = {
    "int2": (-(1 << 15), (1 << 15) - 1),
    "int4": (-(1 << 31), (1 << 31) - 1),
    "int8": (-(1 << 63), (1 << 63) - 1),
    "oid": (0, (1 << 32) - 1),
}
_TEXTS: Final = frozenset({"text", "varchar", "enum", "name"})
_SQL_TYPES: Final = {
    **{name: name for name in _INTEGERS},
    "uuid": "uuid",
    "text": "text",
    "varchar": "text",
    "bool": "bool",
}


def key_part(value: object) -> str:
    """One value as part of a key: text, with the characters that give a key its form escaped."""
    if type(value) is int:
        return str(value)
    if value is True or value is False:
        return "true" if value else "false"
    text = str(value)
    return _ESCAPED.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)


def value_text(column_type: str, value: object) -> str:
    """The one text of a value of this Postgres type, not yet escaped: ``42`` for 42, ``"42"`` and ``"+42"``… is none.

    Raises:
        KeyValueError: no column of this type holds the value.
        CatalogError: values of the type have no single text.
    """
    base = _base(column_type)
    if base in _INTEGERS:
        return _integer_text(base, value)
    if base == "uuid":
        return _uuid_text(value)
    if base == "bool":
        return _bool_text(value)
    if base in _TEXTS:
        return _plain_text(value)
    raise CatalogError(
        f"Rows can't be asked for by a key column of type {column_type}: equal values of it have several texts. "
        f"Use one of {', '.join((*_INTEGERS, 'uuid', 'bool', 'text', 'varchar', 'enum'))}."
    )


def part_is_canonical(column_type: str, part: str) -> bool:
    """Whether a change of a row with a column of this type can name this part of a key or a tag."""
    try:
        text = unquote(part, errors="strict")
        return key_part(text) == part and value_text(column_type, text) == text
    except CatalogError:
        return True  # a type without a single text: nothing can be said against it
    except (KeyValueError, UnicodeDecodeError):
        return False


def part_text(part: str) -> str:
    """The value of a part, unescaped."""
    return unquote(part)


def sql_type(column_type: str) -> str | None:
    """What a text of such a value is cast to in SQL; None where the column is compared as text instead."""
    return _SQL_TYPES.get(_base(column_type))


@cache
def _base(column_type: str) -> str:
    return parse_type(column_type).name


def _integer_text(base: str, value: object) -> str:
    if isinstance(value, str) and _DIGITS.fullmatch(value) and value != "-0":
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise KeyValueError(f"{value!r} is not a value of {base}: give an int, or its digits as a str.")
    low, high = _INTEGERS[base]
    if not low <= value <= high:
        raise KeyValueError(f"{value} is out of range for {base}: no row can have it.")
    return str(value)


def _uuid_text(value: object) -> str:
    try:
        return str(value if isinstance(value, uuid.UUID) else uuid.UUID(str(value)))
    except ValueError as error:
        raise KeyValueError(f"{value!r} is not a uuid.") from error


def _bool_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value in {"true", "false"}:
        return str(value)
    raise KeyValueError(f"{value!r} is not a value of bool: give True or False.")


def _plain_text(value: object) -> str:
    if not isinstance(value, str):
        raise KeyValueError(f"{value!r} is a {type(value).__name__}, and the key's column holds text: give a str.")
    if "\x00" in value:
        raise KeyValueError("A text with a NUL character can't be a key: Postgres can't hold one.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise KeyValueError("A text with a lone surrogate can't be a key: Postgres can't hold one.") from error
    return value
