"""The figures: of four rules, how many paraphrases they hit and how many near misses they hit wrongly."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

import msgspec

from bench.false_friends import gptcache_rule
from bench.false_friends.looks import Looks
from bench.false_friends.pairs import Pair, pairs
from bench.results import percentile
from freshline.answers.guard import CANDIDATE_SIMILARITY, Meaning, judge
from freshline.answers.guard.reader import read

GUIDE_THRESHOLD: Final = 0.85
_REPEATS: Final = 3
# The guard bounds the search at a similarity of its own; served is what is also as near as the settings ask for.
RULES: Final = ("cosine", "gptcache", "guard", "served")


class Share(msgspec.Struct, frozen=True):
    """Of how many pairs how many were hits."""

    hits: int = 0
    pairs: int = 0

    def more(self, *, hit: bool) -> Share:
        """With one pair more."""
        return Share(self.hits + hit, self.pairs + 1)

    @property
    def value(self) -> float:
        """The share; 0 without a pair."""
        return self.hits / self.pairs if self.pairs else 0.0


class Measured(msgspec.Struct, frozen=True):
    """What came out.

    Attributes:
        shares: of hits, by half (``development``, ``report``), kind (``*`` for all), whether they mean the same, and
            rule.
        cost_ms: what one judgement took, for each of the pairs.
        gptcache: what spoke for GPTCache.
    """

    shares: Mapping[tuple[str, str, bool, str], Share]
    cost_ms: Sequence[float]
    gptcache: str


def run() -> Measured:
    """Look at all pairs, and ask the rules."""
    all_pairs = pairs()
    looks = Looks.of(all_pairs)
    similarities = [looks.similarity(pair) for pair in all_pairs]
    theirs, spokesman = gptcache_rule.hits(similarities)
    shares: dict[tuple[str, str, bool, str], Share] = defaultdict(Share)
    for pair, similarity, their_hit in zip(all_pairs, similarities, theirs, strict=True):
        is_near, is_allowed = similarity >= GUIDE_THRESHOLD, guard_hits(looks, pair, similarity)
        decisions = (is_near, their_hit, is_allowed, is_near and is_allowed)
        for rule, hit in zip(RULES, decisions, strict=True):
            for kind in ("*", pair.kind):
                key = ("development" if pair.is_development else "report", kind, pair.same, rule)
                shares[key] = shares[key].more(hit=hit)
    return Measured(shares, _cost_ms(looks, all_pairs, similarities), spokesman)


def guard_hits(looks: Looks, pair: Pair, similarity: float) -> bool:
    """Whether our rule serves the answer to one for the other."""
    return (
        similarity >= CANDIDATE_SIMILARITY and judge(looks.meaning(pair.a), looks.meaning(pair.b), similarity).allowed
    )


def _cost_ms(looks: Looks, all_pairs: Sequence[Pair], similarities: Sequence[float]) -> list[float]:
    """What a candidate costs as it does in service, unpacked as it lay in Redis, then judged; the median of a few."""
    costs = []
    for pair, similarity in zip(all_pairs, similarities, strict=True):
        asked, packed = looks.meaning(pair.a), looks.meaning(pair.b).pack()
        takes = []
        for _ in range(_REPEATS):
            read.cache_clear()
            _ = asked.reading  # belongs to the question, not to the candidate
            began = time.perf_counter()
            judge(asked, Meaning.unpack(packed), similarity)
            takes.append(1000 * (time.perf_counter() - began))
        costs.append(median(takes))
    return costs


def measure() -> dict[str, float]:
    """The figures by name, for ``bench/results``; shares from 0 to 1, times in milliseconds."""
    measured = run()
    figures = {
        f"false_friends.{'hits' if same else 'wrong_hits'}@{rule},{half}": share.value
        for (half, kind, same, rule), share in measured.shares.items()
        if kind == "*"
    }
    return figures | {
        "false_friends.guard_p50_ms": percentile(measured.cost_ms, 0.5),
        "false_friends.guard_p99_ms": percentile(measured.cost_ms, 0.99),
    }
