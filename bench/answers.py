"""Answers: how long a hit by meaning takes among many cached answers, beside a list of vectors that is looked through.

The other side does what the guide's snippet does: embed the question, compare it with every cached one in a loop, give
the answer of the first that is near enough. It asks nothing about tenants or sources, and has all in its own memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

import httpx
import numpy as np
from prometheus_client import CollectorRegistry
from qdrant_client import AsyncQdrantClient, models
from redis.asyncio import Redis

from bench.results import Figure, compared
from freshline.answers.answers import Answers
from freshline.answers.cached import CachedAnswer, answer_id
from freshline.answers.guard.meaning import Meaning
from freshline.answers.learning import Learned
from freshline.answers.sources import Sources
from freshline.guards import Breaker
from infra.embedding.embedder import Embedder, Vectors
from infra.local.stack import LocalStack
from infra.metrics import AnswerMetrics
from infra.qdrant.client import open_qdrant
from infra.qdrant.passages import FoundPassage
from infra.qdrant.questions import QuestionStore
from infra.redis.answers import AnswerEntries
from infra.redis.client import open_client
from infra.redis.coherence import Coherence
from infra.settings import DEFAULT_MODEL, AnswerSettings, EmbeddingSettings, LocalSettings, QdrantSettings
from schemas.voiceassist import VOICEASSIST

SIZES: Final = (1_000, 100_000)
_FOLDER: Final = Path(".local/bench/answers")
_CACHE: Final = Path(".local/cache")
_NAMESPACE: Final = "bench"
_INDEXED_FROM: Final = 20_000
_INDEX_TIMEOUT_S: Final = 900.0
_ASKED: Final = 300
_WARM_UP: Final = 30
_KNOWN: Final = 300
_TAGS: Final = ("document:1", "document:*", "library:*")
_SUBJECTS: Final = (
    *("the travel policy", "the kitchen budget", "the river report", "the patient's record", "the engine's manual"),
    *("the vendor contract", "the summer lesson", "the printer in the hall", "the market study", "the safety notice"),
)
_FORMS: Final = (
    ("What does {} say about {}?", "what does {} say about {}"),
    ("How is {} to be changed after {}?", "How is {} to be changed after {} ?"),
    ("Who is responsible for {} in {}?", "Who is responsible for {}, in {}?"),
)


class _NoSearch:
    """Nothing is produced here that would be searched for."""

    async def search(
        self,
        text: str,  # noqa: ARG002 - the protocol's form
        *,
        tenant: object | None = None,  # noqa: ARG002
        tables: Sequence[str] = (),  # noqa: ARG002
        limit: int = 10,  # noqa: ARG002
        vector: Sequence[float] | None = None,  # noqa: ARG002
    ) -> list[FoundPassage]:
        """Find nothing."""
        return []


class LookedThrough:
    """The guide's class, as its text describes it: a dictionary of vectors, compared one by one."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.cache: dict[str, tuple[str, str, Vectors]] = {}

    async def get(self, question: str) -> str | None:
        """The first answer whose question is near enough."""
        vector = (await self._embedder.encode([question]))[0]
        for _, answer, cached in self.cache.values():
            if float(np.dot(vector, cached) / (np.linalg.norm(vector) * np.linalg.norm(cached))) >= 0.85:
                return answer
        return None


async def measure() -> list[Figure]:
    """p50 and p99 of a hit by meaning, at each size, beside the other's."""
    figures: list[Figure] = []
    async with (
        LocalStack(LocalSettings(folder=_FOLDER, cache=_CACHE)).running(["valkey", "qdrant"]) as stack,
        Embedder(DEFAULT_MODEL, EmbeddingSettings()) as embedder,
    ):
        settings = QdrantSettings(url=stack.qdrant.endpoint, timeout_s=60)
        async with (
            open_qdrant(settings) as client,
            open_client({"url": stack.valkey.endpoint}, timeout_s=5) as redis,
        ):
            await Coherence(redis, _NAMESPACE).begin_epoch(
                expected="", epoch="e", floor=0, identity="bench", watermarks=()
            )
            for size in SIZES:
                figures += await _at(size, client, redis, embedder, settings)
    return figures


async def _at(
    size: int, client: AsyncQdrantClient, redis: Redis, embedder: Embedder, settings: QdrantSettings
) -> list[Figure]:
    random = Random(5)
    pairs = list(_questions(random, _KNOWN))
    looks = [await embedder.look(cached) for cached, _ in pairs]
    other = LookedThrough(embedder)
    entries = AnswerEntries(redis, _NAMESPACE)
    questions = QuestionStore(
        client, _NAMESPACE, settings, model=f"{DEFAULT_MODEL}{size}", dimension=embedder.dimension
    )
    generations = await entries.generations(_TAGS, tag_ttl_ms=3_600_000)
    if generations is None:
        raise SystemExit("there is no epoch")
    for (cached, _), look in zip(pairs, looks, strict=True):
        identity = answer_id(cached, scope=str(size), user=None)
        body = CachedAnswer(cached, b'"an answer"', Meaning.of(cached, look.pieces, look.piece_vectors).pack()).pack()
        await entries.fill(identity, generations, scope=str(size), body=body, ttl_ms=3_600_000, most=size)
        await questions.add(identity, look.vector.tolist(), scope=str(size), user=None)
        other.cache[cached] = (cached, "an answer", look.vector)
    await _fill_up(client, questions.name, size, embedder.dimension, other)
    if size > _INDEXED_FROM:
        # As a server of Qdrant's does by itself; the local one only when it is told to.
        async with httpx.AsyncClient(base_url=settings.url, timeout=_INDEX_TIMEOUT_S, trust_env=False) as http:
            (await http.post(f"/collections/{questions.name}/optimise")).raise_for_status()
    answers = Answers(
        catalog=VOICEASSIST,
        search=_NoSearch(),
        entries=entries,
        embedding=lambda: _both(embedder, questions),
        learned=Learned(redis, _NAMESPACE),
        redis=Breaker("redis"),
        qdrant=Breaker("qdrant"),
        metrics=AnswerMetrics(CollectorRegistry()),
        settings=AnswerSettings(similarity=0.85),
    )
    for _, asked in pairs[:_WARM_UP]:
        await answers.answer(asked, size, _produce)
    ours, embeddings, theirs = list[float](), list[float](), list[float]()
    for number in range(_ASKED):
        _, asked = pairs[number % len(pairs)]
        began = time.perf_counter()
        await embedder.look(asked)
        embeddings.append(time.perf_counter() - began)
        began = time.perf_counter()
        found = await answers.answer(asked, size, _produce)
        if found.how == "similar":
            ours.append(time.perf_counter() - began)
        if number % (1 + size // 5_000) == 0:
            began = time.perf_counter()
            await other.get(asked)
            theirs.append(time.perf_counter() - began)
    if len(ours) < _ASKED // 2:
        raise SystemExit(f"only {len(ours)} of {_ASKED} questions hit")
    at = f"@{size}"
    figures = [Figure(f"answers.embedding_p50_ms{at}", _ms(embeddings, 0.5), "ms")]
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        reference = Figure(f"answers.looked_through_{name}_ms{at}", _ms(theirs, share), "ms")
        figures += [reference, compared(f"answers.hit_{name}_ms{at}", _ms(ours, share), "ms", reference)]
    return figures


async def _both(embedder: Embedder, questions: QuestionStore) -> tuple[Embedder, QuestionStore]:
    return embedder, questions


async def _produce(sources: Sources) -> str:
    await sources.search()
    return "made anew"


async def _fill_up(client: AsyncQdrantClient, name: str, size: int, dimension: int, other: LookedThrough) -> None:
    """Questions that nobody asks, so that there are as many as there are to be."""
    random = np.random.default_rng(3)
    for start in range(_KNOWN, size, 500):
        vectors = random.normal(size=(min(500, size - start), dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        points = [
            models.PointStruct(
                id=start + place,
                vector=vector.tolist(),
                payload={"answer": f"nobody{start + place}", "scope": str(size), "user": "*"},
            )
            for place, vector in enumerate(vectors)
        ]
        await client.upsert(name, points, wait=True)
        # They were there first: what is asked for is found at the end.
        filled = {str(start + place): ("", "", vector) for place, vector in enumerate(vectors)}
        other.cache = {**filled, **other.cache} if start == _KNOWN else {**other.cache, **filled}
    known = {name: other.cache.pop(name) for name in list(other.cache) if other.cache[name][0]}
    other.cache |= known


def _questions(random: Random, count: int) -> Iterator[tuple[str, str]]:
    """A question and another form of it."""
    for number in range(count):
        cached, asked = _FORMS[number % len(_FORMS)]
        subject, matter = random.choice(_SUBJECTS), f"section {number} on {random.choice(_SUBJECTS)}"
        yield cached.format(subject, matter), asked.format(subject, matter)


def _ms(seconds: Sequence[float], share: float) -> float:
    return 1000 * sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))]
