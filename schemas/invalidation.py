"""What producers write on ``freshline.invalidate``: that a key or everything under a pattern is stale."""

from __future__ import annotations

import msgspec

from schemas.errors import MalformedRecordError


class Invalidation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request: ``{"pattern": "user:42:*"}`` or ``{"key": "user:42"}``, with an optional reason for people."""

    pattern: str | None = None
    key: str | None = None
    reason: str = ""


_decoder = msgspec.json.Decoder(Invalidation)


def decode_invalidation(value: bytes | None) -> Invalidation:
    """The request in a record.

    Raises:
        MalformedRecordError: it is not one, or names both or neither of key and pattern.
    """
    if value is None:
        raise MalformedRecordError("null_value", "the record has no value")
    try:
        request = _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedRecordError("not_an_invalidation", f"the value is not an invalidation: {error}") from error
    if (request.pattern is None) == (request.key is None):
        raise MalformedRecordError("not_an_invalidation", 'name either "pattern" or "key"')
    return request
