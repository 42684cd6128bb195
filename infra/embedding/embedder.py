"""Embedding texts, in a thread of its own, so that the event loop goes on meanwhile.

The vector of a text is the normalised mean of the vectors of its word pieces, in the models that are usual here, so one
pass gives both: the whole for finding what is near, the pieces for looking closely whether it means the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, Self, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from infra.embedding.models import load_model
from infra.settings import EmbeddingSettings
from schemas.errors import NotOpenError

P = ParamSpec("P")
T = TypeVar("T")
Vectors: TypeAlias = npt.NDArray[np.float32]

# More texts at once are no faster on a CPU, and take memory by the longest of them.
_BATCH: Final = 32


class Look(msgspec.Struct, frozen=True):
    """A text looked at closely.

    Attributes:
        vector: of the whole, of length 1; shape (dimension,).
        pieces: its word pieces, without those that mark beginning and end.
        piece_vectors: theirs; shape (pieces, dimension). Empty where the model does not tell them.
    """

    vector: Vectors
    pieces: tuple[str, ...]
    piece_vectors: Vectors


class Embedder:
    """One model. An async context manager: the model is loaded when it is entered."""

    def __init__(self, name: str, settings: EmbeddingSettings) -> None:
        """Prepare to load the model of this name. No I/O."""
        self.name = name
        self._settings = settings
        self._model: Any = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")

    async def __aenter__(self) -> Self:
        """Load it.

        Raises:
            ModelUnavailableError: it can't be had.
        """
        self._model = await self._in_thread(load_model, self.name, self._settings)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Let go of it."""
        self._model = None
        self._thread.shutdown(wait=True, cancel_futures=True)

    @property
    def dimension(self) -> int:
        """How long its vectors are."""
        return int(self._open.get_embedding_dimension())

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """The vectors of these texts, each of length 1; shape (texts, dimension)."""
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return await self._in_thread(self._encode, list(texts))

    async def look(self, text: str) -> Look:
        """One text, closely."""
        return await self._in_thread(self._look, text)

    @property
    def _open(self) -> Any:
        if self._model is None:
            raise NotOpenError("The embedder is not open. Use it inside `async with`.")
        return self._model

    async def _in_thread(self, function: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *arguments, **more))

    def _encode(self, texts: list[str]) -> Vectors:
        found = self._open.encode(
            texts, batch_size=_BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(found, dtype=np.float32)

    def _look(self, text: str) -> Look:
        import torch  # noqa: PLC0415 - takes seconds, and comes with the model

        model = self._open
        with torch.inference_mode():
            features = model.preprocess([text])
            seen = model.forward({name: _on(model.device, value) for name, value in features.items()})
        vector = seen["sentence_embedding"][0].float().cpu().numpy()
        vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        if "token_embeddings" not in seen or "input_ids" not in seen:
            return Look(vector, (), np.empty((0, len(vector)), dtype=np.float32))
        ids = seen["input_ids"][0].tolist()
        special = set(model.tokenizer.all_special_ids)
        kept = [place for place, number in enumerate(ids) if number not in special]
        pieces = model.tokenizer.convert_ids_to_tokens([ids[place] for place in kept])
        piece_vectors = seen["token_embeddings"][0].float().cpu().numpy()[kept]
        return Look(vector.astype(np.float32), tuple(pieces), piece_vectors.astype(np.float32))


def _on(device: Any, value: Any) -> Any:
    return value.to(device) if hasattr(value, "to") else value
