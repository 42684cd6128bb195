"""What the comparison of an index with the database found, as a value: for people, for programs, for tests."""

from __future__ import annotations

from enum import StrEnum

import msgspec

EXAMPLES = 20


class Fault(StrEnum):
    """What may be wrong with a passage.

    Attributes:
        MISSING: the document says it, and no search can find it.
        SURPLUS: searches find it, and no document says it.
        TEXT: searches find another text there, or in another column, or for another tenant.
        VECTOR: its vector is not what the model makes of its text.
        STAMP: it says to be newer than the database.
    """

    MISSING = "missing"
    SURPLUS = "surplus"
    TEXT = "outdated text"
    VECTOR = "outdated vector"
    STAMP = "impossible stamp"


class Finding(msgspec.Struct, frozen=True, order=True):
    """One passage that is not as the database says.

    Attributes:
        fault: what is wrong.
        table: its document's qualified name of the table.
        key: its document's key.
        place: the how many-th passage, from 0; None for what is said of the whole document.
        detail: more of it, without any text of the document.
    """

    fault: Fault
    table: str
    key: str
    place: int | None
    detail: str


class IndexReport(msgspec.Struct):
    """The outcome. ``examples`` are at most ``EXAMPLES`` of what is wrong.

    Attributes:
        generation: the name of the generation that was compared.
        model: whose vectors it holds.
        documents: rows and documents of the index that were compared.
        passages: that these rows have.
        wrong: passages that are wrong, by what is wrong with them.
        wrong_documents: documents with any of those.
        unsettled: documents that changed too often while they were looked at.
        leftovers: points that no search finds, since they lie beyond their document's head or have none.
        has_vectors: whether vectors were compared, too.
    """

    generation: str
    model: str
    documents: int = 0
    passages: int = 0
    wrong: dict[Fault, int] = msgspec.field(default_factory=dict)
    wrong_documents: int = 0
    unsettled: int = 0
    leftovers: int = 0
    has_vectors: bool = False
    examples: list[Finding] = msgspec.field(default_factory=list)
    took_s: float = 0.0

    def find(self, findings: tuple[Finding, ...]) -> None:
        """Count a document with these faults."""
        self.wrong_documents += 1
        for finding in findings:
            self.wrong[finding.fault] = self.wrong.get(finding.fault, 0) + 1
        self.examples.extend(findings[: EXAMPLES - len(self.examples)])

    @property
    def is_good(self) -> bool:
        """Whether every search finds what the database says."""
        return not self.wrong_documents
