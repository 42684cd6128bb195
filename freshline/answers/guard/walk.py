"""The walk: one pass over a question's tokens that sorts each into its class.

What is in a closed class (closed_class.py) says how is asked; what is in none is a content word, and keeps the mark of
the phrase that it stands in: ``from`` for Paris in "from Paris to London".
"""

from __future__ import annotations

from typing import Final

import msgspec

from freshline.answers.guard.closed_class import (
    ARTICLES,
    AUXILIARIES,
    BE,
    CLOSED,
    COMMANDS,
    FILLERS,
    HAVE,
    MODALS,
    NEGATIONS,
    PARTICLES,
    PERSONS,
    POINTING,
    QUANTIFIERS,
    QUESTION_WORDS,
    RESTING,
)
from freshline.answers.guard.lexicon import lexicon
from freshline.answers.guard.reading import Reading, Word
from freshline.answers.guard.text import Token, words

_SHORT: Final = 6
_LIGHT: Final = frozenset(("do", "be", "have", "get", "got", "gets", "getting"))
_OPTIONAL_AFTER_DURATION: Final = words("take takes last lasts")
_DO: Final = frozenset(("do", "does", "did"))
_GENERIC: Final = words("find see go come use try want like make take contain obtain receive acquire locate")
_POSSIBLE: Final = words("possible allowed permitted okay ok")
_ALSO_ADVERBS: Final = words("inside outside above below under over behind before after against through")
_TIMING: Final = words("before after from over under than by within")
_PER: Final = frozenset(("perhour", "perday", "perweek", "permonth", "peryear"))
_PLACING: Final = words("in on at during per upon")
_TIMES_OF_LIFE: Final = words("morning afternoon evening night day week weekend month quarter year time")


class Walk:
    """One pass over a question's tokens."""

    def __init__(self, found: list[Token], folded: str) -> None:
        """Over the tokens of this text."""
        self._folded = folded
        self._tokens = found
        self._texts = [token.text for token in found]
        self._words: list[Word] = []
        self._said: list[str] = []
        self._lists: dict[str, list[str]] = {name: [] for name in ("amount", "date", "not", "person", "many")}
        self._asked = ""
        self._modality = ""
        self._tenses: list[str] = []
        self._verbs: set[int] = set()
        self._awaits_verb = False
        self._awaits_verb_after_subject = False
        self._is_bare = True
        self._holding = ""
        self._mark = ""
        self._has_be = False
        self._passive_verb = -1
        self._begins = True
        self._is_howmuch = False

    def reading(self, plain: str) -> Reading:
        """Walk, and say what was found."""
        at = 0
        while at < len(self._tokens):
            had_asked = self._asked
            at += self._step(at)
            if self._asked and not had_asked:
                self._leave_statement(at)
        lists = self._lists
        return Reading(
            plain,
            is_readable=True,
            asked=self._asked,
            words=tuple(self._words),
            amounts=tuple(sorted(lists["amount"])),
            said=tuple(self._said),
            dates=tuple(sorted(lists["date"])),
            negations=tuple(sorted(lists["not"])),
            persons=tuple(sorted(set(lists["person"]))),
            quantifiers=tuple(sorted(set(lists["many"]))),
            modality=self._modality,
            tense=self._tense(),
            passive_verb=self._passive_verb,
            verbs=tuple(sorted(self._verbs)),
            is_bare=self._is_bare and not self._asked,
            holding=self._holding,
        )

    def _leave_statement(self, at: int) -> None:
        """What was said before the question proper is its circumstance: "My card was stolen, what should I do?"."""
        if any(token.kind == "stop" for token in self._tokens[:at]) and self._words:
            self._words = [word if word.mark else msgspec.structs.replace(word, mark="when") for word in self._words]
            self._tenses, self._modality, self._verbs = (
                self._tenses[-1:] if self._at(at - 1) in AUXILIARIES else [],
                "",
                set(),
            )
            self._passive_verb, self._has_be = -1, self._at(at - 1) in BE

    def _tense(self) -> str:
        if "future" in self._tenses[:2]:
            return "future"
        if self._tenses:
            return self._tenses[0]
        if (
            self._asked in {"who", "what"}
            and not self._modality
            and any(lexicon().is_past(word.text) and not word.mark for word in self._words)
        ):
            return "past"
        return "present" if self._asked or self._modality else ""

    def _at(self, at: int) -> str:
        return self._texts[at] if 0 <= at < len(self._texts) else ""

    def _step(self, at: int) -> int:  # noqa: C901, PLR0911, PLR0912, PLR0915 - one case for each closed class
        """Take the token here, and perhaps what follows; how many were taken."""
        token, begins = self._tokens[at], self._begins
        text = token.text
        if token.kind == "stop":
            if text != "." or at + 1 < len(self._tokens):
                self._mark, self._begins = "", text != "."
            return 1
        self._begins = begins and (text in FILLERS or text in COMMANDS)
        if token.kind in {"amount", "ordinal", "date"}:
            self._lists["date" if token.kind == "date" else "amount"].append(self._marked(text))
            if token.kind != "date":
                self._said.append(self._folded[token.start : token.end])
            if token.kind == "amount":
                self._words.append(Word(text, frozenset((text,)), self._mark))
            return 1
        if token.kind == "sign" or text == "'s":
            return self._sign(text)
        if text in {"whoby", "howmuchis", "define", "formerly"}:
            return self._made(text)
        if text in QUESTION_WORDS:
            return self._question(at, begins=begins)
        if text in NEGATIONS:
            self._lists["not"].append(NEGATIONS[text])
            self._begins = False
            if text in POINTING:
                self._mark = POINTING[text]
            return 1
        if text in MODALS:
            return self._modal(at, begins=begins)
        if text in AUXILIARIES or text in ARTICLES:
            self._is_bare = False
        if text in AUXILIARIES:
            return self._auxiliary(at, begins=begins)
        if (
            text == "number"
            and self._at(at + 1) == "of"
            and self._asked in {"", "what"}
            and (self._at(at + 2) not in ARTICLES | PERSONS.keys())
        ):
            self._asked = "how many"
            return 2
        if text in _POSSIBLE and self._asked == "yes" and not self._modality:
            self._modality = "can"
            return 1
        if text in PERSONS:
            self._is_bare = False
            if PERSONS[text].endswith("subject") and self._awaits_verb_after_subject:
                self._awaits_verb, self._awaits_verb_after_subject = True, False
            if not (text == "one" and self._at(at - 1) in {"the", "this", "that"}):
                self._lists["person"].append(PERSONS[text])
            return 1
        if (particle := self._particle(at)) is not None:
            return particle
        if text in {"atleast", "atmost", "morethan", "lessthan", "oneof", "anymore"}:
            self._lists["many"].append(text)
            return 1
        if text in QUANTIFIERS:
            return self._quantifier(at)
        if text in _ALSO_ADVERBS and (at + 1 == len(self._tokens) or self._tokens[at + 1].kind == "stop"):
            self._content(at, text)
            return 1
        if text in POINTING:
            self._is_bare = False
            if self._at(at - 1) not in POINTING or not self._mark:
                self._mark = POINTING[text]
            self._begins = begins and POINTING[text] == "when"
            return 1
        if text in RESTING:
            if text == "of":
                self._mark = self._mark or "of"
            elif text in _PLACING:
                self._mark = "in"
            elif text != "and":
                self._mark = ""
            return 1
        if text == "just" and not begins and self._at(at + 1) in POINTING.keys() | RESTING:
            self._lists["many"].append("only")
            return 1
        if text in ARTICLES or text in FILLERS:
            if text == "a" and f"per{self._at(at + 1)}" in _PER and self._at(at - 1) not in CLOSED:
                self._words.append(Word(f"per{self._at(at + 1)}", frozenset((f"per{self._at(at + 1)}",)), "per"))
                return 2
            if text in {"this", "these"} and self._at(at + 1) in _TIMES_OF_LIFE:
                self._content(at, "this")
            return 1
        if text in COMMANDS and begins and not self._asked and not self._words:
            self._asked = "what"
            return 1
        return self._phrase(at)

    def _marked(self, text: str) -> str:
        """A number or date with the mark of its phrase where that points somewhere."""
        mark = self._mark if self._mark in _TIMING else ""
        return f"{mark} {text}".strip()

    def _sign(self, text: str) -> int:
        if text == "'s":
            if self._words:
                last = self._words[-1]
                self._words[-1] = msgspec.structs.replace(last, mark=last.mark or "of", is_owner=True)
        elif text not in {"&", "°"}:
            self._words.append(Word(text, frozenset((text,)), self._mark, is_known=False))
        return 1

    def _made(self, text: str) -> int:
        """What a turn of phrase made of a way to ask."""
        if text == "formerly":
            self._tenses.insert(0, "formerly")
        elif text == "whoby":
            self._asked, self._mark = "who", ""
        elif text == "define":
            self._asked = self._asked or "what"
            self._words.append(Word("define", frozenset(("define", "definition")), "per"))
        else:
            self._asked = "what"
            self._words.append(Word("cost", frozenset(("cost",)), is_optional=True))
        return 1

    def _question(self, at: int, *, begins: bool) -> int:
        text, after = self._at(at), self._at(at + 1)
        asks = begins or after in AUXILIARIES or after in MODALS
        is_free = not self._asked and not (text == "when" and begins and not self._inverts(at + 1))
        if not is_free or (not asks and self._words and text in {"who", "which", "what", "where"}):
            self._mark = "when" if text == "when" else ""
            self._begins = text == "when"
            return 1
        if text == "whether":
            self._asked = "yes"
        elif text == "how" and after in {"many", "much", "often", "far"}:
            self._asked = {"many": "how many", "much": "how much", "often": "how often", "far": "what"}[after]
            if after == "far":
                self._words.append(Word("distance", frozenset(("distance",)), "per"))
            return 2
        elif text == "how" and "a" in lexicon().parts.get(after, "") and self._at(at + 2) in AUXILIARIES:
            self._asked = "how far"  # by how much: "how important is", "how safe is"
        else:
            self._asked = QUESTION_WORDS[text]
            self._awaits_verb = text == "how" and after not in AUXILIARIES and after not in MODALS
            if self._asked == "what" and self._is_attribute(at + 1):
                self._words.append(Word(after, lexicon().bases(after), "per", is_optional=after == "size"))
                return 2
        return 1

    def _is_attribute(self, at: int) -> bool:
        """Whether this word was made of "how long", "how old" … by a turn of phrase."""
        is_made = at < len(self._tokens) and self._tokens[at].start == self._tokens[at - 1].start
        return is_made and self._at(at) not in CLOSED

    def _inverts(self, at: int) -> bool:
        """Whether a verb comes before its subject from here on: then it is a question, else a clause."""
        if self._at(at) in AUXILIARIES or self._at(at) in MODALS:
            return True
        return not any(
            token.text == "," or (text in AUXILIARIES | MODALS and text not in BE | HAVE)
            for token, text in zip(self._tokens[at:], self._texts[at:], strict=True)
        )

    def _modal(self, at: int, *, begins: bool) -> int:
        text = self._at(at)
        self._awaits_verb_after_subject, self._is_bare = True, False
        if not self._modality:
            self._modality = MODALS[text]
        if begins and not self._asked:
            self._asked = "yes"
        self._mark = self._mark if self._mark == "when" else ""
        return 1

    def _auxiliary(self, at: int, *, begins: bool) -> int:
        text = self._at(at)
        if begins and not self._asked:
            self._asked = "yes"
        if text in BE:
            self._has_be = True
            if (
                self._asked == "what"
                and not self._words
                and self._at(at + 1) in {"a", "an"}
                and at + _SHORT > len(self._tokens)
            ):
                self._words.append(Word("define", frozenset(("define", "definition")), "per"))
        self._awaits_verb_after_subject = text in _DO
        if AUXILIARIES[text]:
            self._tenses.append(AUXILIARIES[text])
        is_perfect = self._at(at + 1) == "been" or (self._at(at + 1) != "got" and self._is_perfect(at))
        if text in HAVE and AUXILIARIES[text] and is_perfect:
            self._tenses[-1] = "past"
        elif text in HAVE:
            self._holding = self._holding or "have"
        elif text in BE and "there" in {self._at(at - 1), self._at(at + 1)}:
            self._holding = "there"
        if self._mark not in {"when", "after", "before"}:
            self._mark = ""
        return 1

    def _is_perfect(self, at: int) -> bool:
        """Whether a participle belongs to this "have": after it, with nothing but the subject between."""
        for text in self._texts[at + 1 :]:
            if text in AUXILIARIES:
                return text == "been"
            if lexicon().is_past(text) and text not in _LIGHT:
                return True
        return False

    def _particle(self, at: int) -> int | None:
        """What makes another verb of the verb before it, or ends the clause and so belongs to the verb."""
        text = self._at(at)
        if text not in PARTICLES or not self._words:
            return None
        last = self._words[-1]
        is_next = last.end == self._tokens[at - 1].end
        names = {f"{base} {text}" for base in last.bases}
        if (
            is_next
            and (text not in {"in", "through"} or self._is_adverb(at + 1))
            and any(map(lexicon().is_phrase, names))
            and lexicon().may_be("v", last.text)
        ):
            self._words[-1] = msgspec.structs.replace(
                last, text=f"{last.text} {text}", bases=frozenset(names), end=self._tokens[at].end
            )
            return 1
        after = self._tokens[at + 1] if at + 1 < len(self._tokens) else None
        if text in {"in", "on"} and self._asked in {"what", "where"} and not self._verbs:
            return None
        if (after is None or after.kind == "stop") and self._attach(text):
            return 1
        if after is None or after.kind == "stop" or after.text in PARTICLES or after.text in POINTING:
            self._content(at, text)
            return 1
        return None

    def _attach(self, particle: str) -> bool:
        """Give a particle at a clause's end to the verb that it belongs to: "turn the light on"."""
        for number in sorted(self._verbs, reverse=True):
            verb = self._words[number]
            names = frozenset(f"{base} {particle}" for base in verb.bases)
            if any(map(lexicon().is_phrase, names)):
                self._words[number] = msgspec.structs.replace(verb, text=f"{verb.text} {particle}", bases=names)
                return True
        return False

    def _is_adverb(self, at: int) -> bool:
        """Whether no noun can begin here, so that what stands before is no preposition."""
        text = self._at(at)
        return (
            not text
            or self._tokens[at].kind == "stop"
            or (lexicon().may_be("r", text) and not lexicon().may_be("n", text))
        )

    def _quantifier(self, at: int) -> int:
        text = self._at(at)
        name = QUANTIFIERS[text]
        after = self._tokens[at + 1].kind if at + 1 < len(self._tokens) else ""
        if name in {"about", "exactly"} and after not in {"amount", "date"}:
            self._mark = POINTING.get(text, self._mark)
            return 1
        self._lists["many"].append(name)
        return 1

    def _phrase(self, at: int) -> int:
        """A content word, unless it is too light to count."""
        text = self._at(at)
        if text == "mean" and self._asked == "what" and self._awaits_verb_after_subject:
            return self._made("define")
        if text in _LIGHT:
            self._mark = "" if self._mark == "to" else self._mark
            return 1
        if text in _OPTIONAL_AFTER_DURATION and any(word.text == "duration" for word in self._words):
            return 1
        if self._has_be and lexicon().is_past(text) and self._is_participle(at):
            self._passive_verb = len(self._words)
            if self._mark not in {"when", "after", "before"}:
                self._mark = ""
        self._content(at, text)
        return 1

    def _is_participle(self, at: int) -> bool:
        """Whether it is the verb's participle and no adjective before its noun."""
        after = self._tokens[at + 1] if at + 1 < len(self._tokens) else None
        if self._at(at - 1) in BE | {"not"}:
            return True
        return after is None or after.kind != "word" or after.text in CLOSED

    def _content(self, at: int, text: str) -> None:
        if text in _PER:
            self._words.append(Word(text, frozenset((text,)), "per"))
            return
        bases = lexicon().bases(text)
        token = self._tokens[at]
        is_known = bool(bases) or text in CLOSED
        if self._awaits_verb or (self._awaits_verb_after_subject and lexicon().may_be("v", text)):
            self._verbs.add(len(self._words))
            self._awaits_verb = False
        self._words.append(
            Word(
                text,
                bases or frozenset((text,)),
                self._mark,
                token.start,
                token.end,
                is_known,
                not bases.isdisjoint(_GENERIC),
            )
        )
