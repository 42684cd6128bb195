"""What the library tells of itself, in the words of its process and of whoever shows it."""

from __future__ import annotations

import msgspec


class LibraryFigures(msgspec.Struct, frozen=True, tag="figures"):
    """A moment of it.

    Attributes:
        edits: committed so far.
        searchable_p50_s: from an edit's commit to its text being searchable, of the last thousand; None without any.
        searchable_p99_s: likewise.
        answers: questions so far, by how they were answered.
        longest_staleness_s: for how long the number of an answer from the cache had not been true any more, at most.
        wrong: answers with a number that was never true, or of another document.
    """

    edits: int
    searchable_p50_s: float | None
    searchable_p99_s: float | None
    answers: dict[str, int]
    longest_staleness_s: float
    wrong: int


class LibraryOutcome(msgspec.Struct, frozen=True, tag="outcome"):
    """What came of it.

    Attributes:
        figures: at its end.
        refused: answers of similar questions that were not given, by why.
        passages: that were compared with the database.
        wrong_passages: of those that are not as it says.
        examples: of these, for people.
        untrue: answers that were not true when everything was asked once more.
    """

    figures: LibraryFigures
    refused: dict[str, int]
    passages: int
    wrong_passages: int
    examples: list[str]
    untrue: int

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.wrong_passages or self.untrue or self.figures.wrong)


decode_line = msgspec.json.Decoder(LibraryFigures | LibraryOutcome).decode
