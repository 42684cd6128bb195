"""How a connector's configuration differs from what it should be: pure, and never showing a password."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

_SECRET = re.compile(r"password|secret|jaas|credential|token(?!izer)", re.IGNORECASE)
_HIDDEN = "********"
_OWN_KEYS = frozenset({"name"})  # Connect adds the connector's name to what it was given


class Difference(msgspec.Struct, frozen=True):
    """One setting: what it is and what it should be; None where it is not set, secrets hidden."""

    setting: str
    found: str | None
    wanted: str | None

    def __str__(self) -> str:
        """One line, as it is printed."""
        if self.found is None:
            return f"+ {self.setting} = {self.wanted}"
        if self.wanted is None:
            return f"- {self.setting} = {self.found}"
        return f"~ {self.setting} = {self.found} -> {self.wanted}"


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[Difference, ...]:
    """Every setting that is not as it should be, in the order of their names."""
    return tuple(
        Difference(key, _shown(key, found.get(key)), _shown(key, wanted.get(key)))
        for key in sorted((found.keys() | wanted.keys()) - _OWN_KEYS)
        if found.get(key) != wanted.get(key)
    )


def _shown(key: str, value: str | None) -> str | None:
    return _HIDDEN if value and _SECRET.search(key) else value
