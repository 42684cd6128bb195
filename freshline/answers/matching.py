"""Finding the cached answer to a question: of the same one, or of one that means the same.

    same question? ▸ live ▸ hit
    nearest questions ▸ live? ▸ guard ▸ (what was learned) ▸ hit

Each step that is away or says no makes a miss, never a failure.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal

import msgspec

from freshline.answers.cached import CachedAnswer, answer_id
from freshline.answers.guard.judgement import Verdict, judge
from freshline.answers.guard.meaning import Meaning
from freshline.answers.learning import Learned
from freshline.answers.thresholds import Decision, Observations, Policy, Pooled, step_of
from freshline.guards import Breaker, PastStoreError
from infra.embedding.embedder import Embedder, Look
from infra.metrics import AnswerMetrics
from infra.qdrant.questions import Near, QuestionStore
from infra.redis.answers import AnswerEntries, LookedAt
from infra.settings import AnswerSettings

Status = Literal["live", "stale", "none"]

_REPORTED: Final = "reported"


class Asked(msgspec.Struct):
    """A question that is asked: by whom, and what is known of its meaning so far."""

    question: str
    scope: str
    user: str | None
    look: Look | None = None

    @property
    def ids(self) -> list[str]:
        """The ids under which its own answer may lie: everybody's, and the user's."""
        users = [None] if self.user is None else [None, self.user]
        return [answer_id(self.question, scope=self.scope, user=user) for user in users]

    @property
    def meaning(self) -> Meaning:
        """For the guard."""
        if self.look is None:
            return Meaning.of(self.question)
        return Meaning.of(self.question, self.look.pieces, self.look.piece_vectors)


class Match(msgspec.Struct, frozen=True):
    """A cached answer that may be given.

    Attributes:
        id: of the answer.
        cached: it.
        similarity: of the two questions; 1 where they are the same.
        is_same: whether they are.
        decision: what was learned says; None where nothing is learned. Where it says not to serve, the answer is made
            anew and compared.
    """

    id: str
    cached: CachedAnswer
    similarity: float = 1.0
    is_same: bool = True
    decision: Decision | None = None


class Candidate(msgspec.Struct, frozen=True):
    """A cached question that was looked at, and what came of it."""

    id: str
    similarity: float
    status: Status
    cached: CachedAnswer | None = None
    verdict: Verdict | None = None
    observations: Observations = Observations()
    pooled: Pooled = Pooled()


Embedding = Callable[[], Awaitable[tuple[Embedder, QuestionStore] | None]]


class Matching:
    """Finds cached answers. Takes everything ready made and opened."""

    def __init__(
        self,
        *,
        entries: AnswerEntries,
        embedding: Embedding,
        learned: Learned,
        redis: Breaker,
        qdrant: Breaker,
        metrics: AnswerMetrics,
        settings: AnswerSettings,
    ) -> None:
        """``embedding`` gives the model and the questions that it embedded; None while there is no model."""
        self._entries = entries
        self._embedding = embedding
        self._learned = learned
        self._redis = redis
        self._qdrant = qdrant
        self._metrics = metrics
        self._settings = settings
        self._policy = None if settings.error_rate is None else Policy(settings.error_rate)

    async def same(self, asked: Asked) -> Match | None:
        """The answer to the same question, if one may be given."""
        with suppress(PastStoreError):
            with self._redis.guard():
                looked = await self._entries.look(asked.ids)
            for identity, found in zip(asked.ids, looked, strict=True):
                self._metrics.stale.inc(found.status == "stale")
                cached = _cached(found)
                if found.status == "live" and cached is not None:
                    return Match(identity, cached)
        return None

    async def similar(self, asked: Asked) -> Match | None:
        """The answer to a question that means the same, if one may be given."""
        for candidate in await self._near_enough(asked):
            self._metrics.stale.inc(candidate.status == "stale")
            if candidate.cached is None or candidate.verdict is None:
                continue
            if not candidate.verdict.allowed:
                self._metrics.refused.labels(candidate.verdict.reason).inc()
                continue
            match = self._decided(candidate, candidate.cached)
            if match is not None:
                return match
        return None

    async def candidates(self, asked: Asked) -> list[Candidate]:
        """The nearest cached questions, the nearest first, each judged if its answer may still be given."""
        return list(await self._near_enough(asked))

    async def _near_enough(self, asked: Asked) -> Iterator[Candidate]:
        """The same, each judged only when it is asked for: mostly the nearest will do."""
        near = await self._near(asked)
        if not near:
            return iter(())
        ids = [each.answer for each in near]
        try:
            with self._redis.guard():
                looked, (observed, pooled) = await asyncio.gather(self._entries.look(ids), self._learned.known(ids))
        except PastStoreError:
            return iter(())
        await self._remove([one.answer for one, found in zip(near, looked, strict=True) if _cached(found) is None])
        meaning = asked.meaning
        return (self._judged(meaning, *each, pooled) for each in zip(near, looked, observed, strict=True))

    async def _near(self, asked: Asked) -> Sequence[Near]:
        try:
            with self._qdrant.guard():
                embedding = await self._embedding()
                if embedding is None:
                    return []
                embedder, questions = embedding
                if asked.look is None:
                    asked.look = await embedder.look(asked.question)
                return await questions.nearest(
                    asked.look.vector.tolist(),
                    scope=asked.scope,
                    user=asked.user,
                    least_similarity=self._settings.similarity,
                    limit=self._settings.candidates,
                )
        except PastStoreError:
            return []

    @staticmethod
    def _judged(asked: Meaning, near: Near, looked: LookedAt, observed: Observations, pooled: Pooled) -> Candidate:
        cached = _cached(looked)
        if cached is None:
            return Candidate(near.answer, near.similarity, "none")
        try:
            meaning = Meaning.unpack(cached.meaning)
        except (msgspec.DecodeError, UnicodeDecodeError):
            meaning = Meaning.of(cached.question)
        verdict = judge(asked, meaning, near.similarity)
        return Candidate(near.answer, near.similarity, looked.status, cached, verdict, observed, pooled)

    def _decided(self, candidate: Candidate, cached: CachedAnswer) -> Match | None:
        """What was learned of the cached question says whether it is given, made anew and compared, or passed over."""
        if candidate.status != "live":
            return None
        if self._policy is None:
            # It was wrong for a question that was as similar, or more so.
            if any(candidate.observations.wrong[: step_of(candidate.similarity) + 1]):
                self._metrics.refused.labels(_REPORTED).inc()
                return None
            return Match(candidate.id, cached, candidate.similarity, is_same=False)
        uniform = secrets.randbelow(1 << 53) / (1 << 53)
        decision = self._policy.decide(candidate.observations, candidate.pooled, candidate.similarity, uniform)
        if not decision.serve:
            self._metrics.refused.labels(decision.reason).inc()
        return Match(candidate.id, cached, candidate.similarity, is_same=False, decision=decision)

    async def _remove(self, gone: Sequence[str]) -> None:
        """Look for these no more."""
        if not gone:
            return
        with suppress(PastStoreError), self._qdrant.guard():
            embedding = await self._embedding()
            if embedding is not None:
                await embedding[1].remove(gone)


def _cached(looked: LookedAt) -> CachedAnswer | None:
    if looked.status == "none":
        return None
    try:
        return CachedAnswer.unpack(looked.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
