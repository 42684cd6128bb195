"""Splitting texts into passages, so that an edit changes only the passages around it.

    text ▸ sentences and lines ▸ passages of some of them, each embedded by itself

Of all places where a passage could end before it is too long, it ends where the sentence in front has the smallest
hash, and between paragraphs rather than within one. Boundaries then depend on what stands there and hardly on how much
stands before it, and behind an edit the old ones are found again. (Content-defined chunking by local minima, as in
Bjørner, Blass and Gurevich, "Content-dependent chunking for differential compression", 2010, by sentences instead of
bytes.)
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from schemas.catalog import Indexed
from schemas.keys import key_part

# Stands for the tenant where the catalog names none. No value is ever written so.
EVERYONE: Final = "*"

# A sentence ends with these and a blank behind them; those of scripts that need no blank end it by themselves.
_BREAK = re.compile(r"\n\s*\n\s*|\n\s*|[.!?…؟۔]+[\"'”’)\]]*\s+|[。！？｡।॥]+[\"'”’」』)\]]*\s*")  # noqa: RUF001
_BLANK = re.compile(r"\s")
# No passage ends by choice before it has this share of the limit.
_SHORTEST_SHARE = 4


class _Sentence(msgspec.Struct, frozen=True):
    """A sentence with the blanks behind it."""

    text: str
    ends_paragraph: bool

    @property
    def rank(self) -> tuple[bool, int]:
        """The smaller, the better a passage ends here."""
        return not self.ends_paragraph, zlib.crc32(self.text.strip().encode())


class Passage(msgspec.Struct, frozen=True):
    """A piece of a document.

    Attributes:
        column: it stands in.
        text: without blanks around it; never empty.
    """

    column: str
    text: str

    @property
    def digest(self) -> str:
        """Of the text: passages with the same have the same vector."""
        return digest(self.text)


def digest(text: str) -> str:
    """A fingerprint of a text: 128 bits in hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def passages_of(row: Mapping[str, Any], index: Indexed) -> list[Passage]:
    """The passages of a row, in the order of the index's columns. Null and blank texts have none."""
    return [
        Passage(column, text)
        for column in index.columns
        for text in split(_beginning(row[column] or "", index.limit_bytes), index.passage_bytes)
    ]


def tenant_of(row: Mapping[str, Any], index: Indexed) -> str | None:
    """Whose a row is, as it is written in the index; None where it is nobody's."""
    if index.tenant is None:
        return EVERYONE
    value = row[index.tenant]
    return None if value is None else key_part(value)


def split(text: str, limit_bytes: int) -> Iterator[str]:
    """The passages of a text, none longer than ``limit_bytes`` bytes of UTF-8; together they hold all but blanks."""
    held: list[_Sentence] = []
    size = 0
    for sentence in _sentences(text, limit_bytes):
        sentence_bytes = len(sentence.text.encode())
        while size + sentence_bytes > limit_bytes:
            count = _best_end(held, limit_bytes // _SHORTEST_SHARE)
            yield from _joined(held[:count])
            held = held[count:]
            size = sum(len(each.text.encode()) for each in held)
        held.append(sentence)
        size += sentence_bytes
    yield from _joined(held)


def _best_end(sentences: Sequence[_Sentence], shortest_bytes: int) -> int:
    """How many of these sentences are a passage; all of them where none of the others' ends is far enough."""
    best, best_rank, size = len(sentences), sentences[-1].rank, 0
    for count, sentence in enumerate(sentences[:-1], start=1):
        size += len(sentence.text.encode())
        if size >= shortest_bytes and sentence.rank < best_rank:
            best, best_rank = count, sentence.rank
    return best


def _joined(sentences: Sequence[_Sentence]) -> Iterator[str]:
    text = "".join(sentence.text for sentence in sentences).strip()
    if text:
        yield text


def _sentences(text: str, limit_bytes: int) -> Iterator[_Sentence]:
    """The sentences of a text, cut where they are too long."""
    start = 0
    for found in _BREAK.finditer(text):
        yield from _cut(text[start : found.end()], limit_bytes, ends_paragraph=found[0].count("\n") > 1)
        start = found.end()
    if start < len(text):
        yield from _cut(text[start:], limit_bytes, ends_paragraph=True)


def _cut(sentence: str, limit_bytes: int, *, ends_paragraph: bool) -> Iterator[_Sentence]:
    while len(sentence.encode()) > limit_bytes:
        head = _beginning(sentence, limit_bytes)
        blanks = [found.end() for found in _BLANK.finditer(head)]
        # A blank in its second half, so that the pieces are not too short.
        end = blanks[-1] if blanks and blanks[-1] > len(head) // 2 else len(head)
        yield _Sentence(sentence[:end], ends_paragraph=False)
        sentence = sentence[end:]
    yield _Sentence(sentence, ends_paragraph=ends_paragraph)


def _beginning(text: str, limit_bytes: int) -> str:
    """As many whole characters of the text as fit."""
    # A character has four bytes at most, so more of them need not be looked at.
    return text[:limit_bytes].encode()[:limit_bytes].decode(errors="ignore")
