"""Alignment: which content word of one question answers to which of the other, and what is left over.

The surest reasons come first, so that a word is not taken by a weaker one: the same base form, the same letters,
a slip of the pen, one stem, one meaning. What is left on either side is a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from freshline.answers.guard.everyday import are_same
from freshline.answers.guard.lexicon import lexicon
from freshline.answers.guard.reading import Word
from freshline.answers.guard.text import words

_DEEPEST_COMMON_SENSE: Final = 2
_AMERICAN: Final = {
    "isation": "ization",
    "ising": "izing",
    "ise": "ize",
    "yse": "yze",
    "our": "or",
    "ogue": "og",
    "tre": "ter",
    "ence": "ense",
    "ae": "e",
    "oe": "e",
    "ll": "l",
}
_AMERICAN_WORDS: Final = {
    "programme": "program",
    "cheque": "check",
    "tyre": "tire",
    "licence": "license",
    "grey": "gray",
    "yoghurt": "yogurt",
    "mould": "mold",
    "kerb": "curb",
    "plough": "plow",
    "jewellery": "jewelry",
    "aluminium": "aluminum",
}
_DEGREES: Final = words("better best worse worst")
_LEAST_LIKENESS: Final = 0.5
_LIKENESS_OF_RARE_SENSES: Final = 0.7
_LIKENESS_OF_NEAR_WORDS: Final = 0.65
_SHORTEST_WITH_A_SLIP: Final = 4
_SHORTEST_WITH_A_WRONG_LETTER: Final = 7
_SHORTEST_WITH_TWO_SLIPS: Final = 8

Likeness = Callable[[Word, Word], float | None]
"""How near two words are in their questions, as the cosine of their vectors; None where that is not known."""


class Link(msgspec.Struct, frozen=True):
    """Two words that answer to each other, by their places among the content words, and the reason."""

    one: int
    other: int
    reason: str


class Alignment(msgspec.Struct, frozen=True):
    """The links, and the words of each question that have none."""

    links: tuple[Link, ...]
    left_of_one: tuple[int, ...]
    left_of_other: tuple[int, ...]


def align(ones: Sequence[Word], others: Sequence[Word], likeness: Likeness) -> Alignment:
    """Link each word with at most one of the other question."""
    links: list[Link] = []
    free_ones, free_others = list(range(len(ones))), list(range(len(others)))
    for reason, holds in _REASONS:
        for i in list(free_ones):
            fitting = [j for j in free_others if holds(ones[i], others[j], likeness)]
            if not fitting:
                continue
            # Of several the one in the same kind of phrase, then the nearest by its place.
            j = min(fitting, key=lambda j: (ones[i].mark != others[j].mark, abs(i / len(ones) - j / len(others))))
            links.append(Link(i, j, reason))
            free_ones.remove(i)
            free_others.remove(j)
    _join(ones, others, links, free_ones, free_others)
    _join(others, ones, links, free_others, free_ones, turned=True)
    return Alignment(tuple(links), tuple(free_ones), tuple(free_others))


def _join(
    ones: Sequence[Word],
    others: Sequence[Word],
    links: list[Link],
    free_ones: list[int],
    free_others: list[int],
    *,
    turned: bool = False,
) -> None:
    """Link a word that the other question writes as two: ``checkin`` and ``check in``."""
    for i in list(free_ones):
        for j, k in zip(list(free_others), list(free_others)[1:], strict=False):
            if k == j + 1 and ones[i].text.replace(" ", "") == (others[j].text + others[k].text).replace(" ", ""):
                links.append(Link(j, i, "joined") if turned else Link(i, j, "joined"))
                free_ones.remove(i)
                free_others.remove(j)
                free_others.remove(k)
                break


def _is_same(one: Word, other: Word, _likeness: Likeness) -> bool:
    if (
        one.text == other.text
        or one.text in {f"{other.text}s", f"{other.text}es"}
        or other.text in {f"{one.text}s", f"{one.text}es"}
    ):
        return True
    return one.is_known and other.is_known and not one.bases.isdisjoint(other.bases)


def _is_respelled(one: Word, other: Word, _likeness: Likeness) -> bool:
    """British and American spelling, by rule."""
    return bool({_american(base) for base in one.bases} & {_american(base) for base in other.bases})


def _american(word: str) -> str:
    for british, american in _AMERICAN.items():
        if len(word) > len(british) + 1:
            word = word.replace(british, american)
    return _AMERICAN_WORDS.get(word, word)


def _is_a_slip(one: Word, other: Word, _likeness: Likeness) -> bool:
    """Whether one of them is no word, and the other is, and few keys lie between."""
    if one.is_known == other.is_known or one.text[0] != other.text[0]:
        return False
    length = min(len(one.text), len(other.text))
    if length < _SHORTEST_WITH_A_SLIP or not (one.text + other.text).isalpha():
        return False
    if (
        len(one.text) == len(other.text)
        and sorted(one.text) != sorted(other.text)
        and length < _SHORTEST_WITH_A_WRONG_LETTER
    ):
        return False  # Maria and Mario
    return _distance(one.text, other.text) <= (2 if length >= _SHORTEST_WITH_TWO_SLIPS else 1)


def _distance(one: str, other: str) -> int:
    """How many letters were left out, put in, exchanged or swapped with their neighbour (optimal string alignment)."""
    if abs(len(one) - len(other)) > 2:  # noqa: PLR2004
        return 9
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                least = min(least, last[j - 2] + 1)
            row.append(least)
    return row[-1]


def _is_kin(one: Word, other: Word, _likeness: Likeness) -> bool:
    words = lexicon()
    return any(words.are_kin(a, b) for a in one.bases for b in other.bases) and not are_opposite(one, other)


def are_opposite(one: Word, other: Word) -> bool:
    """Whether the lexicon calls them opposites."""
    words = lexicon()
    return any(words.are_opposites(a, b) for a in one.bases for b in other.bases)


def _is_everyday(one: Word, other: Word, _likeness: Likeness) -> bool:
    return any(are_same(a, b) for a in one.bases for b in other.bases)


def _differ_by_particle(one: Word, other: Word) -> bool:
    """Whether the same verb has a particle in one, and none or another in the other: ``check``, ``check out``."""
    if " " not in one.text + other.text:
        return False
    return any(a.split()[0] == b.split()[0] for a in one.bases for b in other.bases)


def _means_the_same(one: Word, other: Word, likeness: Likeness) -> bool:
    words = lexicon()
    if _differ_by_particle(one, other):
        return False
    if words.is_degree(one.text) != words.is_degree(other.text) or {one.text, other.text} & _DEGREES:
        return False
    ranks = [r for a in one.bases for b in other.bases if (r := words.rank_in_common(a, b)) is not None]
    if not ranks or are_opposite(one, other):
        return False
    near = likeness(one, other)
    if near is None:
        return min(ranks) <= _DEEPEST_COMMON_SENSE
    return near >= (_LEAST_LIKENESS if min(ranks) <= _DEEPEST_COMMON_SENSE else _LIKENESS_OF_RARE_SENSES)


def _is_near(one: Word, other: Word, likeness: Likeness) -> bool:
    """Whether one is a wider word for the other (``drug``, ``medicine``) and means much the same where it stands."""
    words = lexicon()
    if _differ_by_particle(one, other):
        return False
    pairs = [(a, b) for a in one.bases for b in other.bases]
    if not any(words.are_near(a, b) or words.are_cousins(a, b) for a, b in pairs) or are_opposite(one, other):
        return False
    near = likeness(one, other)
    return near is not None and near >= _LIKENESS_OF_NEAR_WORDS


_REASONS: Final = (
    ("same", _is_same),
    ("spelling", _is_respelled),
    ("slip", _is_a_slip),
    ("everyday", _is_everyday),
    ("synonym", _means_the_same),
    ("kin", _is_kin),
    ("near", _is_near),
)
