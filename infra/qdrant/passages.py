"""The passages of documents in Qdrant, and the rules by which they are written.

    passages ▸ head ▸ (what lies beyond the head goes)

Every write has a condition on the stamp (the LSN) of what is there, so that whoever is late changes nothing. A head
says as of which position a document is here, and how many passages it has. It is written after them, and a search
passes over what lies beyond it: a writer that was late, or killed half way, leaves nothing that can be found. A deleted
document keeps a head, of no passages.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, Final, TypeAlias

import msgspec
from qdrant_client import AsyncQdrantClient, models

from infra.qdrant.client import collection_errors
from infra.qdrant.generations import Generation

Vector: TypeAlias = Sequence[float]

_NAMESPACE: Final = uuid.UUID("6f2c1d7e-0f3b-5b5e-9a55-3d1f5d0c8a11")
# How many points go into a request: Qdrant refuses one of more than 32 MB, and a point of a large model has 100 kB.
_PAGE: Final = 256
# How many places beyond the last known passage are looked at for what a late writer left.
_LOOK_BEYOND: Final = 16
_HAS_PASSAGES: Final = models.FieldCondition(key="passages", range=models.Range(gt=0))


class DocumentName(msgspec.Struct, frozen=True, order=True):
    """A document: its table's qualified name, and its key as in its tag (``42``)."""

    table: str
    key: str

    def point(self, place: int) -> str:
        """The id of the point of its passage at this place."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.table}/{self.key}/{place}"))

    @property
    def head(self) -> str:
        """The id of its head."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.table}/{self.key}"))


class Head(msgspec.Struct, frozen=True):
    """What is known of a document: as of which position (bytes), how many passages, and whose it is."""

    lsn: int = 0
    passages: int = 0
    tenant: str | None = None


class StoredPassage(msgspec.Struct, frozen=True):
    """A passage as it lies there."""

    place: int
    column: str
    text: str
    digest: str
    lsn: int
    tenant: str | None
    vector: Vector | None = None


class Stored(msgspec.Struct, frozen=True):
    """A document as it lies there; ``head`` is None where it was never written whole."""

    head: Head | None
    passages: Sequence[StoredPassage]

    @property
    def newest_lsn(self) -> int:
        """The newest stamp on any of it."""
        return max((self.head.lsn if self.head else 0, *(passage.lsn for passage in self.passages)))


class Point(msgspec.Struct, frozen=True):
    """A point as it lies there, whoever wrote it. Its payload may be anything."""

    id: str
    payload: Mapping[str, Any]
    vector: Vector | None = None


class FoundPassage(msgspec.Struct, frozen=True):
    """A passage that a search found.

    Attributes:
        document: it belongs to.
        place: the how many-th of its passages it is, from 0.
        column: it stands in.
        text: itself.
        tenant: whose it is.
        version: of the document: the position (bytes) of its newest change that is contained.
        similarity: to what was sought, as the cosine.
    """

    document: DocumentName
    place: int
    column: str
    text: str
    tenant: str
    version: int
    similarity: float


class NewPassage(msgspec.Struct, frozen=True):
    """A passage to be written."""

    column: str
    text: str
    digest: str
    vector: Vector


class Version(msgspec.Struct, frozen=True):
    """A document as it is to be.

    Attributes:
        document: which.
        lsn: the stamp: everything up to this change of it is contained.
        tenant: whose it is.
        passages: in their order; none where it is gone or has no text.
        repairs: it replaces what has the same stamp, too: nothing changed, but what lies there is wrong. Only for text
            that was read after the stamps were.
    """

    document: DocumentName
    lsn: int
    tenant: str | None
    passages: Sequence[NewPassage]
    repairs: bool = False

    @property
    def condition(self) -> models.Filter:
        """What must be true of a point that it replaces."""
        span = models.Range(lte=self.lsn) if self.repairs else models.Range(lt=self.lsn)
        return models.Filter(must=[models.FieldCondition(key="lsn", range=span)])


class PassageStore:
    """The passages of one generation. Takes an open client; closes nothing."""

    def __init__(self, client: AsyncQdrantClient, generation: Generation) -> None:
        """Prepare; no I/O."""
        self.generation = generation
        self._client = client

    # Reading.

    async def heads(self, documents: Collection[DocumentName]) -> dict[DocumentName, Head]:
        """The heads of these documents, of those that have one.

        Raises:
            CollectionGoneError: the generation was dropped.
            StoreUnavailableError: Qdrant does not answer.
        """
        by_id = {document.head: document for document in documents}
        found = await self._retrieve(self.generation.heads, list(by_id))
        return {by_id[str(record.id)]: _head(record.payload) for record in found}

    async def stored(self, documents: Collection[DocumentName], *, vectors: bool = True) -> dict[DocumentName, Stored]:
        """What lies there of these documents, also what is beyond their heads.

        Raises:
            CollectionGoneError: the generation was dropped.
            StoreUnavailableError: Qdrant does not answer.
        """
        heads = await self.heads(documents)
        found: dict[DocumentName, list[StoredPassage]] = {document: [] for document in documents}
        wanted = {document: (0, _known(heads.get(document)) + _LOOK_BEYOND) for document in documents}
        while wanted:
            ids = {d.point(place): (d, place) for d, (first, after) in wanted.items() for place in range(first, after)}
            records = await self._retrieve(self.generation.name, list(ids), vectors=vectors)
            for record in records:
                document, _ = ids[str(record.id)]
                found[document].append(_passage(record))
            # Points of one writer lie side by side, so where the last one looked at is there, others may follow.
            reached = {ids[str(record.id)] for record in records}
            wanted = {d: (after, 2 * after) for d, (_, after) in wanted.items() if (d, after - 1) in reached}
        return {
            document: Stored(heads.get(document), sorted(passages, key=lambda passage: passage.place))
            for document, passages in found.items()
        }

    async def documents(
        self, table: str, *, before_lsn: int | None = None, after: str | None = None
    ) -> tuple[list[DocumentName], str | None]:
        """A page of the documents of a table that are there, and where the next page begins; None at the end.

        Args:
            table: its qualified name.
            before_lsn: only those whose stamp is older.
            after: where the page begins; at the first document without it.

        Raises:
            CollectionGoneError: the generation was dropped.
            StoreUnavailableError: Qdrant does not answer.
        """
        conditions: list[Any] = [_is("table", table), _HAS_PASSAGES]
        if before_lsn is not None:
            conditions.append(models.FieldCondition(key="lsn", range=models.Range(lt=before_lsn)))
        with collection_errors():
            records, following = await self._client.scroll(
                self.generation.heads,
                scroll_filter=models.Filter(must=conditions),
                limit=_PAGE,
                offset=after,
                with_payload=["table", "key"],
            )
        names = [DocumentName(table, (record.payload or {})["key"]) for record in records]
        return names, None if following is None else str(following)

    async def nearest(
        self,
        vector: Vector,
        *,
        tenant: str,
        limit: int,
        tables: Sequence[str] = (),
        documents: Sequence[DocumentName] = (),
        least_similarity: float | None = None,
    ) -> list[FoundPassage]:
        """The passages of a tenant that are nearest to a vector, the nearest first.

        Args:
            vector: of what is sought.
            tenant: whose documents are searched; there is no search of all.
            limit: how many at most.
            tables: of these only, by qualified name; of all without one.
            documents: of these only; of all without one.
            least_similarity: none that is farther, as the cosine.

        Raises:
            CollectionGoneError: the generation was dropped.
            StoreUnavailableError: Qdrant does not answer.
        """
        conditions: list[Any] = [_is("tenant", tenant)]
        if tables:
            conditions.append(models.FieldCondition(key="table", match=models.MatchAny(any=list(tables))))
        if documents:
            conditions.append(_one_of(documents))
        found: dict[tuple[DocumentName, int], FoundPassage] = {}
        seen = 0
        while len(found) < limit:
            wanted = limit + _LOOK_BEYOND
            with collection_errors():
                page = (
                    await self._client.query_points(
                        self.generation.name,
                        query=list(vector),
                        query_filter=models.Filter(must=conditions),
                        limit=wanted,
                        offset=seen,
                        score_threshold=least_similarity,
                        with_payload=True,
                    )
                ).points
            # A page may repeat what was written anew since the one before.
            found |= {(each.document, each.place): each for each in await self._visible(page, tenant)}
            seen += len(page)
            if len(page) < wanted:
                break
        return list(found.values())[:limit]

    async def _visible(self, points: Sequence[Any], tenant: str) -> list[FoundPassage]:
        """Those that their document's head vouches for."""
        named = [(DocumentName(point.payload["table"], point.payload["key"]), point) for point in points]
        heads = await self.heads({name for name, _ in named})
        return [
            FoundPassage(
                document=name,
                place=point.payload["place"],
                column=point.payload["column"],
                text=point.payload["text"],
                tenant=tenant,
                # The passage may be older than its head, which was looked at later.
                version=min(point.payload["lsn"], head.lsn),
                similarity=point.score,
            )
            for name, point in named
            if (head := heads.get(name)) is not None
            and point.payload["place"] < head.passages
            and head.tenant == tenant
        ]

    # Looking at all there is.

    async def points(
        self, documents: Sequence[DocumentName], *, vectors: bool = False
    ) -> AsyncIterator[list[tuple[DocumentName, Point]]]:
        """All points that pass for passages of these documents, whatever their ids, in pages.

        Raises:
            CollectionGoneError: the generation was dropped.
            StoreUnavailableError: Qdrant does not answer.
        """
        after: Any = None
        while True:
            with collection_errors():
                records, after = await self._client.scroll(
                    self.generation.name,
                    scroll_filter=_one_of(documents),
                    limit=_PAGE,
                    offset=after,
                    with_vectors=vectors,
                )
            yield [_point(record) for record in records]
            if after is None:
                return

    async def count(self) -> tuple[int, int]:
        """How many documents with passages there are, and how many points for passages, visible or not.

        Raises:
            CollectionGoneError: the generation was dropped.
            StoreUnavailableError: Qdrant does not answer.
        """
        with collection_errors():
            documents = await self._client.count(
                self.generation.heads, count_filter=models.Filter(must=[_HAS_PASSAGES])
            )
            points = await self._client.count(self.generation.name)
        return documents.count, points.count

    # Writing: each of these may be done again, and is idle where somebody newer was there.

    async def put_passages(self, versions: Sequence[Version]) -> None:
        """Write passages; those that are there already get the new stamp and tenant.

        Raises:
            StoreUnavailableError: Qdrant does not answer, and nobody knows what became of it.
        """
        await self._upsert(
            self.generation.name,
            (
                (
                    version,
                    models.PointStruct(
                        id=version.document.point(place),
                        vector=list(passage.vector),
                        payload={
                            "table": version.document.table,
                            "key": version.document.key,
                            "place": place,
                            "tenant": version.tenant,
                            "lsn": version.lsn,
                            "column": passage.column,
                            "text": passage.text,
                            "digest": passage.digest,
                        },
                    ),
                )
                for version in versions
                for place, passage in enumerate(version.passages)
            ),
        )

    async def put_heads(self, versions: Sequence[Version]) -> None:
        """Say how many passages each document has, once they are written.

        Raises:
            StoreUnavailableError: Qdrant does not answer, and nobody knows what became of it.
        """
        await self._upsert(
            self.generation.heads,
            (
                (
                    version,
                    models.PointStruct(
                        id=version.document.head,
                        vector={},
                        payload={
                            "table": version.document.table,
                            "key": version.document.key,
                            "tenant": version.tenant,
                            "lsn": version.lsn,
                            "passages": len(version.passages),
                        },
                    ),
                )
                for version in versions
            ),
        )

    async def sweep(self, versions: Sequence[Version]) -> int:
        """Delete what lies beyond the heads of these documents, once those are written; how many points that were.

        What is as old as the head itself may be of somebody who is about to write a newer one with the same stamp, so
        only a repair takes it away.

        Raises:
            StoreUnavailableError: Qdrant does not answer, and nobody knows what became of it.
        """
        stored = await self.stored([version.document for version in versions], vectors=False)
        swept = 0
        operations: list[Any] = []
        for version in versions:
            head, passages = stored[version.document].head, stored[version.document].passages
            if head is None:
                continue
            newest = head.lsn if version.repairs else head.lsn - 1
            beyond = [p.place for p in passages if p.place >= head.passages and p.lsn <= newest]
            if not beyond:
                continue
            swept += len(beyond)
            condition = models.Filter(
                must=[
                    models.HasIdCondition(has_id=[version.document.point(place) for place in beyond]),
                    models.FieldCondition(key="lsn", range=models.Range(lte=newest)),
                ]
            )
            operations.append(models.DeleteOperation(delete=models.FilterSelector(filter=condition)))
        await self._update(self.generation.name, operations)
        return swept

    async def _upsert(self, collection: str, points: Iterable[tuple[Version, models.PointStruct]]) -> None:
        """Write points, each where the condition of its version is true.

        A version may take several requests: what counts is that its points are written in their order.
        """
        source = iter(points)
        while page := list(islice(source, _PAGE)):
            await self._update(
                collection,
                [
                    models.UpsertOperation(
                        upsert=models.PointsList(points=[point for _, point in of], update_filter=of[0][0].condition)
                    )
                    for of in (list(group) for _, group in groupby(page, key=lambda each: id(each[0])))
                ],
            )

    async def _update(self, collection: str, operations: Sequence[Any]) -> None:
        for start in range(0, len(operations), _PAGE):
            with collection_errors():
                await self._client.batch_update_points(collection, operations[start : start + _PAGE], wait=True)

    async def _retrieve(self, collection: str, ids: Sequence[str], *, vectors: bool = False) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(ids), _PAGE):
            with collection_errors():
                found += await self._client.retrieve(collection, ids[start : start + _PAGE], with_vectors=vectors)
        return found


def _point(record: Any) -> tuple[DocumentName, Point]:
    payload = record.payload or {}
    vector = record.vector if isinstance(record.vector, list) else None
    return DocumentName(payload["table"], payload["key"]), Point(str(record.id), payload, vector)


def _known(head: Head | None) -> int:
    return 0 if head is None else head.passages


def _is(field: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def _one_of(documents: Collection[DocumentName]) -> models.Filter:
    """What is true of points that belong to one of these."""
    keys: dict[str, dict[str, None]] = {}
    for document in documents:
        keys.setdefault(document.table, {})[document.key] = None
    of_tables = [
        models.Filter(must=[_is("table", table), models.FieldCondition(key="key", match=models.MatchAny(any=list(of)))])
        for table, of in keys.items()
    ]
    return models.Filter(should=of_tables)


def _head(payload: Mapping[str, Any] | None) -> Head:
    found = payload or {}
    return Head(found["lsn"], found["passages"], found.get("tenant"))


def _passage(record: Any) -> StoredPassage:
    payload = record.payload or {}
    return StoredPassage(
        place=payload["place"],
        column=payload["column"],
        text=payload["text"],
        digest=payload["digest"],
        lsn=payload["lsn"],
        tenant=payload.get("tenant"),
        vector=record.vector,
    )
