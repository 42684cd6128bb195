"""Reciprocal rank fusion: several rankings of passages become one (Cormack, Clarke and Buettcher, SIGIR 2009).

What is high in one ranking is high in the outcome, what is in several is higher, and no score of one need be compared
with a score of another.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final, TypeAlias

from infra.qdrant.passages import DocumentName, FoundPassage

# How little the first places of a ranking count more than those behind them.
_K: Final = 60
_WORD: Final = re.compile(r"\w+")
# A word may end otherwise in the text: its last letters don't count, unless too little is left.
_LONGEST_ENDING: Final = 3
_SHORTEST_STEM: Final = 3

_Place: TypeAlias = tuple[DocumentName, int]


def fused(rankings: Sequence[Sequence[FoundPassage]]) -> list[FoundPassage]:
    """The passages of all rankings, the best first; of equal ones the nearer."""
    scores: dict[_Place, float] = {}
    passages: dict[_Place, FoundPassage] = {}
    for ranking in rankings:
        for rank, passage in enumerate(ranking, start=1):
            place = passage.document, passage.place
            scores[place] = scores.get(place, 0.0) + 1 / (_K + rank)
            passages.setdefault(place, passage)
    return sorted(
        passages.values(), key=lambda each: (-scores[each.document, each.place], -each.similarity, each.document)
    )


def one_of_each(documents: Sequence[DocumentName], passages: Sequence[FoundPassage], query: str) -> list[FoundPassage]:
    """One passage of each document, in the order of the documents: that with the most of the query's words.

    Full text knows which documents contain the words, and this is where in them they are. Of several the nearest is
    taken. A document without any passage here is left out.
    """
    sought = set(_WORD.findall(query.casefold()))
    best: dict[DocumentName, tuple[int, float]] = {}
    chosen: dict[DocumentName, FoundPassage] = {}
    for passage in passages:
        words = set(_WORD.findall(passage.text.casefold()))
        rank = sum(1 for word in sought if _is_among(word, words)), passage.similarity
        if passage.document not in best or rank > best[passage.document]:
            best[passage.document], chosen[passage.document] = rank, passage
    return [chosen[document] for document in documents if document in chosen]


def _is_among(word: str, words: Collection[str]) -> bool:
    if word in words:
        return True
    stem = word[: max(_SHORTEST_STEM, len(word) - _LONGEST_ENDING)]
    return word.isalpha() and len(stem) < len(word) and any(each.startswith(stem) for each in words)
