"""What a reader stores of a row."""

from __future__ import annotations

import msgspec

from schemas.catalog import Table
from schemas.entry import ABSENT, VALUE, Kind


class RowFill(msgspec.Struct, frozen=True):
    """What a reader read of one row.

    Attributes:
        key: of its entry.
        body: its canonical form, None for "no such row".
        token: of the lease that it was read under.
        is_too_large: the body is over the table's limit. What is stored then says what the reader saw, but is of no
            format, so that it is a miss to everyone.
    """

    key: str
    body: bytes | None
    token: str = ""
    is_too_large: bool = False

    @property
    def kind(self) -> Kind:
        """The kind of its entry."""
        return ABSENT if self.body is None else VALUE

    @property
    def stored_body(self) -> bytes:
        """The body of its entry."""
        return b"" if self.body is None or self.is_too_large else self.body

    def format_of(self, table: Table) -> str:
        """The format of its entry."""
        return "" if self.is_too_large else table.format
