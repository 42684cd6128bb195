"""Reading: what a question asks, of whom, about what, and in which words, taken from its text alone.

    text -> tokens -> quantities -> turns of phrase -> one walk from left to right -> Reading

Nothing here compares, and nothing here fails: what is not English enough to be read is said to be so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from freshline.answers.guard.closed_class import CLOSED
from freshline.answers.guard.lexicon import lexicon
from freshline.answers.guard.phrases import rewrite
from freshline.answers.guard.quantities import gather
from freshline.answers.guard.reading import Reading
from freshline.answers.guard.text import fold, is_latin, tokens
from freshline.answers.guard.walk import Walk

_KNOWN_SHARE: Final = 0.5


@lru_cache(maxsize=2048)
def read(text: str) -> Reading:
    """What a text asks; never fails."""
    folded = fold(text)
    raw = tokens(folded)
    plain = " ".join(token.text for token in raw if token.kind != "stop") or " ".join(folded.split())
    words = [token.text for token in raw if token.kind == "word"]
    if not raw or not is_latin(folded) or not _is_english(words):
        return Reading(plain, is_readable=False)
    return Walk(rewrite(gather(raw)), folded).reading(plain)


def _is_english(words: Sequence[str]) -> bool:
    """Whether enough of the words are known; a name alone may be asked for."""
    known = sum(word in CLOSED or lexicon().knows(word) for word in words)
    return known >= _KNOWN_SHARE * len(words)
