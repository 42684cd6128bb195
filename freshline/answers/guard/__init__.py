"""The guard between a vector match and a hit: a cached answer is served only to a question that asks the same.

    text -> reading (what is asked, in which words) \
                                                      Meaning --- judge(asked, cached, similarity) -> Verdict
    pieces, vectors -> each word's vector           /

``meaning`` is what is kept of a question, ``judgement`` compares two. Everything here is pure: the embedding model
stays outside, and hands over what it saw (``Looked``).
"""

from freshline.answers.guard.judgement import CANDIDATE_SIMILARITY, Reason, Verdict, judge
from freshline.answers.guard.meaning import Looked, Meaning

__all__ = ["CANDIDATE_SIMILARITY", "Looked", "Meaning", "Reason", "Verdict", "judge"]
