"""What a verification found, as a value: for people, for programs, for tests."""

from __future__ import annotations

import msgspec

EXAMPLES = 20


class Finding(msgspec.Struct, frozen=True):
    """One copy that is not what the database says.

    Attributes:
        place: ``redis``, or ``memory`` and the name of a process.
        key: the entry's key.
        reason: what is wrong with it, without any value of the row.
    """

    place: str
    key: str
    reason: str


class Tally(msgspec.Struct):
    """Copies of one kind, by what became of them.

    Attributes:
        compared: copies that readers would be served, compared with the database.
        wrong: those of them that differ from it.
        unserved: copies that no reader would be served, by why.
        unknown: copies that nobody knows how to derive from the database.
        unsettled: copies that changed too often while they were looked at.
    """

    compared: int = 0
    wrong: int = 0
    unserved: dict[str, int] = msgspec.field(default_factory=dict)
    unknown: int = 0
    unsettled: int = 0

    def skip(self, why: str) -> None:
        """Count a copy that is not served."""
        self.unserved[why] = self.unserved.get(why, 0) + 1


class Report(msgspec.Struct):
    """The outcome. ``examples`` are at most ``EXAMPLES`` of what is wrong."""

    rows: Tally = msgspec.field(default_factory=Tally)
    queries: Tally = msgspec.field(default_factory=Tally)
    memories: Tally = msgspec.field(default_factory=Tally)
    examples: list[Finding] = msgspec.field(default_factory=list)
    took_s: float = 0.0

    def find(self, tally: Tally, finding: Finding) -> None:
        """Count a copy that is wrong."""
        tally.wrong += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(finding)

    @property
    def compared(self) -> int:
        """Copies of every kind that were compared."""
        return self.rows.compared + self.queries.compared + self.memories.compared

    @property
    def wrong(self) -> int:
        """Copies of every kind that are wrong."""
        return self.rows.wrong + self.queries.wrong + self.memories.wrong

    def kinds(self) -> dict[str, Tally]:
        """The tallies by kind, as they are shown."""
        return {"rows": self.rows, "queries": self.queries, "memories": self.memories}
