"""Generations of the index: collections of one model each, one of which an alias names as the one that is searched.

    building ▸ (both follow the log) ▸ active ▸ dropped

A generation is a collection of passages and one of heads. What it was made with (model, dimension, the database's
identity) is in its metadata, so whoever opens it knows how to embed for it, and refuses to do so otherwise.
"""

from __future__ import annotations

from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Final

import msgspec
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from infra.qdrant.client import make_collection, qdrant_errors
from infra.settings import QdrantSettings
from schemas.errors import FreshlineError

HEADS: Final = ".heads"
_KEYWORDS: Final = ("table", "key", "tenant")


class ModelMismatchError(FreshlineError):
    """An index was made with another model than it is to be used with."""


class NoIndexError(FreshlineError):
    """There is no index to search yet."""


class Generation(msgspec.Struct, frozen=True):
    """One collection of passages, with its heads.

    Attributes:
        name: of the collection of passages.
        model: whose vectors it holds.
        dimension: how long they are.
        identity: of the log whose positions its stamps are (``system/timeline/slot``).
    """

    name: str
    model: str
    dimension: int
    identity: str

    @property
    def heads(self) -> str:
        """The name of its collection of heads."""
        return self.name + HEADS


class Generations:
    """The generations of one namespace. Takes an open client; closes nothing."""

    def __init__(self, client: AsyncQdrantClient, namespace: str, settings: QdrantSettings) -> None:
        """Prepare; no I/O."""
        self.alias = f"{namespace}.passages"
        self._client = client
        self._settings = settings

    async def all(self) -> list[Generation]:
        """Every generation, by name.

        Raises:
            StoreUnavailableError: Qdrant does not answer.
        """
        with qdrant_errors():
            found = await self._client.get_collections()
        names = sorted(each.name for each in found.collections if each.name.startswith(self.alias + "."))
        present = set(names)
        # One without heads was not finished: whoever makes it does so again.
        whole = [name for name in names if not name.endswith(HEADS) and name + HEADS in present]
        generations = [await self._described(name) for name in whole]
        return [generation for generation in generations if generation is not None]

    async def active(self) -> str | None:
        """The name of the generation that is searched; None before the first one is.

        Raises:
            StoreUnavailableError: Qdrant does not answer.
        """
        with qdrant_errors():
            aliases = (await self._client.get_aliases()).aliases
        return next((each.collection_name for each in aliases if each.alias_name == self.alias), None)

    def named(self, model: str, dimension: int, identity: str, *, number: int = 0) -> Generation:
        """The generation of this kind: the same for all who ask, so that two of them make one."""
        text = "\n".join((model, str(dimension), identity, str(number)))
        return Generation(
            f"{self.alias}.{blake2b(text.encode(), digest_size=5).hexdigest()}", model, dimension, identity
        )

    async def create(self, generation: Generation) -> None:
        """Make its collections, where they are not there.

        Raises:
            StoreUnavailableError: Qdrant does not answer.
        """
        options = {
            "shard_number": self._settings.shards,
            "replication_factor": self._settings.replication_factor,
            "on_disk_payload": self._settings.on_disk,
        }
        metadata = {
            "model": generation.model,
            "dimension": generation.dimension,
            "identity": generation.identity,
        }
        await make_collection(
            self._client,
            generation.name,
            vectors_config=models.VectorParams(
                size=generation.dimension, distance=models.Distance.COSINE, on_disk=self._settings.on_disk
            ),
            quantization_config=self._quantization(),
            metadata=metadata,
            **options,
        )
        await make_collection(self._client, generation.heads, vectors_config={}, **options)
        if not self._settings.url:
            return  # a folder has no indexes
        with qdrant_errors():
            for collection in (generation.name, generation.heads):
                for field in _KEYWORDS:
                    await self._client.create_payload_index(collection, field, models.PayloadSchemaType.KEYWORD)
                await self._client.create_payload_index(collection, "lsn", models.PayloadSchemaType.INTEGER)

    async def activate(self, generation: Generation) -> None:
        """Let searches go there from now on, in one step.

        Raises:
            StoreUnavailableError: Qdrant does not answer.
        """
        operations: list[Any] = []
        if await self.active() is not None:
            operations.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.alias)))
        target = models.CreateAlias(collection_name=generation.name, alias_name=self.alias)
        operations.append(models.CreateAliasOperation(create_alias=target))
        with qdrant_errors():
            await self._client.update_collection_aliases(operations)

    async def drop(self, generation: Generation) -> None:
        """Delete its collections.

        Raises:
            StoreUnavailableError: Qdrant does not answer.
        """
        with qdrant_errors():
            # Without heads it counts as unfinished, should we end in between.
            await self._client.delete_collection(generation.heads)
            await self._client.delete_collection(generation.name)

    async def _described(self, name: str) -> Generation | None:
        with qdrant_errors():
            try:
                metadata = (await self._client.get_collection(name)).config.metadata or {}
            except UnexpectedResponse as error:
                if error.status_code == HTTPStatus.NOT_FOUND:  # deleted meanwhile
                    return None
                raise
        try:
            return Generation(name, metadata["model"], metadata["dimension"], metadata["identity"])
        except KeyError:
            return None

    def _quantization(self) -> Any:
        match self._settings.quantization:
            case "scalar":
                scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
                return models.ScalarQuantization(scalar=scalar)
            case "binary":
                return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
            case _:
                return None
