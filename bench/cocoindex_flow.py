"""CocoIndex's side of ``cocoindex_side``, run where the package is: reads a `Task`, prints how many seconds it took.

    documents ▸ a component each ▸ embedding, remembered by text, in CocoIndex's batches ▸ its target for Qdrant

It is put together as CocoIndex's example of text embedding with Qdrant is, but for the embedder. CocoIndex's own one
takes 64 texts at once and has no setting for it; ours is the same without the limit, as its decorator is by default.
The model then sorts a thousand texts by length instead of 64, and loses much less to padding.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import cocoindex as coco  # type: ignore[import-not-found]
import msgspec
import numpy as np
import numpy.typing as npt
from cocoindex.connectors import qdrant  # type: ignore[import-not-found]
from cocoindex.resources.schema import VectorSchema, VectorSchemaProvider  # type: ignore[import-not-found]
from qdrant_client import QdrantClient
from sentence_transformers import SentenceTransformer

from bench.cocoindex_side import Task

_WARM_UP: Final = 64
_BATCH: Final = 32
_QDRANT_TIMEOUT_S: Final = 120
_NAMESPACE: Final = uuid.UUID("0b0c5f0e-3b50-5d3c-8f52-6d0d9a1f7c44")
_EMBEDDER: Final = coco.ContextKey("embedder")
_QDRANT: Final = coco.ContextKey("qdrant")


class Passage(NamedTuple):
    """A passage and where it stands."""

    document: str
    place: int
    text: str


class BatchingEmbedder(VectorSchemaProvider):  # type: ignore[misc]
    """A model that embeds at once whatever is asked of it while it is busy."""

    def __init__(self, path: str, device: str | None) -> None:
        """Load it."""
        self._path = path
        self._model: Any = SentenceTransformer(path, device=device)

    @coco.fn.as_async(batching=True, runner=coco.GPU)  # type: ignore[untyped-decorator]
    def _embed(self, texts: list[str]) -> list[npt.NDArray[np.float32]]:
        return list(
            self._model.encode(
                texts, batch_size=_BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
            )
        )

    @coco.fn(memo=True)  # type: ignore[untyped-decorator]
    async def embed(self, text: str) -> npt.NDArray[np.float32]:
        """The vector of a text."""
        vector: npt.NDArray[np.float32] = await self._embed(text)
        return vector

    async def __coco_vector_schema__(self) -> VectorSchema:
        return VectorSchema(dtype=np.dtype(np.float32), size=self._model.get_embedding_dimension())

    def __coco_memo_key__(self) -> object:
        return self._path


@coco.fn  # type: ignore[untyped-decorator]
async def index_passage(passage: Passage, target: qdrant.CollectionTarget) -> None:
    """Declare the point of a passage."""
    vector = await coco.use_context(_EMBEDDER).embed(passage.text)
    identity = str(uuid.uuid5(_NAMESPACE, f"{passage.document}/{passage.place}"))
    payload = {"document": passage.document, "place": passage.place, "text": passage.text}
    target.declare_point(qdrant.PointStruct(id=identity, vector=vector.tolist(), payload=payload))


@coco.fn(memo=True)  # type: ignore[untyped-decorator]
async def index_document(passages: Sequence[Passage], target: qdrant.CollectionTarget) -> None:
    """Index a document, unless it is as it was."""
    await coco.map(index_passage, passages, target)


@coco.fn  # type: ignore[untyped-decorator]
async def index_all(task: Task) -> None:
    """Index them all, as many at once as CocoIndex likes (1,024)."""
    schema = await qdrant.CollectionSchema.create(vectors=qdrant.QdrantVectorDef(schema=_EMBEDDER))
    target = await qdrant.mount_collection_target(_QDRANT, task.collection, schema)
    items = ((name, [Passage(name, place, text) for place, text in enumerate(texts)]) for name, texts in task.documents)
    await coco.mount_each(index_document, items, target)


async def measure(task: Task) -> float:
    """How many seconds it takes to index them, with the model loaded.

    Raises:
        SystemExit: not every passage is there afterwards: CocoIndex only logs what fails within a component.
    """
    texts = [text for _, passages in task.documents for text in passages]
    embedder = BatchingEmbedder(task.model, task.device)
    client = qdrant.create_client(task.qdrant_url, prefer_grpc=False, trust_env=False, timeout=_QDRANT_TIMEOUT_S)
    provided = coco.ContextProvider()
    provided.provide(_EMBEDDER, embedder)
    provided.provide(_QDRANT, client)
    environment = coco.Environment(coco.Settings(db_path=Path(task.state)), context_provider=provided)
    app = coco.App(coco.AppConfig(name="documents", environment=environment), index_all, task)
    # Outside of a component, so nothing of it is remembered.
    await asyncio.gather(*(embedder.embed(text) for text in texts[:_WARM_UP]))
    began = time.perf_counter()
    try:
        await app.update()
        seconds = time.perf_counter() - began
        _check(client, task.collection, len(texts))
    finally:
        client.delete_collection(task.collection)
        environment.close()
    return seconds


def _check(client: QdrantClient, collection: str, passages: int) -> None:
    found = client.count(collection, exact=True).count
    if found != passages:
        raise SystemExit(f"{found} of {passages} passages are in Qdrant")


if __name__ == "__main__":
    print(asyncio.run(measure(msgspec.json.decode(sys.stdin.buffer.read(), type=Task))))
