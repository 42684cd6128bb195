"""What is known of English words: base forms, words of the same meaning, opposites, words of one stem.

The table beside this module is an extract of WordNet 3.1 (Princeton University; its licence is at the table's head),
made by ``bench/false_friends/lexicon.py``. It is read once, when the first question is.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

_RULES: Final = {
    "n": (
        ("ses", "s"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("ies", "y"),
        ("men", "man"),
        ("s", ""),
        ("es", ""),
    ),
    "v": (
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("s", ""),
        ("ied", "y"),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
}
_SHORTEST_STEM: Final = 2
_DOERS: Final = ("er", "or", "ee", "ist", "ian", "eer")


class Lexicon:
    """The table, ready to be asked."""

    def __init__(self, lines: Iterator[str]) -> None:
        """From the table's lines."""
        self.parts: dict[str, str] = {}
        self._irregular: dict[tuple[str, str], str] = {}
        self._senses: dict[str, dict[int, int]] = defaultdict(dict)
        self._opposites: set[tuple[str, str]] = set()
        # Tuples of texts, which the garbage collector need not look into again and again.
        self._kin: dict[str, tuple[str, ...]] = {}
        self._near: set[tuple[str, str]] = set()
        for number, line in enumerate(lines):
            what, *fields = line.split("\t")
            if what == "w":
                self.parts[fields[0]] = fields[1]
            elif what == "s":
                for word, rank in zip(fields[1::2], fields[2::2], strict=True):
                    self._senses[word][number] = int(rank)
            elif what == "o":
                self._opposites.add((fields[0], fields[1]))
            elif what == "d":
                self._kin[fields[0]] = (*self._kin.get(fields[0], ()), fields[1])
                self._kin[fields[1]] = (*self._kin.get(fields[1], ()), fields[0])
            elif what == "n":
                self._near.add((fields[0], fields[1]))
            elif what == "f":
                self._irregular[fields[0], fields[1]] = fields[2]

    def knows(self, word: str) -> bool:
        """Whether it is a word, in any of its forms."""
        return bool(self.bases(word))

    def is_phrase(self, words: str) -> bool:
        """Whether several words together have a meaning of their own, as ``set up`` has."""
        return words in self._senses

    @lru_cache(maxsize=8192)  # noqa: B019 - there is one lexicon in a process
    def bases(self, word: str) -> frozenset[str]:
        """The base forms that it may be a form of (Morphy's rules, morphy(7WN)); none where it is no known word."""
        found = {word} if word in self.parts else set()
        for part, rules in _RULES.items():
            irregular = self._irregular.get((part, word))
            if irregular is not None:
                found.add(irregular)
                continue
            for ending, instead in rules:
                if not word.endswith(ending) or len(word) - len(ending) < _SHORTEST_STEM:
                    continue
                stem = word.removesuffix(ending) + instead
                for base in (
                    stem,
                    stem[:-1] if ending in {"ed", "ing"} and not instead and stem[-2:-1] == stem[-1] else stem,
                ):
                    if part in self.parts.get(base, ""):
                        found.add(base)
        return frozenset(found)

    def rank_in_common(self, one: str, other: str) -> int | None:
        """The lowest number such that both have a common sense among their first so many; None without one."""
        ones, others = self._senses.get(one), self._senses.get(other)
        if not ones or not others:
            return None
        return min((max(ones[sense], others[sense]) for sense in ones.keys() & others.keys()), default=None)

    def are_near(self, one: str, other: str) -> bool:
        """Whether one is a more general or similar word for the other, in a frequent sense of both."""
        return ((one, other) if one < other else (other, one)) in self._near

    def are_opposites(self, one: str, other: str) -> bool:
        """Whether the table says so."""
        return ((one, other) if one < other else (other, one)) in self._opposites

    def are_kin(self, one: str, other: str) -> bool:
        """Whether one is made of the other (``renew``, ``renewal``); who does it is another than what is done."""
        longer, shorter = (one, other) if len(one) > len(other) else (other, one)
        return other in self._kin.get(one, ()) and (not longer.endswith(_DOERS) or shorter.endswith(_DOERS))

    def are_cousins(self, one: str, other: str) -> bool:
        """Whether both are made of the same word, and neither is who does it (``vaccine``, ``vaccination``)."""
        if one.endswith(_DOERS) or other.endswith(_DOERS) or one not in self._kin or other not in self._kin:
            return False
        return not set(self._kin[one]).isdisjoint(self._kin[other])

    def may_be(self, part: str, word: str) -> bool:
        """Whether a form of it is a noun (``n``), verb (``v``), adjective (``a``) or adverb (``r``)."""
        return any(part in self.parts.get(base, "") for base in self.bases(word))

    def is_degree(self, word: str) -> bool:
        """Whether it is an adjective's second or third degree (``better``, ``cheapest``), which no synonym replaces."""
        if ("a", word) in self._irregular:
            return True
        stems = [word.removesuffix(ending) for ending in ("er", "est", "r", "st") if word.endswith(ending)]
        return any("a" in self.parts.get(stem, "") for stem in stems)

    def is_past(self, word: str) -> bool:
        """Whether it is a verb's past or participle."""
        if (irregular := self._irregular.get(("v", word))) is not None:
            return not word.endswith("ing") and irregular != word
        return word.endswith("ed") and self.may_be("v", word) and not word.endswith("eed")


@cache
def lexicon() -> Lexicon:
    """The one of this process."""
    data = files(__package__).joinpath("words.txt.gz").read_bytes()
    return Lexicon(line for line in gzip.decompress(data).decode().splitlines() if not line.startswith("#"))
