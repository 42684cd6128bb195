"""How cached queries are derived: functions, registered under the form of their keys, that run a query again.

Whoever caches a query can register it, so that its cached results are verified, too. A result that no function is
known for is counted as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from infra.postgres.pool import Connection
from schemas.keys import part_text

# Takes a connection and the values in the key; gives the bytes that would be cached now.
Derivation: TypeAlias = Callable[[Connection, Mapping[str, str]], Awaitable[bytes]]

_PLACEHOLDER = re.compile(r"\\\{(\w+)\\\}")


class Derivations:
    """The known ones."""

    def __init__(self, by_form: Mapping[str, Derivation] | None = None) -> None:
        """``by_form``: under ``user:{id}:conversations``, say."""
        self._known = [(_pattern(form), derive) for form, derive in (by_form or {}).items()]

    async def derive(self, connection: Connection, key: str) -> bytes | None:
        """What would be cached under the key now; None where nobody knows."""
        for pattern, derivation in self._known:
            match = pattern.fullmatch(key)
            if match:
                values = {name: part_text(part) for name, part in match.groupdict().items()}
                return await derivation(connection, values)
        return None


def _pattern(form: str) -> re.Pattern[str]:
    return re.compile(_PLACEHOLDER.sub(r"(?P<\1>[^:]+)", re.escape(form)))
