"""The questions of cached answers, by what they mean. Only hints: whether an answer may be given is said by Redis.

So nothing here need be kept in step with anything: a question whose answer is gone is found in vain, and removed.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Final

import msgspec
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from infra.qdrant.client import make_collection, qdrant_errors
from infra.settings import QdrantSettings

_NAMESPACE: Final = uuid.UUID("0d1f5e0b-58c1-5f0e-8f6d-0e7a4c2b9a37")
# Stands for every user of the tenant. No user is ever written so.
_SHARED: Final = "*"


class Near(msgspec.Struct, frozen=True):
    """A cached question that is near to one that was asked.

    Attributes:
        answer: the id of its answer.
        similarity: of the two questions, as the cosine.
    """

    answer: str
    similarity: float


class QuestionStore:
    """The questions of one namespace that were embedded by one model. Takes an open client; closes nothing.

    Attributes:
        name: of their collection.
    """

    def __init__(
        self, client: AsyncQdrantClient, namespace: str, settings: QdrantSettings, *, model: str, dimension: int
    ) -> None:
        """Prepare; no I/O."""
        self._client = client
        self._settings = settings
        self._dimension = dimension
        kind = blake2b(f"{model}\n{dimension}".encode(), digest_size=5).hexdigest()
        self.name = f"{namespace}.questions.{kind}"
        self._is_made = False

    async def nearest(
        self, vector: Sequence[float], *, scope: str, user: str | None, least_similarity: float, limit: int
    ) -> list[Near]:
        """The cached questions that are nearest to this one, the nearest first.

        Args:
            vector: of the question that was asked.
            scope: whose answers may be given: a tenant's.
            user: who asks; without one only answers that are anybody's in the scope.
            least_similarity: none that is farther, as the cosine.
            limit: how many at most.

        Raises:
            StoreUnavailableError: Qdrant does not answer.
        """
        users = [_SHARED] if user is None else [_SHARED, user]
        conditions: list[Any] = [
            models.FieldCondition(key="scope", match=models.MatchValue(value=scope)),
            models.FieldCondition(key="user", match=models.MatchAny(any=users)),
        ]
        try:
            with qdrant_errors():
                found = await self._client.query_points(
                    self.name,
                    query=list(vector),
                    query_filter=models.Filter(must=conditions),
                    limit=limit,
                    score_threshold=least_similarity,
                    with_payload=["answer"],
                )
        except (UnexpectedResponse, ValueError) as error:
            if _is_missing(error):
                return []
            raise
        return [Near((point.payload or {})["answer"], point.score) for point in found.points]

    async def add(self, answer: str, vector: Sequence[float], *, scope: str, user: str | None) -> None:
        """Let an answer be found by its question; ``user`` where it is for nobody else.

        Raises:
            StoreUnavailableError: Qdrant does not answer.
        """
        await self._make()
        payload = {"answer": answer, "scope": scope, "user": _SHARED if user is None else user}
        point = models.PointStruct(id=_point(answer), vector=list(vector), payload=payload)
        with qdrant_errors():
            await self._client.upsert(self.name, [point], wait=True)

    async def remove(self, answers: Sequence[str]) -> None:
        """Find these no more: their answers are gone.

        Raises:
            StoreUnavailableError: Qdrant does not answer.
        """
        try:
            with qdrant_errors():
                selector = models.PointIdsList(points=[_point(answer) for answer in answers])
                await self._client.delete(self.name, points_selector=selector, wait=True)
        except (UnexpectedResponse, ValueError) as error:
            if not _is_missing(error):
                raise

    async def _make(self) -> None:
        if self._is_made:
            return
        await make_collection(
            self._client,
            self.name,
            vectors_config=models.VectorParams(
                size=self._dimension, distance=models.Distance.COSINE, on_disk=self._settings.on_disk
            ),
            shard_number=self._settings.shards,
            replication_factor=self._settings.replication_factor,
        )
        with qdrant_errors():
            for field in ("scope", "user"):
                await self._client.create_payload_index(self.name, field, models.PayloadSchemaType.KEYWORD)
        self._is_made = True


def _point(answer: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, answer))


def _is_missing(error: Exception) -> bool:
    """Whether there is no such collection yet."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code == HTTPStatus.NOT_FOUND
    return "not found" in str(error)
