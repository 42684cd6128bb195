"""The closed classes of English: the words whose number does not grow, and what each does to a question.

These lists can be complete, which lists of things and deeds never are: pronouns, prepositions, auxiliaries,
quantifiers, words of negation, question words. What is in none of them is a content word.
"""

from __future__ import annotations

from typing import Final

from freshline.answers.guard.text import words

ARTICLES: Final = words("a an the this that these those such there here it its itself so very s")

AUXILIARIES: Final = {
    **dict.fromkeys(("do", "does", "is", "are", "am", "be", "being", "have", "has", "having"), "present"),
    **dict.fromkeys(("did", "was", "were", "had"), "past"),
    **dict.fromkeys(("will", "shall"), "future"),
    "been": "",
    "done": "",
    "doing": "",
}
BE: Final = words("is are am was were be been being")
HAVE: Final = words("have has had having")

MODALS: Final = {
    "can": "can",
    "could": "can",
    "may": "can",
    "might": "might",
    "must": "must",
    "should": "should",
    "ought": "should",
    "would": "would",
    "needto": "need",
}

PERSONS: Final = {
    **dict.fromkeys(("i", "we", "myself", "ourselves"), "first subject"),
    **dict.fromkeys(("me", "us"), "first object"),
    **dict.fromkeys(("my", "our"), "first owner"),
    **dict.fromkeys(("mine", "ours"), "first possession"),
    **dict.fromkeys(("you", "yourself", "yourselves"), "second subject"),
    **dict.fromkeys(("your",), "second owner"),
    **dict.fromkeys(("yours",), "second possession"),
    **dict.fromkeys(("he", "himself"), "he subject"),
    **dict.fromkeys(("she", "herself"), "she subject"),
    **dict.fromkeys(("they", "themselves"), "they subject"),
    **dict.fromkeys(("one", "people", "someone", "somebody", "anyone", "anybody"), "general subject"),
    **dict.fromkeys(("him",), "he object"),
    **dict.fromkeys(("them",), "they object"),
    **dict.fromkeys(("his",), "he owner"),
    **dict.fromkeys(("her", "hers"), "she owner"),
    **dict.fromkeys(("their",), "they owner"),
    **dict.fromkeys(("theirs",), "they possession"),
}

NEGATIONS: Final = {
    **dict.fromkeys(("not", "no", "none", "nor", "neither", "never", "nobody", "nothing", "nowhere", "non"), "not"),
    **dict.fromkeys(("hardly", "barely", "scarcely", "rarely", "seldom"), "hardly"),
    **dict.fromkeys(("without", "lacking"), "without"),
    **dict.fromkeys(("except", "besides", "excluding"), "except"),
    "unless": "unless",
    "instead": "instead",
}

QUANTIFIERS: Final = {
    **dict.fromkeys(("all", "every", "each", "everyone", "everybody", "everything", "entire", "whole"), "all"),
    **dict.fromkeys(("some", "several", "few", "various"), "some"),
    **dict.fromkeys(("any", "anything", "either"), "any"),
    **dict.fromkeys(("only", "solely", "exclusively", "merely"), "only"),
    **dict.fromkeys(("also", "too", "additionally"), "also"),
    **dict.fromkeys(("even",), "even"),
    **dict.fromkeys(("always", "constantly"), "always"),
    **dict.fromkeys(("sometimes", "occasionally"), "sometimes"),
    **dict.fromkeys(("often", "frequently", "regularly"), "often"),
    **dict.fromkeys(("usually", "normally", "generally", "typically"), "usually"),
    **dict.fromkeys(("most", "mostly", "mainly"), "most"),
    **dict.fromkeys(("many", "lots", "plenty"), "many"),
    **dict.fromkeys(("much",), "much"),
    **dict.fromkeys(("more", "additional", "extra"), "more"),
    **dict.fromkeys(("less", "fewer"), "less"),
    **dict.fromkeys(("least", "fewest"), "least"),
    **dict.fromkeys(("enough", "sufficient", "sufficiently"), "enough"),
    **dict.fromkeys(("both",), "both"),
    **dict.fromkeys(("half",), "half"),
    **dict.fromkeys(("exactly", "precisely"), "exactly"),
    **dict.fromkeys(("about", "approximately", "roughly", "around", "approx", "circa"), "about"),
    **dict.fromkeys(("partly", "partially"), "partly"),
    **dict.fromkeys(("fully", "completely", "entirely", "totally", "wholly"), "fully"),
    **dict.fromkeys(("almost", "nearly"), "almost"),
    **dict.fromkeys(("other", "another", "else", "others"), "other"),
    **dict.fromkeys(("same",), "same"),
    **dict.fromkeys(("still",), "still"),
    **dict.fromkeys(("already", "yet"), "already"),
    **dict.fromkeys(("again",), "again"),
    **dict.fromkeys(("maximum", "max", "maximal", "atmost"), "atmost"),
    **dict.fromkeys(("minimum", "min", "minimal", "atleast"), "atleast"),
    **dict.fromkeys(("or",), "or"),
}

POINTING: Final = {
    **dict.fromkeys(("from",), "from"),
    **dict.fromkeys(("to", "into", "onto", "towards", "toward"), "to"),
    **dict.fromkeys(("before", "until", "till"), "before"),
    **dict.fromkeys(("after", "following", "since"), "after"),
    **dict.fromkeys(("than",), "than"),
    **dict.fromkeys(("by",), "by"),
    **dict.fromkeys(("over", "above", "beyond", "past"), "over"),
    **dict.fromkeys(("under", "below", "beneath"), "under"),
    **dict.fromkeys(("against",), "against"),
    **dict.fromkeys(("through", "via"), "through"),
    **dict.fromkeys(("behind",), "behind"),
    **dict.fromkeys(("off",), "off"),
    **dict.fromkeys(("out", "outside"), "out"),
    **dict.fromkeys(("inside",), "inside"),
    **dict.fromkeys(("up",), "up"),
    **dict.fromkeys(("down",), "down"),
    **dict.fromkeys(("between", "among"), "between"),
    **dict.fromkeys(("despite",), "despite"),
    **dict.fromkeys(("as", "like"), "as"),
    **dict.fromkeys(("near", "around", "along"), "near"),
    **dict.fromkeys(("across", "throughout"), "across"),
    **dict.fromkeys(("within",), "within"),
    **dict.fromkeys(("about", "regarding", "concerning"), "about"),
    **dict.fromkeys(("without",), "without"),
    **dict.fromkeys(("except", "excluding", "unless"), "except"),
    **dict.fromkeys(("with",), "with"),
    **dict.fromkeys(("for",), "for"),
    **dict.fromkeys(("if", "when", "whenever", "once", "while", "whilst"), "when"),
    **dict.fromkeys(("because",), "because"),
    **dict.fromkeys(("although", "though"), "although"),
}
"""Prepositions and conjunctions whose exchange points another way, and the one name of those that point alike."""

RESTING: Final = words("in on at of during per upon and but that which who whose whom where")
"""Those that are exchanged freely, as in ``the answer to, of, in``, and words that only join."""

PARTICLES: Final = words("up down on off in out away back over through around together along apart forward")
"""What makes another verb of a verb: ``turn on``, ``turn off``."""

QUESTION_WORDS: Final = {
    **dict.fromkeys(("what", "which"), "what"),
    "when": "when",
    "where": "where",
    **dict.fromkeys(("who", "whom", "whose"), "who"),
    "why": "why",
    "how": "how",
    **dict.fromkeys(("whether",), "whether"),
}

FILLERS: Final = words(
    "please pls plz kindly thanks thank thx hi hello hey dear um uh er hmm well okay ok oh just actually really simply "
    "basically currently quickly maybe perhaps possibly sorry alright anyway exactly precisely"
)
"""What may stand or be left away."""

COMMANDS: Final = words("show list give display find showing listing giving finding")
"""Verbs that ask for an answer where they begin a request."""

CLOSED: Final = (
    ARTICLES
    | AUXILIARIES.keys()
    | MODALS.keys()
    | PERSONS.keys()
    | NEGATIONS.keys()
    | QUANTIFIERS.keys()
    | POINTING.keys()
    | RESTING
    | PARTICLES
    | QUESTION_WORDS.keys()
    | FILLERS
)
"""All of them."""
