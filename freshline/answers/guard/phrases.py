"""Turns of phrase that say the same: several words that stand for one, and ways to begin a question that add nothing.

Each rule replaces a run of words by a shorter one. In a pattern ``a|b`` is a choice, and a part with ``?`` at its end
may be missing. Rules are tried in their order at each place, from left to right; ``^`` binds one to the beginning
of a sentence. They hold turns of the language, not matters that are asked about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from freshline.answers.guard.closed_class import FILLERS
from freshline.answers.guard.text import Token

_PASSES: Final = 4
_WE: Final = "i|we|you|one|they|people|someone|somebody"
_CAN: Final = "can|could|would|will|do|does|should|might|may|to"
_BEST: Final = "best|easiest|quickest|fastest|simplest|right|correct|proper|usual|recommended|good|easy"
_WAY: Final = "way|method|procedure|process|steps|step|instructions|means|approach"
_ASK: Final = "what|when|where|who|why|how|which|whether|if|is|are|do|does|can"

_RULES: Final = f"""
e mail|mails = email
e mails = emails
wi fi = wifi
log|logging|logged into|onto = login to
log in|on = login
logging in|on = login
logged in|on = login
sign in|on = login
log out|off = logout
sign out|off = logout
as well as = and
prior to = before
in order to = to
so as to = to
due to = because of
owing to = by
by means of = with
with the help of = with
using = with
in case of|that? = if
provided that = if
in the event of|that = if
as soon as = once
apart from = except
other than = except
instead of = instead
rather than = instead
in addition to = besides
up to = atmost
at least = atleast
at a minimum = atleast
no|not less|fewer than = atleast
or more = atleast
a minimum of = atleast
at most = atmost
at the most = atmost
at maximum = atmost
no|not more than = atmost
or less|fewer = atmost
a maximum of = atmost
more|greater|higher|larger than = morethan
over|above = over
less|fewer|lower|smaller than = lessthan
a|the couple of = 2
a lot of = many
lots of = many
a number of = some
a few = some
one of the|my|our|these|those = oneof
any of = any
all of = all
some of = some
both of = both
each of = all
most of = most
every single = all
any more|longer = anymore
no longer = not anymore
not any|a = not
is|are there any = is there
fail|fails|failed|failing to = not
unable to = not able to
not possible to = not able to
right now = -
at the moment = -
at present = -
these days = -
by the way = -
for me = -
if possible = -
in advance = -
at once = together
at the same time = together
for instance|example = -
i mean = -
^ so = -
^ and = -
^ quick question = -
^ a? question = -
^ just checking = -
^ excuse me = -
^ good morning|afternoon|evening|day = -
^ i have a? quick? question = -
^ do|does you|anyone|anybody happen? to? know = -
^ any idea|clue = -
^ i was|am|'m just? wondering = -
^ i wonder = -
^ i wanted|want|need|like|would to know = -
^ i would like|love|want to know = -
^ i would be interested in|to know? = -
^ i am interested in = -
^ i would be|appreciate grateful? it? if you could|can|would tell|explain? me? = -
^ can|could|would|will you please? kindly? tell|explain|inform|advise|show|give|send me? &{_ASK} = -
^ please? kindly? tell|inform|advise|show me &{_ASK} = -
^ let me know &{_ASK} = -
^ can|could|would|will you please? kindly? = -
^ would you mind = -
^ may|can i ask = -
^ i want|need|wish you? to = -
^ i would like|love you? to = -
^ i am trying|looking|hoping to = -
^ help me to? = -
^ i need help|assistance with|to|in? = -
^ i want|need to find out|understand = -
^ i would like|love to find out|understand = -
^ guide|tutorial|tips|advice to|for|on|with = how
what to do = what should i do
where to = where should i
when to = when should i
who to = who should i
what is the due date of|for = when due
with no = without
fill|filling|filled in|out = complete
turn|turning up = increase
turn|turning down = reduce
necessary|needed|obligatory|mandatory|compulsory = required
^ tell|teach|show|inform me about|of|on? = show
^ give|send|show|get|find|bring|fetch|read|provide|list|display me? = show
^ search|look for = show
^ look up = show
how {_CAN} {_WE} go about = how
how {_CAN} {_WE} best? = how
how best? to = how
how come = why
how about = what about
^ explain|describe|show|teach me? how {_WE}? {_CAN}? = how
^ what do|must|should|can {_WE} need|have? to? do to = how
^ what has|needs to be done to = how
^ what is|are the|a|an {_BEST}? {_WAY} to|for|of = how
^ what is|are the|a|an {_BEST}? {_WAY} {_WE}? {_CAN}? = how
^ which|what steps|way do|should|must {_WE} take|follow? to = how
^ what does it take to = how
^ the? {_BEST}? way|steps|instructions|procedure to|for = how
^ walk|guide|take|talk me through = how
in which|what way = how
by what means = how
^ is there any|a|some {_BEST}? way|possibility|method|option to|of = can i
^ is it possible for? me|us|you? to = can i
^ is it allowed|permitted|ok|okay|fine|alright|legal for? me|us? to = can i
^ am|are {_WE} allowed|permitted|able|entitled to = can i
^ do|does {_WE} have|get permission to = can i
is|are able to = can
be able to = can
being able to = can
allowed|permitted|able|entitled to = can
^ is it necessary|required|mandatory|obligatory|needed for? me|us? to = must i
^ do|does {_WE} have to = must i
^ do|does {_WE} need to = needto i
^ am|are {_WE} required|obliged|obligated|supposed|forced to = must i
need|needs to = needto
have|has|had|got|required|obliged|obligated to = must
supposed|advised to = should
^ is it a? advisable|recommended|good idea? for? me|us? to = should i
used to = formerly
going|about to = will
at|on|in? what|which time|hour|date = when
what|which time|date|day do|does|did|is|are|will = when do
how soon = when
when was|is the last time = when did last
for? what period of? time? = what duration
free of charge = free
for free = free
at no cost|charge = free
without charge = free
in charge of = responsible for
^ set|create|add a? reminder to|for = remind me to
make|making|made a copy|copies of = copy
make|making a payment = pay
make|making|made a complaint = complain
make|making|made a decision = decide
make|making|made a booking|reservation = book
make|making|made changes to = change
take|taking a look at = see
^ i need|want|would|like like? to know the = what is the
in|at|to which|what place|location|spot = where
which|what place|location = where
what|which person|people = who
by whom|who = whoby
what is|was the reason|cause that|why|for = why
what is|was the reason = why
for|due|from what|which reason = why
^ the? reason|reasons why|that|for = why
what amount|quantity of = how much
what|which number of = how many
how much time = how long
for how long = how long
how much money = how much
how frequently = how often
how many times = how often
what is|was the duration|length of = how long
what is|was meant by = define
what|which does|do mean = define
what is the|a definition|meaning of = define
^ define = define
how much is|are|was|were = howmuchis
where can|could|do|should|might {_WE} find|see|get|locate = where is
where is|are = where is
what is the expiry|expiration date of|for|on? = when does expire
what is the start|starting date|time of|for? = when does start
what is the end date|time of|for? = when does end
what is|are the? opening hours|hour|times|time of|for? = when does open
^ show the? opening hours|times of|for? = when does open
how expensive is|are|was|were = what cost
how old = what age
how tall = what height
how heavy = what weight
how far away? = what distance
how deep = what depth
how wide = what width
how fast|quickly = what speed
how hot|cold|warm = what temperature
how long = what duration
how high|large|big = what size
what|which kind|kinds|type|types|sort|sorts of = what
know|tell|see|check|verify|find|test if|whether = check if
find out if|whether = check if
^ explain|describe|outline the|my|our|your = show
roll|rolled|rolling|rolls back = revert
shut|shuts|shutting down|off = disable
look|looking at = view
looked at = viewed
driver|drivers|driving 's? license|licence = drivinglicence
a day = perday
per|each|every|a day = perday
per|each|every hour = perhour
per|each|every week = perweek
per|each|every month = permonth
per|each|every year|annum = peryear
daily = perday
hourly = perhour
weekly = perweek
monthly = permonth
yearly|annual|annually = peryear
put together = assemble
get|got|be|stay|getting in touch with = contact
get rid of = remove
take part in = attend
make|making use of = use
carry|carrying out = do
find out = find
pay back = repay
make|making sure = ensure
money back = refund
hand|turn in = submit
turned|turn|switch|switched|power on = enable
turned|turn|switch|switched|power off = disable
close to = near
next to = near
united states|states of america = usa
u s a = usa
u s = usa
united kingdom = uk
value added tax = vat
chief executive officer = ceo
chief executive = ceo
chief financial officer = cfo
human resources = hr
two|2 factor authentication = 2fa
multi factor authentication = mfa
user id = userid
phone|telephone number = phonenumber
"""


class _Part(NamedTuple):
    """One place of a pattern."""

    words: frozenset[str]
    may_be_missing: bool
    is_kept: bool


class _Rule(NamedTuple):
    """A pattern, whether it is bound to a beginning, and what stands for it."""

    begins: bool
    parts: tuple[_Part, ...]
    instead: tuple[str, ...]


@cache
def _rules() -> dict[str, tuple[_Rule, ...]]:
    """The rules by the words that they may begin with."""
    rules = defaultdict[str, list[_Rule]](list)
    for line in _RULES.strip().splitlines():
        left, _, right = line.partition("=")
        texts = left.split()
        begins = texts[0] == "^"
        parts = tuple(
            _Part(frozenset(text.strip("&?").split("|")), text.endswith("?"), text.startswith("&"))
            for text in texts[begins:]
        )
        rule = _Rule(begins, parts, tuple(word for word in right.split() if word != "-"))
        for part in parts:
            for word in part.words:
                rules[word].append(rule)
            if not part.may_be_missing:
                break
    return {word: tuple(found) for word, found in rules.items()}


def match(words: Sequence[str], at: int, *, begins: bool) -> tuple[int, tuple[str, ...]] | None:
    """The longest rule that fits here: how many words it takes, and what stands for them; None where none does."""
    best: tuple[int, tuple[str, ...]] | None = None
    for rule in _rules().get(words[at], ()):
        if begins or not rule.begins:
            length = _length(words, at, rule.parts)
            if length is not None and length and (best is None or length > best[0]):
                best = length, rule.instead
    return best


def _length(words: Sequence[str], at: int, parts: tuple[_Part, ...]) -> int | None:
    """How many words the parts take from here, the most they can; None where they don't fit."""
    if not parts:
        return 0
    part, rest = parts[0], parts[1:]
    taken = None
    if at < len(words) and words[at] in part.words:
        further = _length(words, at + 1, rest)
        taken = None if further is None else further + (not part.is_kept)
    if taken is None and part.may_be_missing:
        return _length(words, at, rest)
    return taken


def rewrite(found: list[Token]) -> list[Token]:
    """The tokens with turns of phrase replaced, until none is left."""
    for _ in range(_PASSES):
        texts = [token.text for token in found]
        written: list[Token] = []
        at, begins, has_changed = 0, True, False
        while at < len(found):
            token = found[at]
            if token.kind == "word" and (rule := match(texts, at, begins=begins)) is not None:
                taken, instead = rule
                last = found[at + taken - 1]
                written.extend(Token(text, "word", token.start, last.end) for text in instead)
                has_changed, at = True, at + taken
                begins = begins and not instead
                continue
            if not (begins and token.text in FILLERS):
                written.append(token)
                begins = token.kind == "stop"
            at += 1
        found = written
        if not has_changed:
            break
    return found
