"""Ground for tests of answers: an index of real documents, and answers made by a producer that quotes what it found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from freshline.answers.answers import Answer, Answers, Produced
from freshline.answers.learning import Learned
from freshline.answers.sources import Sources
from freshline.guards import Breaker
from infra.embedding.embedder import Embedder
from infra.metrics import AnswerMetrics
from infra.qdrant.passages import FoundPassage
from infra.qdrant.questions import QuestionStore
from infra.redis.answers import AnswerEntries
from infra.settings import AnswerSettings, Settings
from schemas.errors import StoreUnavailableError
from schemas.keys import key_part
from schemas.voiceassist import VOICEASSIST
from tests.integration.semantic_ground import SemanticGround, open_semantic_ground


class GroundSearch:
    """Searches the ground's index."""

    def __init__(self, ground: SemanticGround) -> None:
        self._ground = ground
        self.is_away = False

    async def search(
        self,
        text: str,
        *,
        tenant: object | None = None,
        tables: Sequence[str] = (),
        limit: int = 10,
        vector: Sequence[float] | None = None,
    ) -> list[FoundPassage]:
        """By meaning alone."""
        if self.is_away:
            raise StoreUnavailableError("Qdrant is away")
        if vector is None:
            vector = (await self._ground.embedder.look(text)).vector.tolist()
        store = await self._ground.store()
        return await store.nearest(vector, tenant=key_part(tenant), tables=tables, limit=limit, least_similarity=0.25)


class Quoting:
    """A producer: the answer is what the passages say, and when it was made."""

    def __init__(self, limit: int = 3, *, names_used: bool = False) -> None:
        self.calls = 0
        self._limit = limit
        self._names_used = names_used

    async def __call__(self, sources: Sources) -> Any:
        """Quote."""
        self.calls += 1
        found = await sources.search(limit=self._limit)
        value = sorted(passage.text for passage in found) or "nothing found"
        return Produced(value, used={passage.document for passage in found}) if self._names_used else value


class AnswerGround:
    """Answers over a test's own documents."""

    def __init__(self, semantic: SemanticGround, settings: AnswerSettings, redis: Any) -> None:
        self.semantic = semantic
        self.search = GroundSearch(semantic)
        self.registry = CollectorRegistry()
        self.entries = AnswerEntries(redis, semantic.ground.settings.namespace)
        self.questions = QuestionStore(
            semantic.client,
            semantic.ground.settings.namespace,
            semantic.ground.settings.qdrant,
            model=semantic.embedder.name,
            dimension=semantic.embedder.dimension,
        )
        self.has_model = True
        self.answers = Answers(
            catalog=VOICEASSIST,
            search=self.search,
            entries=self.entries,
            embedding=self._embedding,
            learned=Learned(redis, semantic.ground.settings.namespace),
            redis=Breaker("redis"),
            qdrant=Breaker("qdrant"),
            metrics=AnswerMetrics(self.registry),
            settings=settings,
        )

    async def ask(self, question: str, produce: Any, *, tenant: int = 1, user: int | None = None) -> Answer:
        """Ask a question."""
        return await self.answers.answer(question, tenant, produce, user=user)

    def count(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.registry.get_sample_value(name, labels) or 0.0

    async def _embedding(self) -> tuple[Embedder, QuestionStore] | None:
        return (self.semantic.embedder, self.questions) if self.has_model else None


@asynccontextmanager
async def open_answer_ground(settings: Settings, **changes: Any) -> AsyncIterator[AnswerGround]:
    """An index that is followed by no worker yet, and answers over it."""
    async with open_semantic_ground(settings) as semantic:
        yield AnswerGround(semantic, AnswerSettings(**changes), semantic.ground.redis)
