"""A question's text as tokens: one spelling of letters, contractions written out, marks kept that end a phrase.

The first step of reading: everything after it works on these tokens. Case, accents, blanks and closing marks say
nothing about what is asked, and a question typed in a hurry lacks them.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import msgspec

TEXT_LIMIT: Final = 2_000
"""In characters. What comes after it is not read, and two longer texts are the same only if they are equal."""

_QUOTES: Final = str.maketrans("\u2019\u2018`\u00b4\u201c\u201d\u2013\u2014\u03bc", "''''\"\"-,u")
"""Typographic quotation marks and dashes, and the Greek letter in "\u00b5g"."""
_TOKEN: Final = re.compile(
    r"(?P<date>\d{4}-\d{1,2}-\d{1,2}(?!\d))"
    r"|(?P<time>\d{1,2}:\d\d(?!\d))"
    r"|(?P<number>\d+(?:[.,]\d+)*)"
    r"|(?P<day>[ap]\.\s?m\b\.?)"
    r"|(?P<word>[^\W\d_]+\d[^\W_]*|[^\W\d_]+(?:'[^\W\d_]+)*(?:\+\+|\#)?)"
    r"|(?P<sign>[$€£¥%°&+=<>]|-(?=\d))"
    r"|(?P<stop>[,;:?!.()/])"
)
_WRITTEN_OUT: Final = {
    "can't": ("can", "not"),
    "cannot": ("can", "not"),
    "won't": ("will", "not"),
    "shan't": ("shall", "not"),
    "ain't": ("is", "not"),
    "cant": ("can", "not"),
    "dont": ("do", "not"),
    "doesnt": ("does", "not"),
    "didnt": ("did", "not"),
    "isnt": ("is", "not"),
    "wont": ("will", "not"),
    "whats": ("what", "is"),
    "let's": ("let", "us"),
    "gonna": ("going", "to"),
    "wanna": ("want", "to"),
    "gotta": ("have", "to"),
    "i'd": ("i", "would"),
}
_ENDINGS: Final = {"n't": "not", "'ll": "will", "'ve": "have", "'re": "are", "'m": "am", "'d": "would"}
_IS_BEFORE_S: Final = frozenset(
    ("what", "who", "where", "when", "how", "why", "which", "that", "it", "he", "she", "there", "here", "everything")
)


class Token(msgspec.Struct, frozen=True):
    """One word, number or mark.

    Attributes:
        text: as it counts: small letters, without accents, contractions written out.
        kind: ``word``, ``number``, ``date``, ``time``, ``sign`` or ``stop``, what ends a phrase.
        start: where it begins in the folded text.
        end: where it ends there.
    """

    text: str
    kind: str
    start: int
    end: int


def fold(text: str) -> str:
    """The text in small letters, without accents on Latin letters, quotation marks in one form, cut to the limit."""
    text = unicodedata.normalize("NFKC", text[:TEXT_LIMIT].translate(_QUOTES))
    folded = unicodedata.normalize("NFKD", text.casefold())
    folded = "".join(c for c in folded if not (unicodedata.combining(c) and ord(c) < 0x0370))  # noqa: PLR2004
    return unicodedata.normalize("NFC", folded).translate(_QUOTES)


def is_latin(folded: str) -> bool:
    """Whether all letters are of the one script whose words are known here."""
    return all(character < "ɐ" for character in folded if character.isalpha())


def tokens(folded: str) -> list[Token]:
    """The tokens in their order; a contraction gives two that lie in the same place."""
    found: list[Token] = []
    for match in _TOKEN.finditer(folded):
        kind, text = str(match.lastgroup), match.group()
        place = match.start(), match.end()
        if kind == "day":
            found.append(Token(text[0] + "m", "word", *place))
        elif kind == "word":
            found.extend(Token(part, "word", *place) for part in _parts(text))
        else:
            found.append(Token(text, kind, *place))
    return found


def _parts(word: str) -> tuple[str, ...]:
    """A word, its contraction written out; a possessive keeps its mark as a token of its own."""
    if word in _WRITTEN_OUT:
        return _WRITTEN_OUT[word]
    for ending, full in _ENDINGS.items():
        if word.endswith(ending) and word != ending:
            return (word.removesuffix(ending), full)
    if word.endswith("'s"):
        stem = word.removesuffix("'s")
        return (stem, "is" if stem in _IS_BEFORE_S else "'s")
    return (word.replace("'", ""),)


def words(text: str) -> frozenset[str]:
    """The words of a list that is written as one text."""
    return frozenset(text.split())
