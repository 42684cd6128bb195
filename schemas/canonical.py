"""The canonical form of a cached row: the same bytes, whether a reader filled the entry or an event wrote it.

    event's JSON ─┐
                  ├─▶ struct of the table's columns ─▶ JSON, columns in the catalog's order
    reader's JSON ┘    (`row_type`)                     (`encode`)

Both sides are JSON of the same form, decoded by the same type: Postgres builds the reader's (`row_expression`), as
Debezium would write it. What an event can't tell for certain is no row (`has_unavailable`): it can only invalidate.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from schemas.catalog import Column, Table
from schemas.column_forms import ColumnForm, Doubt, column_form
from schemas.errors import CatalogError

_ENCODER: Final = msgspec.json.Encoder()
_FLOAT4: Final = struct.Struct("<f")
# Every float4 is told from its neighbours by this many digits.
_FLOAT4_DIGITS: Final = range(1, 10)
_MEMO: Final = "_canonical_form"


class _TableForm:
    """The forms of one table's columns, put together once."""

    def __init__(self, table: Table) -> None:
        self.forms = list(_forms(table))
        self.row_type = _struct(table.name, self.forms)
        self.decoder = msgspec.json.Decoder(self.row_type)
        self.doubts = list(_doubts(self.forms))


def row_type(table: Table) -> type[msgspec.Struct]:
    """The struct of the table's cached columns, in the catalog's order.

    Decoding drops what is not listed; a column that is missing or of another type is a ``msgspec.ValidationError``.

    Raises:
        CatalogError: a column can't be cached. Names every such column, and why.
    """
    return _table_form(table).row_type


def row_expression(table: Table, alias: str) -> str:
    """An SQL expression over the table under this alias: its row as JSON text, for `row_from_json`.

    The session needs ``schemas.debezium.READER_SETTINGS``.
    """
    listed = ", ".join(
        f"{form.sql.format(v=f'{_quoted(alias)}.{_quoted(column.name)}')} AS {_quoted(column.name)}"
        for column, form in _table_form(table).forms
    )
    return f"(SELECT row_to_json(canonical)::text FROM (SELECT {listed}) AS canonical)"  # noqa: S608 - names are quoted


def row_from_json(table: Table, text: str | bytes) -> msgspec.Struct:
    """The row that a reader's query or an entry's body holds.

    Raises:
        msgspec.ValidationError: the database's columns are of other types than the catalog says.
    """
    row: msgspec.Struct = _table_form(table).decoder.decode(text)
    return row


def encode(row: Any) -> bytes:
    """The canonical body: an object with the columns in the catalog's order."""
    for name in row.__single_floats__:
        setattr(row, name, _shortest(getattr(row, name)))
    return _ENCODER.encode(row)


def has_unavailable(row: Any, table: Table) -> bool:
    """Whether an event's row has a value that the event can't tell for certain, so that it can only invalidate.

    A TOASTed value that was left alone is the usual case; the rest are values that Debezium writes alike.
    """
    for values, doubted in _table_form(table).doubts:  # noqa: SIM110 - on the hot path, half as long as any()
        if doubted(values(row)):
            return True
    return False


def _table_form(table: Table) -> _TableForm:
    memo = vars(table)
    form = memo.get(_MEMO)
    if form is None:
        form = memo[_MEMO] = _TableForm(table)
    return form


def column_faults(table: Table) -> list[str]:
    """Why some of the table's columns can't be cached, if so."""
    faults = []
    for column in table.columns:
        try:
            _form(column)
        except CatalogError as error:
            faults.append(f"column {column.name!r}: {error}")
    return faults


def _form(column: Column) -> ColumnForm:
    if not column.name.isidentifier() or column.name.startswith("__"):
        raise CatalogError("no field can have its name. Rename it or leave it out")
    return column_form(column.type, nullable=column.nullable)


def _forms(table: Table) -> Iterable[tuple[Column, ColumnForm]]:
    faults = column_faults(table)
    if faults:
        raise CatalogError(f"Table {table.qualified_name}: " + "; ".join(faults))
    return [(column, _form(column)) for column in table.columns]


def _struct(name: str, forms: Sequence[tuple[Column, ColumnForm]]) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        f"{name}_row",
        [(column.name, form.field | None if column.nullable else form.field) for column, form in forms],
        namespace={"__single_floats__": tuple(column.name for column, form in forms if form.single)},
        module=__name__,
        gc=False,
    )


def _doubts(forms: Sequence[tuple[Column, ColumnForm]]) -> Iterable[tuple[Callable[[Any], Any], Doubt]]:
    """What to look at, and when not to believe it: one step for all columns with the same telltales."""
    by_telltales: dict[frozenset[str], list[str]] = {}
    for column, form in forms:
        if form.telltales:
            by_telltales.setdefault(form.telltales, []).append(column.name)
        if form.doubt is not None:
            yield attrgetter(column.name), form.doubt
    for telltales, names in by_telltales.items():
        # A second name makes a tuple of one value, too. Long texts are compared, not hashed.
        yield attrgetter(*(names if len(names) > 1 else names * 2)), _one_of(tuple(telltales))


def _one_of(telltales: tuple[str, ...]) -> Doubt:
    if len(telltales) == 1:
        return lambda values: telltales[0] in values
    return lambda values: any(telltale in values for telltale in telltales)


def _shortest(value: Any) -> Any:
    """A float4's shortest decimal form, whoever wrote it: Java before 19 and Postgres don't choose the same digits."""
    if isinstance(value, list):
        return [_shortest(element) for element in value]
    if not isinstance(value, float):
        return value
    single = _FLOAT4.pack(value)
    (exact,) = _FLOAT4.unpack(single)
    for digits in _FLOAT4_DIGITS:
        shorter = float(f"{exact:.{digits}g}")
        if abs(shorter) <= _LARGEST_FLOAT4 and _FLOAT4.pack(shorter) == single:
            return shorter
    return exact


# Above it rounding to float4 overflows.
_LARGEST_FLOAT4: Final = 3.4028235677973366e38


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
