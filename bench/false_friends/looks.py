"""What the default model sees in each question, many at once: the project's embedder looks at one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from bench.false_friends.pairs import Pair
from freshline.answers.guard import Meaning
from infra.embedding.models import load_model
from infra.settings import DEFAULT_MODEL, EmbeddingSettings

_BATCH: Final = 64

Vector = npt.NDArray[np.float32]


class Looks:
    """Looks at texts, each once."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Load the model and look at all of them."""
        self._vectors: dict[str, Vector] = {}
        self._meanings: dict[str, Meaning] = {}
        # Texts of a length together, since all of a batch are filled up to the longest.
        for text, vector, meaning in _look_at(sorted(dict.fromkeys(texts), key=len)):
            self._vectors[text] = vector
            self._meanings[text] = meaning

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Looks:
        """At all questions of these pairs."""
        return cls(text for pair in pairs for text in (pair.a, pair.b))

    def meaning(self, text: str) -> Meaning:
        """What the guard keeps of it."""
        return self._meanings[text]

    def similarity(self, pair: Pair) -> float:
        """The cosine of the two."""
        return float(np.dot(self._vectors[pair.a], self._vectors[pair.b]))


def _look_at(texts: list[str]) -> Iterator[tuple[str, Vector, Meaning]]:
    model = load_model(DEFAULT_MODEL, EmbeddingSettings(device="cpu"))
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        with torch.inference_mode():
            seen = model.forward(model.preprocess(batch))
        for number, text in enumerate(batch):
            vector = seen["sentence_embedding"][number].float().numpy()
            pieces = model.tokenizer.convert_ids_to_tokens(seen["input_ids"][number].tolist())
            meaning = Meaning.of(text, pieces, seen["token_embeddings"][number].float().numpy())
            yield text, vector / np.linalg.norm(vector), meaning
