"""What the documents of the library say, and how it is asked for: facts with a number that changes now and then."""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec


class Fact(msgspec.Struct, frozen=True):
    """A fact about a place, by its number.

    Attributes:
        title: of the document that states it.
        statement: with ``{}`` for the number.
        questions: that it answers, all of which mean the same.
        lowest: the smallest number that it may have.
        highest: the largest.
    """

    title: str
    statement: str
    questions: tuple[str, ...]
    lowest: int
    highest: int

    def text(self, number: int) -> str:
        """What the document says: the fact, and something around it that says nothing."""
        return f"{self.statement.format(number)}\n\n{_AROUND}"


_AROUND: Final = (
    "This page is kept by the front office. Whoever finds a mistake in it may write to them, and they will see."
)

_KINDS: Final = (
    (
        "Opening hours of the {}",
        "The {} opens at {{}} o'clock in the morning.",
        ("When does the {} open?", "At what time does the {} open?", "what time does the {} open"),
        (6, 11),
    ),
    (
        "Fees of the {}",
        "A visit to the {} costs {{}} euros.",
        ("How much does a visit to the {} cost?", "What does a visit to the {} cost?", "how much is a visit to the {}"),
        (2, 60),
    ),
    (
        "Size of the {}",
        "There are {{}} seats in the {}.",
        ("How many seats are there in the {}?", "How many seats does the {} have?", "number of seats in the {}"),
        (12, 900),
    ),
)
_PLACES: Final = (
    *("library", "swimming pool", "museum", "town hall", "botanical garden", "planetarium", "ice rink", "concert hall"),
    *("archive", "theatre", "aquarium", "observatory", "sports centre", "zoo", "castle", "lighthouse"),
)


def facts(random: Random, count: int) -> list[Fact]:
    """So many facts, no two of which are about the same."""
    every = [
        Fact(title.format(place), statement.format(place), tuple(q.format(place) for q in questions), *bounds)
        for title, statement, questions, bounds in _KINDS
        for place in _PLACES
    ]
    return random.sample(every, min(count, len(every)))
