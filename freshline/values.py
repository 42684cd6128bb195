"""Turns canonical bodies into what callers get: a dict, or an instance of a type of theirs.

Values are those of the canonical form (docs/decisions/canonical-form.md), with two exceptions that make them easier
to use: ``json`` and ``jsonb`` are parsed, and a ``date`` comes without the ``Z`` that Debezium gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar, overload

import msgspec

from schemas.catalog import Table
from schemas.column_forms import parse_type
from schemas.errors import FreshlineError

T = TypeVar("T")
Row: TypeAlias = dict[str, Any]

_json = msgspec.json.Decoder().decode


class ShapeError(FreshlineError):
    """What was read does not fit the type that the caller asked for."""


def _date(text: Any) -> Any:
    return text.removesuffix("Z") if isinstance(text, str) else text


def _parsed(text: Any) -> Any:
    return _json(text) if isinstance(text, str) else text


_EASIER: Final[dict[str, Callable[[Any], Any]]] = {"json": _parsed, "jsonb": _parsed, "date": _date}


class Values:
    """Decodes bodies, each time anew, so that callers may change what they get."""

    def __init__(self, columns: dict[str, Callable[[Any], Any]] | None = None, what: str = "The result") -> None:
        """``columns`` says what is done to the values of some columns; ``what`` is decoded, for errors."""
        self._columns = list((columns or {}).items())
        self._what = what
        self._decoders: dict[Any, Callable[[bytes], Any]] = {}
        self._plain = msgspec.json.Decoder(dict[str, Any]).decode if self._columns else _json

    @classmethod
    def of_rows(cls, table: Table) -> Values:
        """Decodes the rows of a table."""
        columns = {
            column.name: _EASIER[base] for column in table.columns if (base := parse_type(column.type).name) in _EASIER
        }
        return cls(columns, f"A row of {table.qualified_name}")

    @overload
    def decode(self, body: bytes, wanted: None = None) -> Any: ...

    @overload
    def decode(self, body: bytes, wanted: type[T]) -> T: ...

    def decode(self, body: bytes, wanted: type[T] | None = None) -> Any:
        """What the body holds, as a ``wanted`` or as JSON values.

        Raises:
            ShapeError: it does not fit the type.
        """
        if wanted is None:
            values = self._plain(body)
            for name, easier in self._columns:
                values[name] = easier(values[name])
            return values
        decode = self._decoders.get(wanted)
        if decode is None:
            decode = self._decoders[wanted] = self._decoder(wanted)
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            raise ShapeError(
                f"{self._what} does not fit {wanted}: {error}. Change the type, or the catalog."
            ) from error

    def _decoder(self, wanted: Any) -> Callable[[bytes], Any]:
        if not self._columns:
            return msgspec.json.Decoder(wanted, strict=False).decode
        return lambda body: msgspec.convert(self.decode(body), wanted, strict=False)
