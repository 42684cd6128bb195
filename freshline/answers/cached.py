"""A cached answer: what is stored of it, and the id that the same question finds it by."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b
from typing import Any, Self

import msgspec

from infra.qdrant.passages import DocumentName


class CachedAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What is stored.

    Attributes:
        question: as it was asked.
        value: the answer, as JSON.
        meaning: of the question, as the guard packs it; empty where it is not known.
        user: whose it is alone; None where it is for everybody of the tenant.
        documents: what it was made from: qualified table and key, each.
    """

    question: str
    value: bytes
    meaning: bytes = b""
    user: str | None = None
    documents: tuple[tuple[str, str], ...] = ()

    def pack(self) -> bytes:
        """As bytes."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """From what `pack` gave.

        Raises:
            msgspec.DecodeError: it is nothing of the kind.
        """
        return msgspec.msgpack.decode(packed, type=cls)

    @property
    def sources(self) -> list[DocumentName]:
        """The documents that it was made from."""
        return [DocumentName(table, key) for table, key in self.documents]

    def decoded(self) -> Any:
        """The answer itself."""
        return msgspec.json.decode(self.value)


def answer_id(question: str, *, scope: str, user: str | None) -> str:
    """The id of the answer to a question: blanks make no difference, anything else does."""
    text = " ".join(unicodedata.normalize("NFC", question).split())
    parts = [scope, "" if user is None else f"u{user}", text]
    digest = blake2b(digest_size=12)
    for part in parts:
        encoded = part.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
