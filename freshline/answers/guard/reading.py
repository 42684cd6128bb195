"""What was read of a question: what is asked, of whom, about what, and in which words."""

from __future__ import annotations

import msgspec


class Word(msgspec.Struct, frozen=True):
    """A content word.

    Attributes:
        text: as it was written, or what stands for it.
        bases: its base forms; itself where it is not known.
        mark: the preposition or conjunction whose phrase it stands in, ``''`` at the level of the verb.
        start: where it begins in the folded text, for its vector; -1 where it stands for other words.
        end: where it ends there.
        is_known: whether the lexicon has it.
        is_optional: whether it only colours the question, and may be missing on the other side.
        is_owner: whether it is said to have what follows, as in "the doctor's address".
    """

    text: str
    bases: frozenset[str]
    mark: str = ""
    start: int = -1
    end: int = -1
    is_known: bool = True
    is_optional: bool = False
    is_owner: bool = False


class Reading(msgspec.Struct, frozen=True):
    """One question, taken apart.

    Attributes:
        plain: the text with nothing but its tokens, for comparing as it stands.
        is_readable: whether it is English enough to be judged by its words.
        asked: what for: ``how``, ``when``, ``where``, ``who``, ``why``, ``what``, ``how many`` …, ``yes`` for yes or
            no, ``''`` for a request or key words.
        words: the content words, in their order.
        amounts: numbers with their units, ordinals.
        said: the same as they were written, in the order of the text.
        dates: parts of dates, and times.
        negations: the words of negation, each by its one name.
        persons: pronouns, as ``first subject``.
        quantifiers: each by its one name.
        modality: ``can``, ``must``, ``should`` … or ``''``.
        tense: ``past``, ``present``, ``future``, or ``''`` without a verb that tells.
        verbs: which of them are its verb, or may be.
        is_bare: whether it is a row of key words, whose order says little.
        holding: ``there`` where it says that there is something, ``have`` where something has it.
        passive_verb: which of the content words is the verb in the passive voice; -1 where none is.
    """

    plain: str
    is_readable: bool
    asked: str = ""
    words: tuple[Word, ...] = ()
    amounts: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    negations: tuple[str, ...] = ()
    persons: tuple[str, ...] = ()
    quantifiers: tuple[str, ...] = ()
    modality: str = ""
    tense: str = ""
    passive_verb: int = -1
    verbs: tuple[int, ...] = ()
    is_bare: bool = False
    holding: str = ""

    @property
    def is_passive(self) -> bool:
        """Whether the verb is in the passive voice."""
        return self.passive_verb >= 0
