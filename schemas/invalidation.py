"""What producers write on ``freshline.invalidate``: that a key or everything under a pattern is stale."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.errors import MalformedRecordError

# No key or pattern that the catalog declares comes near it.
LONGEST_NAME_BYTES: Final = 16 * 1024


class Invalidation(msgspec.Struct, frozen=True):
    """One request: ``{"pattern": "user:42:*"}`` or ``{"key": "user:42"}``, with an optional reason for people."""

    pattern: str | None = None
    key: str | None = None
    reason: str = ""


class _Named(msgspec.Struct, frozen=True):
    """As much of a request as can be acted upon, whatever else is wrong with it."""

    pattern: str | None = None
    key: str | None = None


_decoder: Final = msgspec.json.Decoder(Invalidation)
_lenient: Final = msgspec.json.Decoder(_Named)


def decode_invalidation(value: bytes | None) -> Invalidation:
    """The request in a record. Fields that it has beside these are left to whoever wrote them.

    Raises:
        MalformedRecordError: it is not one, or names both or neither of key and pattern.
    """
    if value is None:
        raise MalformedRecordError("null_value", "the record has no value")
    try:
        request = _decoder.decode(value)
    except (ValueError, RecursionError) as error:
        raise MalformedRecordError("not_an_invalidation", f"the value is not an invalidation: {error}") from error
    if (request.pattern is None) == (request.key is None):
        raise MalformedRecordError("not_an_invalidation", 'name either "pattern" or "key"')
    if any(len(name) > LONGEST_NAME_BYTES for name in (request.pattern, request.key) if name is not None):
        raise MalformedRecordError("not_an_invalidation", "it names something longer than any key or pattern is")
    return request


def names_in(value: bytes | None) -> tuple[str, ...]:
    """The keys and patterns that can be read in a request that is refused; none where that can't be told."""
    try:
        found = _lenient.decode(value or b"")
    except (ValueError, RecursionError):
        return ()
    return tuple(name for name in (found.pattern, found.key) if name is not None)
