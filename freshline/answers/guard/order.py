"""Order: whether words that answer to each other also play the same part in both questions.

"From Paris to London" and "from London to Paris" have the same words, as have "did Anna pay Peter" and "did Peter pay
Anna". Two things tell: the mark of a word's phrase, and which of two words comes first. A change of order is harmless
where a marked phrase has moved as a whole, where one question is in the passive voice, and where "X of Y" is "Y's X".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

from freshline.answers.guard.alignment import Link
from freshline.answers.guard.reading import Reading, Word
from freshline.answers.guard.text import words

_FREE: Final = frozenset(("", "of", "in", "per", "when"))
_MAY_BE_MISSING: Final = frozenset(("", "of", "in", "per", "when", "for", "with", "to", "by", "about"))
_ALIKE: Final = ({"for", "to"}, {"of", "for"}, {"of", "to"}, {"of", "about"}, {"in", "about"}, {"of", "by"})
_JOINING: Final = frozenset(("of", "in", "for", "with", "to", "by", "about"))
_NEXT: Final = 2
_HAPPENING: Final = words("expire start begin end open close weigh cost last arrive depart happen")
"""Verbs of what a thing does by itself: "the permit expires" and "the expiry of the permit" have the same subject."""
_POINTS: Final = frozenset(("from", "to", "before", "after", "than", "over", "under", "without", "between", "against"))


def turned(one: Reading, other: Reading, links: Sequence[Link]) -> tuple[Word, Word] | None:
    """Two words of which one plays another's part in the other question; None where all play their own."""
    for link in links:
        a, b = one.words[link.one], other.words[link.other]
        if not _are_alike(a.mark, b.mark):
            return a, b
    for first, second in combinations(sorted(links, key=lambda link: link.one), 2):
        if first.other > second.other and not _may_swap(one, other, first, second):
            return one.words[first.one], one.words[second.one]
    if one.is_passive != other.is_passive:
        return _wrong_agent(one, other, links)
    return None


def _are_alike(mark: str, another: str) -> bool:
    """Whether phrases with these marks may play the same part."""
    pair = {mark, another}
    return len(pair) == 1 or pair <= _FREE or ("" in pair and pair <= _MAY_BE_MISSING) or pair in _ALIKE


def _may_swap(one: Reading, other: Reading, first: Link, second: Link) -> bool:  # noqa: PLR0911 - one for each reason
    """Whether the two may stand in the other order there."""
    a, b = one.words[first.one], one.words[second.one]
    c, d = other.words[first.other], other.words[second.other]
    if one.is_passive != other.is_passive or "per" in {a.mark, b.mark, c.mark, d.mark}:
        return True
    if a.mark != b.mark and a.mark == c.mark and b.mark == d.mark and "of" not in {a.mark, b.mark}:
        return True  # a phrase has moved as a whole
    if (one.is_bare or other.is_bare) and {a.mark, b.mark, c.mark, d.mark} <= _FREE:
        return True
    if {one.holding, other.holding} == {"there", "have"} or not (a.bases | b.bases).isdisjoint(_HAPPENING):
        return True
    if min(map(len, (a.text, b.text, c.text, d.text))) == 1:
        return False
    # "The X of Y" is "Y's X", and "Y X" where the two words make one noun.
    if b.mark in _JOINING and c.mark == d.mark != b.mark != a.mark:
        return abs(first.other - second.other) <= _NEXT and first.other not in other.verbs
    if c.mark in _JOINING and a.mark == b.mark != c.mark != d.mark:
        return abs(first.one - second.one) <= _NEXT and second.one not in one.verbs
    return d.is_owner or a.is_owner


def _wrong_agent(one: Reading, other: Reading, links: Sequence[Link]) -> tuple[Word, Word] | None:
    """Where one is passive: who does it there, after "by", must come right before the verb in the other."""
    passive, active = (one, other) if one.is_passive else (other, one)
    there = {
        (link.one if one.is_passive else link.other): (link.other if one.is_passive else link.one) for link in links
    }
    verb = there.get(passive.passive_verb)
    for here, place in there.items():
        if verb is None or passive.words[here].mark != "by":
            continue
        between = {k for k in there.values() if place < k < verb and not active.words[k].mark} - {
            there.get(here + 1),
            there.get(here - 1) if passive.words[here - 1].mark == "by" else None,
        }
        if place > verb or between:
            return passive.words[here], active.words[verb]
    return None
