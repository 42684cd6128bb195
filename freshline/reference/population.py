"""The rows that are known to exist: what writers change and readers ask for, the popular ones first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Final

from freshline.reference.statements import CHANGES, Session

TABLES: Final = ("users", "conversations", "messages", "documents")
# More would only make the popular ones less so.
KNOWN_AT_MOST: Final = 20_000


class Ids:
    """The ids of one table's rows. Picking, adding and removing take the same time however many there are."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def add(self, row: int) -> None:
        """Know of a row."""
        if row not in self._places and len(self._ids) < KNOWN_AT_MOST:
            self._places[row] = len(self._ids)
            self._ids.append(row)

    def remove(self, row: int) -> None:
        """Know of it no longer: the last one takes its place, and its popularity."""
        place = self._places.pop(row, None)
        if place is None:
            return
        last = self._ids.pop()
        if last != row:
            self._ids[place] = last
            self._places[last] = place

    def clear(self) -> None:
        """Know of none."""
        self._ids.clear()
        self._places.clear()

    def popular(self, random: Random) -> int | None:
        """One of them, by Zipf's law: the row in place n is asked for 1/n as often as the first."""
        if not self._ids:
            return None
        rank = int(math.exp(random.random() * math.log(len(self._ids) + 1))) - 1
        return self._ids[min(rank, len(self._ids) - 1)]

    def any(self, random: Random) -> int | None:
        """One of them, each as likely as the other."""
        return random.choice(self._ids) if self._ids else None


class Population:
    """The known rows of each table."""

    def __init__(self) -> None:
        self.users = Ids()
        self.conversations = Ids()
        self.messages = Ids()
        self.documents = Ids()

    def of(self, table: str) -> Ids:
        """The rows of a table, by its name."""
        found: Ids = getattr(self, table)
        return found

    async def learn(self, connection: Session) -> None:
        """Know of the rows that the database has."""
        for table in TABLES:
            for row in await connection.fetch(CHANGES[f"known_{table}"], KNOWN_AT_MOST // 2):
                self.of(table).add(row["id"])
