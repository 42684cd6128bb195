"""Answers to questions about documents, cached by what the questions mean: the third tier.

    same question ▸ similar question ▸ one producer at a time ▸ stored, if its sources did not change meanwhile

An answer is given from the cache only while every source of it is as it was, and to nobody whose tenant (or, where it
says so, whose user) is another.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from operator import eq
from typing import Any, Final, Literal, TypeAlias

import msgspec

from freshline.answers.cached import CachedAnswer, answer_id
from freshline.answers.learning import Learned, Ticket
from freshline.answers.matching import Asked, Candidate, Embedding, Match, Matching
from freshline.answers.sources import Search, Sources
from freshline.guards import Breaker, PastStoreError
from freshline.tiers import Fillers, Patience
from infra.metrics import AnswerMetrics
from infra.qdrant.passages import DocumentName
from infra.redis.answers import AnswerEntries
from infra.settings import AnswerSettings
from schemas.catalog import Catalog
from schemas.errors import FreshlineError
from schemas.keys import key_part
from schemas.passages import EVERYONE

How: TypeAlias = Literal["same", "similar", "produced"]

_encode = msgspec.json.Encoder().encode


class Produced(msgspec.Struct, frozen=True):
    """What a producer may return instead of the bare answer.

    Attributes:
        value: the answer: anything that JSON can hold.
        used: the documents that it was made from, where fewer than were found; it lives on when others change.
        is_personal: whether it is for the user who asked, and nobody else.
        is_cacheable: whether it may be given again.
    """

    value: Any
    used: Collection[DocumentName] | None = None
    is_personal: bool = False
    is_cacheable: bool = True


class Answer(msgspec.Struct, frozen=True):
    """What a question is answered with.

    Attributes:
        value: the answer itself.
        how: whether it was cached for the same question, for a similar one, or produced.
        id: to report on it; empty where Redis is away.
        question: that it was made for.
        similarity: of the two questions, as the cosine; 1 where they are the same.
        sources: the documents that it was made from.
    """

    value: Any
    how: How
    id: str
    question: str
    similarity: float
    sources: tuple[DocumentName, ...]


Produce: TypeAlias = Callable[[Sources], Awaitable[Any]]


class AnswerError(FreshlineError):
    """A question can't be asked so, or its answer can't be written as JSON."""


class Answers:
    """Answers questions. Takes everything ready made and opened; made by ``open_answers``."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        search: Search,
        entries: AnswerEntries,
        embedding: Embedding,
        learned: Learned,
        redis: Breaker,
        qdrant: Breaker,
        metrics: AnswerMetrics,
        settings: AnswerSettings,
    ) -> None:
        """``redis`` and ``qdrant`` guard the calls of these stores."""
        self._catalog = catalog
        self._search = search
        self._entries = entries
        self._embedding = embedding
        self._learned = learned
        self._redis = redis
        self._qdrant = qdrant
        self._metrics = metrics
        self._settings = settings
        self._fillers = Fillers()
        self._matching = Matching(
            entries=entries,
            embedding=embedding,
            learned=learned,
            redis=redis,
            qdrant=qdrant,
            metrics=metrics,
            settings=settings,
        )

    async def answer(
        self,
        question: str,
        tenant: object | None,
        produce: Produce,
        *,
        user: object | None = None,
        same: Callable[[Any, Any], bool] = eq,
    ) -> Answer:
        """The answer to a question: cached, or produced.

        Args:
            question: what is asked.
            tenant: whose documents it may be answered from: a value of the catalog's tenant column. None where none of
                the indexed tables has one.
            produce: makes the answer from what it finds in the ``Sources`` that it is given; returns it, or `Produced`.
            user: who asks, where answers may be personal.
            same: whether two answers say the same, where an error rate is set and they are compared.

        Raises:
            AnswerError: the question is empty, the tenant is missing, or the answer can't be written as JSON.
            Exception: whatever ``produce`` raises.
        """
        began = time.perf_counter()
        asked = self._asked(question, tenant, user)
        match = await self._matching.same(asked) or await self._matching.similar(asked)
        if match is not None and (match.decision is None or match.decision.serve):
            return await self._given(asked, match, began)
        return await self._produced(asked, tenant, produce, match, same)

    async def report(self, id: str, *, wrong: bool) -> bool:  # noqa: A002 - the word of the callers
        """Say that an answer was wrong, or that it was right; False where that was said before.

        Wrong for the same question, it is given no more; wrong for a similar one, it is no more given to questions that
        are no nearer. With an error rate both are learned from.

        Args:
            id: of the answer, as it was given.
            wrong: whether it was wrong.

        Raises:
            TicketError: there is no such id.
            StoreUnavailableError: Redis does not answer.
        """
        ticket = await self._learned.opened(id)
        self._metrics.reports.labels("wrong" if wrong else "right").inc()
        if ticket.similarity >= 1.0:
            if wrong:
                await self._entries.remove(ticket.answer, ticket.scope)
            return True
        return await self._learned.reported(ticket, correct=not wrong)

    async def explain(self, question: str, tenant: object | None, *, user: object | None = None) -> list[Candidate]:
        """The cached questions that are near to this one, and for each whether its answer would be given, and why not.

        Raises:
            AnswerError: the question is empty, or the tenant is missing.
        """
        asked = self._asked(question, tenant, user)
        found = await self._matching.same(asked)
        exact = [] if found is None else [Candidate(found.id, 1.0, "live", found.cached)]
        return exact + [each for each in await self._matching.candidates(asked) if each.id not in asked.ids]

    def _asked(self, question: str, tenant: object | None, user: object | None) -> Asked:
        if not question.strip():
            raise AnswerError("The question is empty: ask something.")
        owned = [table.qualified_name for table in self._catalog.indexed if table.index and table.index.tenant]
        if tenant is None and owned:
            raise AnswerError(
                f"Answers from {', '.join(owned)} belong to a tenant: say whose documents this question is about."
            )
        scope = EVERYONE if tenant is None else key_part(tenant)
        return Asked(question, scope, None if user is None else key_part(user))

    # From the cache.

    async def _given(self, asked: Asked, match: Match, began: float) -> Answer:
        how: How = "same" if match.is_same else "similar"
        with suppress(PastStoreError), self._redis.guard():
            await self._entries.used(match.id, asked.scope)
        self._metrics.answers.labels(how).inc()
        self._metrics.hit_seconds.labels(how).observe(time.perf_counter() - began)
        explored = 0.0 if match.decision is None else match.decision.explore_probability
        # A similar question may be all but the same one.
        similarity = 1.0 if match.is_same else min(match.similarity, _ALL_BUT_SAME)
        ticket = Ticket(match.id, asked.scope, similarity, explored)
        return Answer(
            value=match.cached.decoded(),
            how=how,
            id=await self._sealed(ticket),
            question=match.cached.question,
            similarity=similarity,
            sources=tuple(match.cached.sources),
        )

    async def _sealed(self, ticket: Ticket) -> str:
        """The id of an answer; without Redis there is none, and nothing to report on."""
        try:
            with self._redis.guard():
                return await self._learned.sealed(ticket)
        except PastStoreError:
            return ""

    # Made anew.

    async def _produced(
        self,
        asked: Asked,
        tenant: object | None,
        produce: Produce,
        match: Match | None,
        same: Callable[[Any, Any], bool],
    ) -> Answer:
        shared = asked.ids[0]
        try:
            with self._redis.guard():
                lease = await self._entries.hold(shared, lease_ms=round(1000 * self._settings.produce_lease_s))
        except PastStoreError:
            return await self._make(asked, tenant, produce, keep=False)
        if lease is None:
            began = time.perf_counter()
            found = await self._awaited(asked)
            if found is not None:
                return await self._given(asked, found, began)
            return await self._make(asked, tenant, produce, keep=False)
        try:
            with self._fillers.filling([shared]):
                made = await self._make(asked, tenant, produce, keep=True)
        finally:
            with suppress(PastStoreError), self._redis.guard():
                await self._entries.release(shared, lease)
        if match is not None and match.decision is not None:
            await self._compared(match, correct=same(match.cached.decoded(), made.value))
        return made

    async def _awaited(self, asked: Asked) -> Match | None:
        """What another producer makes of the same question, if it may be given."""
        shared = asked.ids[0]
        patience = Patience(self._settings.produce_wait_s)
        while patience.remaining_s:
            if not await self._fillers.wait([shared], patience.remaining_s):
                await patience.pause(patience.remaining_s)
            found = await self._matching.same(asked)
            if found is not None:
                return found
            try:
                with self._redis.guard():
                    if not await self._entries.is_held(shared):
                        return None
            except PastStoreError:
                return None
        return None

    async def _make(self, asked: Asked, tenant: object | None, produce: Produce, *, keep: bool) -> Answer:
        began = time.perf_counter()
        sources = Sources(
            asked.question,
            tenant,
            catalog=self._catalog,
            search=self._search,
            entries=self._entries,
            breaker=self._redis,
            # Longer than any answer under it lives, or the tag's end would be the answer's.
            tag_ttl_ms=round(2000 * self._settings.ttl_s),
            vector=None if asked.look is None else asked.look.vector.tolist(),
        )
        result = await produce(sources)
        made = result if isinstance(result, Produced) else Produced(result)
        self._metrics.answers.labels("produced").inc()
        self._metrics.produce_seconds.observe(time.perf_counter() - began)
        user = asked.user if made.is_personal else None
        identity = answer_id(asked.question, scope=asked.scope, user=user)
        documents = tuple(sources.documents if made.used is None else made.used)
        outcome = await self._keep(asked, made, sources, identity, user) if keep else "past"
        self._metrics.fills.labels(outcome).inc()
        ticket = Ticket(identity, asked.scope)
        return Answer(made.value, "produced", await self._sealed(ticket), asked.question, 1.0, documents)

    async def _keep(self, asked: Asked, made: Produced, sources: Sources, identity: str, user: str | None) -> str:
        """Store it, if it may be; says what became of it."""
        try:
            value = _encode(made.value)
        except (TypeError, ValueError, RecursionError, NotImplementedError, msgspec.MsgspecError) as error:
            raise AnswerError(
                f"The answer to {asked.question[:80]!r} can't be cached: {error}. Return what JSON can hold, or "
                "Produced(…, is_cacheable=False)."
            ) from error
        generations = sources.generations(made.used)
        if not made.is_cacheable or (made.is_personal and asked.user is None):
            return "uncacheable"
        if generations is None:
            return "unknown_sources"
        if len(value) > self._settings.limit_bytes:
            return "too_large"
        used = sources.documents if made.used is None else made.used
        documents = tuple((document.table, document.key) for document in used)
        cached = CachedAnswer(asked.question, value, asked.meaning.pack(), user, documents)
        try:
            with self._redis.guard():
                outcome, evicted = await self._entries.fill(
                    identity,
                    generations,
                    scope=asked.scope,
                    body=cached.pack(),
                    ttl_ms=round(1000 * self._settings.ttl_s),
                    most=self._settings.entries,
                )
        except PastStoreError:
            return "lost"
        if outcome == "stored":
            self._metrics.evicted.inc(len(evicted))
            await self._let_find(asked, identity, user, evicted)
        return outcome

    async def _let_find(self, asked: Asked, identity: str, user: str | None, evicted: list[str]) -> None:
        """Let it be found by its question; without Qdrant only the same question finds it."""
        with suppress(PastStoreError), self._qdrant.guard():
            embedding = await self._embedding()
            if embedding is None or asked.look is None:
                return
            _, questions = embedding
            await questions.add(identity, asked.look.vector.tolist(), scope=asked.scope, user=user)
            if evicted:
                await questions.remove(evicted)

    async def _compared(self, match: Match, *, correct: bool) -> None:
        assert match.decision is not None  # noqa: S101 - only such are compared
        with suppress(PastStoreError), self._redis.guard():
            await self._learned.compared(
                match.id,
                match.similarity,
                correct=correct,
                explore_probability=match.decision.explore_probability,
            )


_ALL_BUT_SAME: Final = 0.999999
