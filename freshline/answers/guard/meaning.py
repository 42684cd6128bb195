"""Meaning: what the guard keeps of one question, small enough to lie in Redis beside the answer.

A sentence's vector is the mean of the vectors of its word pieces, so one run of the model gives both: the vector that
Qdrant searches, and one for each word *in its sentence*. The words' vectors are kept, in eight bits a number; what else
is to be known is read from the text whenever it is asked, so that a better reader also reads what was stored before.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Protocol, Self

import msgspec
import numpy as np
import numpy.typing as npt

from freshline.answers.guard.reader import read
from freshline.answers.guard.reading import Reading, Word
from freshline.answers.guard.text import TEXT_LIMIT, fold

WORDS_LIMIT: Final = 32
"""How many words' vectors are kept."""

_SPECIAL: Final = frozenset(("[CLS]", "[SEP]", "[PAD]", "[UNK]", "<s>", "</s>", "<pad>", "<unk>"))
_STEPS: Final = 127

Vectors = npt.NDArray[np.float16] | npt.NDArray[np.float32]


class Looked(Protocol):
    """What the guard needs of an embedding model's look at a text."""

    @property
    def vector(self) -> npt.NDArray[np.float32]:
        """The sentence's vector."""

    @property
    def pieces(self) -> Sequence[str]:
        """The word pieces, with or without the model's marks of beginning and end."""

    @property
    def piece_vectors(self) -> Vectors:
        """One vector for each piece."""


class Meaning(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one question.

    Attributes:
        text: as it was asked, up to the limit that is read.
        rest: a digest of what comes after the limit; empty where nothing does.
        dimension: of the vectors; 0 where there are none.
        places: where in the folded text the words begin that have a vector.
        vectors: theirs, one after another, in eight bits a number.
    """

    text: str
    rest: bytes = b""
    dimension: int = 0
    places: tuple[int, ...] = ()
    vectors: bytes = b""

    @classmethod
    def of(cls, text: str, pieces: Sequence[str] = (), vectors: Vectors | None = None) -> Self:
        """From a text and its word pieces' vectors, as the model gave them; both may be missing.

        Args:
            text: the question.
            pieces: its word pieces, with or without the model's marks of beginning and end.
            vectors: one for each piece.
        """
        text = unicodedata.normalize("NFKC", text)
        kept = text[:TEXT_LIMIT]
        rest = blake2b(text[TEXT_LIMIT:].encode(errors="replace"), digest_size=8).digest() if text != kept else b""
        if vectors is None or vectors.ndim != 2 or len(pieces) != len(vectors):  # noqa: PLR2004
            return cls(kept, rest)
        spans = _spans(fold(kept), pieces)
        places, rows = list[int](), list[npt.NDArray[np.int8]]()
        for word in read(kept).words:
            inside = [i for i, span in enumerate(spans) if span and word.start <= span[0] and span[1] <= word.end]
            if inside and len(places) < WORDS_LIMIT:
                row = np.asarray(vectors[inside], dtype=np.float32).mean(axis=0)
                largest = float(np.abs(row).max())
                if np.isfinite(largest) and largest > 0:
                    places.append(word.start)
                    rows.append(np.rint(row * (_STEPS / largest)).astype(np.int8))
        return cls(kept, rest, int(vectors.shape[1]), tuple(places), b"".join(row.tobytes() for row in rows))

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """From what ``pack`` gave.

        Raises:
            msgspec.DecodeError: it is nothing of the kind.
        """
        return msgspec.msgpack.decode(packed, type=cls)

    def pack(self) -> bytes:
        """As bytes."""
        return msgspec.msgpack.encode(self)

    @property
    def reading(self) -> Reading:
        """What it asks."""
        return read(self.text)

    def vector_of(self, word: Word) -> npt.NDArray[np.float32] | None:
        """The vector of one of its words, of length 1; None where none was kept."""
        if word.start not in self.places:
            return None
        at = self.places.index(word.start) * self.dimension
        vector = np.frombuffer(self.vectors, dtype=np.int8, count=self.dimension, offset=at).astype(np.float32)
        length = float(np.linalg.norm(vector))
        return vector / length if length else None


def likeness(one: Meaning, a: Word, other: Meaning, b: Word) -> float | None:
    """How near two words are in their questions, as the cosine of their vectors; None where that is not known."""
    if one.dimension != other.dimension:
        return None
    u, v = one.vector_of(a), other.vector_of(b)
    return None if u is None or v is None else float(u @ v)


def _spans(folded: str, pieces: Sequence[str]) -> list[tuple[int, int] | None]:
    """Where each piece lies in the text; None where it is a mark of the model or can't be found."""
    spans: list[tuple[int, int] | None] = []
    at = 0
    for piece in pieces:
        bare = fold(piece.removeprefix("##").lstrip("▁Ġ"))
        found = -1 if piece in _SPECIAL or not bare else folded.find(bare, at)
        if found < 0 or any(character.isalnum() for character in folded[at:found]):
            spans.append(None)
        else:
            at = found + len(bare)
            spans.append((found, at))
    return spans
