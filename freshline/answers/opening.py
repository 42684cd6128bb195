"""Puts the answer cache together from settings. The one place that wires it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from prometheus_client import CollectorRegistry
from qdrant_client import AsyncQdrantClient

from freshline.answers.answers import Answers
from freshline.answers.learning import Learned
from freshline.guards import Breaker
from freshline.semantic.active import ActiveIndex
from freshline.semantic.opening import Reading, open_reading
from infra.embedding.embedder import Embedder
from infra.metrics import AnswerMetrics
from infra.qdrant.generations import NoIndexError
from infra.qdrant.questions import QuestionStore
from infra.redis.answers import AnswerEntries
from infra.redis.client import open_client
from infra.settings import QdrantSettings, Settings
from schemas.catalog import Catalog


class _Questions:
    """The model of the index, and the questions that it embedded."""

    def __init__(self, index: ActiveIndex, client: AsyncQdrantClient, namespace: str, settings: QdrantSettings) -> None:
        self._index = index
        self._client = client
        self._namespace = namespace
        self._settings = settings
        self._made: tuple[Embedder, QuestionStore] | None = None

    async def current(self) -> tuple[Embedder, QuestionStore] | None:
        """Both as of now; None where there is no index yet."""
        try:
            _, embedder = await self._index.current()
        except NoIndexError:
            return None
        if self._made is None or self._made[0] is not embedder:
            questions = QuestionStore(
                self._client, self._namespace, self._settings, model=embedder.name, dimension=embedder.dimension
            )
            self._made = (embedder, questions)
        return self._made


@asynccontextmanager
async def open_answers(
    settings: Settings,
    catalog: Catalog,
    *,
    registry: CollectorRegistry | None = None,
    reading: Reading | None = None,
) -> AsyncIterator[Answers]:
    """Open answers, with connections of their own.

    Args:
        settings: where the servers are; see ``infra.configuration.load_settings``.
        catalog: what is indexed.
        registry: where their metrics go; nowhere without it.
        reading: an index that is open already, so that its model is loaded once.

    Raises:
        SettingsError: a server has no address.
        StoreUnavailableError: Postgres does not answer. Redis and Qdrant may be away.
    """
    settings.require(["postgres", "redis", "qdrant"])
    reader = settings.reader
    metrics = AnswerMetrics(registry or CollectorRegistry())
    async with AsyncExitStack() as opened:
        if reading is None:
            reading = await opened.enter_async_context(open_reading(settings, catalog))
        redis = await opened.enter_async_context(
            open_client(
                settings.redis.client_arguments(),
                timeout_s=reader.redis_timeout_s,
                connections=reader.redis_connections,
            )
        )
        questions = _Questions(reading.index, reading.client, settings.namespace, settings.qdrant)
        yield Answers(
            catalog=catalog,
            search=reading.search,
            entries=AnswerEntries(redis, settings.namespace),
            embedding=questions.current,
            learned=Learned(redis, settings.namespace),
            redis=Breaker("redis"),
            qdrant=Breaker("qdrant", on_change=metrics.qdrant_away.set),
            metrics=metrics,
            settings=settings.answers,
        )
