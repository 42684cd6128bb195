"""The write token: what a writer gets after its commit, and what a later read presents to see that write."""

from __future__ import annotations

import msgspec

from schemas.entry import Header
from schemas.errors import FreshlineError


class TokenError(FreshlineError):
    """A text that was presented as a write token is none."""


class WriteToken(msgspec.Struct, frozen=True, array_like=True):
    """A moment after a commit: the log's position and the order of a snapshot, taken once the write was visible."""

    lsn: int
    completed: int

    @classmethod
    def parse(cls, text: str) -> WriteToken:
        """Read back what ``str`` gave, from a cookie or a header say.

        Raises:
            TokenError: the text is not a token.
        """
        lsn, dash, completed = text.partition("-")
        try:
            return cls(int(lsn, 16), int(completed, 16 if dash else 0))
        except ValueError as error:
            msg = f"{text[:40]!r} is not a write token. Present the text that invalidate() returned, unchanged."
            raise TokenError(msg) from error

    def __str__(self) -> str:
        """Short text for a cookie or a header."""
        return f"{self.lsn:x}-{self.completed:x}"

    def covered_by(self, header: Header) -> bool:
        """Whether an entry is at least as new as the write: its event came later, or its snapshot saw the write."""
        return self.covered_at(header.lsn, header.completed)

    def covered_at(self, lsn: int, completed: int) -> bool:
        """As `covered_by`, for the position of a copy's event and the order of the snapshot that it was read in."""
        return lsn > self.lsn or completed >= self.completed
