"""Values of all sorts for the reference application's rows: what people write, and what breaks careless code."""

from __future__ import annotations

import json
from random import Random
from typing import Final

_WORDS: Final = (
    "weather", "meeting", "Übergrößenträger", "naïve", "日本語", "مرحبا", "שלום", "🦊", "👩‍👩‍👧", "e\u0301", "\u2028",
    "\\", '"', "'", "\t", "{}", "null", "%s", "\u200d", "\U0010ffff", "\x7f", "/", "__debezium", "a:b", "*", "€",
)  # fmt: skip
_ROLES: Final = ("system", "user", "assistant", "tool")
_NULL_SHARE: Final = 0.2


class Values:
    """Makes values, the same ones for the same random numbers."""

    def __init__(self, random: Random, *, largest_document_bytes: int) -> None:
        self._random = random
        self._largest_document_bytes = largest_document_bytes

    def text(self, words: int = 4) -> str:
        """A short text; now and then an empty one."""
        return " ".join(self._random.choice(_WORDS) for _ in range(self._random.randint(0, words)))

    def email(self) -> str:
        """An address that nobody has."""
        return f"{self._random.getrandbits(48):x}@example.org"

    def document(self) -> str:
        """A text that Postgres keeps inline, or one so large that it is moved out of the row (TOASTed).

        The large ones are random, since Postgres would compress others.
        """
        if self._random.random() < 0.5:  # noqa: PLR2004 - half of them
            return self.text(40)
        largest = self._largest_document_bytes
        size = self._random.randint(min(10_000, largest // 2), largest)
        return self._random.randbytes(size // 2).hex()

    def flag(self) -> bool:
        """Either."""
        return self._random.random() < 0.5  # noqa: PLR2004 - half of them

    def tokens(self) -> int | None:
        """A number, or null."""
        return None if self._random.random() < _NULL_SHARE else self._random.randint(0, 2**31 - 1)

    def size_mb(self) -> str | None:
        """A decimal number, or null."""
        return None if self._random.random() < _NULL_SHARE else f"{self._random.randint(0, 10**9) / 1000:.3f}"

    def role(self) -> str:
        """Who says a message."""
        return self._random.choice(_ROLES)

    def json(self) -> str:
        """A JSON object with a bit of everything, keys in no order."""
        value = {
            self.text(2) or "theme": self.text(),
            "n": self._random.choice([0, -1, 1e308, 0.1, 2**53 + 1, 10**30]),
            "nested": {"list": [None, True, self.text(2)], "": {}},
        }
        return json.dumps(value, ensure_ascii=self.flag())
