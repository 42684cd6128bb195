"""Judgement: whether the answer to one question answers the other.

    same text? -> near enough? -> numbers, dates, negation, quantifiers -> words -> person, form, modality, tense, order

Cosine similarity says that two questions are about the same matter. That they ask the same is said by what is compared
here, one thing after the other; the first difference refuses. Refusing costs the making of an answer, a wrong hit is a
wrong answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from freshline.answers.guard.alignment import Alignment, align, are_opposite
from freshline.answers.guard.meaning import Meaning, likeness
from freshline.answers.guard.order import turned
from freshline.answers.guard.quantities import is_unit
from freshline.answers.guard.reading import Reading, Word
from freshline.answers.guard.text import words

CANDIDATE_SIMILARITY: Final = 0.6
"""The least cosine of a candidate where nothing else is set. The guard decides, so it only bounds the search: of those
that mean the same few lie below, and of those that lie below few are seen to."""

Reason = Literal[
    "same",
    "too_far",
    "unreadable",
    "numbers",
    "units",
    "dates",
    "negation",
    "quantifier",
    "opposite",
    "names",
    "words",
    "person",
    "form",
    "modality",
    "tense",
    "direction",
]

_LEAST_WITH_LEFT_OUT: Final = 0.85
_STRENGTHS: Final = {"same": 1.0, "spelling": 0.99, "joined": 0.99, "slip": 0.97, "everyday": 0.96, "synonym": 0.93,
                     "kin": 0.92, "near": 0.88}  # fmt: skip
_DIGITS: Final = re.compile(r"\d+(?:[.,]\d+)*")
_MEASURES: Final = words("cost weigh charge earn pay owe price")
_HOW_MODALS: Final = frozenset(("", "can", "should", "would"))
_ADVICE: Final = (frozenset(("", "should")), frozenset(("need", "should")), frozenset(("need", "")))
_MOMENTS: Final = words("deadline date time day birthday expiry")


class Verdict(msgspec.Struct, frozen=True):
    """Whether a cached answer may be served.

    Attributes:
        allowed: whether it may.
        reason: ``same``, or the kind of the difference that was found first.
        detail: the difference, as a sentence.
        score: how sure it is that both ask the same; from one half where it is allowed.
    """

    allowed: bool
    reason: Reason
    detail: str
    score: float


def judge(asked: Meaning, cached: Meaning, similarity: float) -> Verdict:  # noqa: PLR0911 - one for each outcome
    """Whether the answer to the cached question answers the asked one.

    Args:
        asked: the new question.
        cached: the one whose answer is known.
        similarity: the cosine of the two sentences' vectors.
    """
    if asked.text > cached.text:
        return judge(cached, asked, similarity)  # so that both orders are judged alike
    one, other = asked.reading, cached.reading
    near = min(1.0, max(0.0, similarity)) if similarity == similarity else 0.0  # noqa: PLR0124 - it may be no number
    if asked.rest != cached.rest:
        return Verdict(False, "words", "They are too long to be read to the end, and the ends differ.", 0.0)
    if one.plain == other.plain:
        return Verdict(True, "same", "They have the same words.", 1.0)
    if near < CANDIDATE_SIMILARITY:
        return Verdict(False, "too_far", f"Their similarity is {near:.2f}.", near / 2)
    if not one.is_readable or not other.is_readable:
        return Verdict(False, "unreadable", "They differ, and are not in a language that can be judged.", near / 2)
    alignment = align(one.words, other.words, lambda a, b: likeness(asked, a, cached, b))
    for find in _FINDERS:
        if (difference := find(one, other, alignment, near)) is not None:
            reason, detail = difference
            count = len(one.words) + len(other.words)
            return Verdict(False, reason, detail, near * len(alignment.links) / count if count else near / 2)
    strength = min((_STRENGTHS[link.reason] for link in alignment.links), default=1.0)
    return Verdict(True, "same", _explained(one, other, alignment), 0.5 + near * strength / 2)


_Difference = tuple[Reason, str] | None
_Finder = Callable[[Reading, Reading, Alignment, float], _Difference]


def _listed(items: Iterable[str]) -> str:
    return ", ".join(items) or "nothing of the kind"


def _explained(one: Reading, other: Reading, alignment: Alignment) -> str:
    pairs = [
        f"{one.words[link.one].text!r} is {other.words[link.other].text!r}"
        for link in alignment.links
        if link.reason != "same"
    ]
    return f"They ask the same: {', '.join(pairs)}." if pairs else "They ask the same in other words."


def _numbers(one: Reading, other: Reading, _alignment: Alignment, _near: float) -> _Difference:
    if one.amounts == other.amounts:
        return None
    detail = f"One asks about {_listed(one.said)}, the other about {_listed(other.said)}."
    if set(one.said) == set(other.said):
        detail = f"One says {_listed(one.amounts)}, the other {_listed(other.amounts)}."
    same_numbers = [_DIGITS.findall(text) for text in one.said] == [_DIGITS.findall(text) for text in other.said]
    return "units" if same_numbers and one.said != other.said else "numbers", detail


def _dates(one: Reading, other: Reading, _alignment: Alignment, _near: float) -> _Difference:
    if one.dates == other.dates:
        return None
    return "dates", f"One says {_listed(one.dates)}, the other {_listed(other.dates)}."


def _negation(one: Reading, other: Reading, _alignment: Alignment, _near: float) -> _Difference:
    if one.negations == other.negations:
        return None
    return "negation", f"One says {_listed(one.negations)}, the other {_listed(other.negations)}."


def _quantifier(one: Reading, other: Reading, _alignment: Alignment, _near: float) -> _Difference:
    ones, others = set(one.quantifiers), set(other.quantifiers)
    differing = ones ^ others
    # "Show the meetings" means all of them; "any" and "yet" add nothing to a question.
    is_list = one.asked == other.asked == "what" and one.persons == other.persons
    may_be_missing = {"any", "already", "all"} if is_list else {"any", "already"}
    if differing <= may_be_missing and not (differing & ones and differing & others):
        return None
    return "quantifier", f"One says {_listed(sorted(ones))}, the other {_listed(sorted(others))}."


def _words(one: Reading, other: Reading, alignment: Alignment, near: float) -> _Difference:
    left = [one.words[i] for i in alignment.left_of_one]
    right = [other.words[i] for i in alignment.left_of_other]
    if not left and not right:
        return None
    if not (left and right) and all(word.is_optional for word in left + right) and near >= _LEAST_WITH_LEFT_OUT:
        return None
    texts = " ".join(word.text for word in left), " ".join(word.text for word in right)
    if not (left and right):
        return "words", f"Only one of them says {texts[0] or texts[1]!r}."
    return _kind(left, right), f"One says {texts[0]!r}, the other {texts[1]!r}."


def _kind(left: list[Word], right: list[Word]) -> Reason:
    pairs = [(a, b) for a in left for b in right]
    if any(are_opposite(a, b) for a, b in pairs):
        return "opposite"
    if any(is_unit(a.text) and is_unit(b.text) for a, b in pairs):
        return "units"
    if any(not a.is_known and not b.is_known for a, b in pairs):
        return "names"
    return "words"


def _person(one: Reading, other: Reading, _alignment: Alignment, _near: float) -> _Difference:
    ones, others = set(one.persons), set(other.persons)
    if {one.asked, other.asked} <= {"how", ""}:
        ones = {person for person in ones if not person.endswith("subject")}
        others = {person for person in others if not person.endswith("subject")}
    only_one, only_other = ones - others, others - ones
    if (only_one and only_other) or not all(_may_be_missing(person, one, other) for person in only_one | only_other):
        return "person", f"One speaks of {_listed(sorted(ones))}, the other of {_listed(sorted(others))}."
    return None


def _may_be_missing(person: str, one: Reading, other: Reading) -> bool:
    """Whether a pronoun of one question may be understood in the other."""
    who, case = person.split()
    if person == "second subject" and {one.holding, other.holding} == {"there", "have"}:
        return True
    if case == "owner":
        return who in {"first", "second"}
    if case == "subject" and (one.is_passive != other.is_passive or who in {"first", "general"}):
        return True
    return person == "second subject" and "yes" not in {one.asked, other.asked}


def _form(one: Reading, other: Reading, _alignment: Alignment, _near: float) -> _Difference:
    pair = {one.asked, other.asked}
    if len(pair) == 1 or pair in ({"", "how"}, {"", "what"}):
        return None
    if (
        "when" in pair
        and pair < {"when", "what", ""}
        and any(not w.bases.isdisjoint(_MOMENTS) for w in one.words + other.words)
    ):
        return None
    if pair == {"how much", "what"} and any(not word.bases.isdisjoint(_MEASURES) for word in one.words + other.words):
        return None
    return "form", f"One asks {one.asked or 'nothing by name'!r}, the other {other.asked or 'nothing by name'!r}."


def _modality(one: Reading, other: Reading, _alignment: Alignment, _near: float) -> _Difference:
    pair = {one.modality, other.modality}
    if len(pair) == 1 or pair == {"need", "must"} or ({one.asked, other.asked} <= {"how", ""} and pair <= _HOW_MODALS):
        return None
    # "What should I do" is "what do I do"; "who should pay" is not "who pays".
    is_advice = pair in _ADVICE or (one.asked == "where" and pair == {"", "can"})
    if is_advice and one.asked == other.asked != "yes" and _is_general(one) and _is_general(other):
        return None
    return "modality", f"One asks what {one.modality or 'is'}, the other what {other.modality or 'is'}."


def _is_general(reading: Reading) -> bool:
    """Whether it is about whoever asks, so that what one does is what one should do."""
    return reading.is_passive or not {"first subject", "general subject", "second subject"}.isdisjoint(reading.persons)


def _tense(one: Reading, other: Reading, _alignment: Alignment, _near: float) -> _Difference:
    if one.tense == other.tense or "" in {one.tense, other.tense}:
        return None
    return "tense", f"One is about the {one.tense}, the other about the {other.tense}."


def _direction(one: Reading, other: Reading, alignment: Alignment, _near: float) -> _Difference:
    words = turned(one, other, alignment.links)
    if words is None:
        return None
    return "direction", f"{words[0].text!r} and {words[1].text!r} play other parts in the other question."


_FINDERS: Final[tuple[_Finder, ...]] = (
    _numbers,
    _dates,
    _negation,
    _quantifier,
    _words,
    _person,
    _form,
    _modality,
    _tense,
    _direction,
)
