"""What is pending: the changes of each document that no record was sent for yet, and when one is due.

    change ▸ merged with what is pending of its document ▸ quiet for a while, or long enough in unrest ▸ one record

Pure: times are handed in, in seconds of any one clock. Nothing in here is lost by being asked twice.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from schemas.refresh import Refresh

# Why a record is sent.
QUIET: Final = "quiet"
UNREST: Final = "unrest"
DELETED: Final = "delete"
TRUNCATED: Final = "truncate"
GAP: Final = "gap"


class Timing(msgspec.Struct, frozen=True):
    """When a document's record is due: after so long without a change, or after so long with changes."""

    quiet_s: float
    unrest_s: float


class Place(NamedTuple):
    """A document as the log knows it: the partition that its events come from, and the key of its record."""

    topic: str
    partition: int
    record_key: bytes


def merged(pending: Refresh, change: Refresh) -> Refresh:
    """What both say. Position and transaction stay together; a change that is already in it does not count again."""
    newest = change if change.lsn > pending.lsn else pending
    is_known = 0 < change.lsn <= pending.lsn
    committed = [at for at in (pending.changed_at_ms, change.changed_at_ms) if at]
    return Refresh(
        table=pending.table,
        key=pending.key,
        lsn=newest.lsn,
        xid32=newest.xid32,
        tags=tuple(dict.fromkeys((*pending.tags, *change.tags))),
        committed_at_ms=max(pending.committed_at_ms, change.committed_at_ms),
        changed_at_ms=min(committed, default=0),
        changes=pending.changes + (0 if is_known else change.changes),
    )


class Document:
    """One document with changes pending.

    Attributes:
        pending: all that no acknowledged record covers.
        stored: the keys under which the table holds some of it.
        sent: what is on its way as a record; None where nothing is.
        first_at: since when changes are pending.
    """

    __slots__ = ("_last_at", "_later", "at_once", "first_at", "pending", "place", "scheduled_at", "sent", "stored")

    def __init__(self, place: Place, pending: Refresh, now: float) -> None:
        self.place = place
        self.pending = pending
        self.stored: dict[bytes, None] = {}
        self.at_once: str | None = None
        self.sent: Refresh | None = None
        self.first_at = self._last_at = now
        self.scheduled_at: float | None = None
        self._later: Refresh | None = None

    def add(self, change: Refresh, now: float, at_once: str | None) -> None:
        """A change came."""
        if self.sent is not None:
            if self._later is None:
                self.first_at = now
            self._later = change if self._later is None else merged(self._later, change)
        # What is on its way counts as pending until it is acknowledged, so that the table keeps it.
        self.pending = merged(self.pending, change)
        self.at_once = at_once or self.at_once
        self._last_at = now

    def send(self) -> Refresh:
        """All of it goes on its way."""
        self.sent, self._later, self.at_once = self.pending, None, None
        return self.pending

    def acknowledge(self) -> bool:
        """The record arrived; whether changes came meanwhile, which are pending still."""
        self.sent = None
        if self._later is None:
            return False
        self.pending, self._later = self._later, None
        return True

    def due_at(self, timing: Timing) -> float:
        """When its record is due."""
        if self.at_once is not None:
            return self.first_at
        return min(self._last_at + timing.quiet_s, self.first_at + timing.unrest_s)

    def why(self, timing: Timing) -> str:
        """Why it is due then."""
        if self.at_once is not None:
            return self.at_once
        return QUIET if self._last_at + timing.quiet_s <= self.first_at + timing.unrest_s else UNREST


class Due(NamedTuple):
    """A document whose record goes out now, and why."""

    document: Document
    record: Refresh
    why: str


class Backlog:
    """All documents with changes pending, and an agenda of when they are due."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._documents: dict[Place, Document] = {}
        self._dirty: dict[Place, Document] = {}
        self._agenda: list[tuple[float, int, Document]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents.values())

    @property
    def dirty_count(self) -> int:
        """Of how many documents the table lacks something."""
        return len(self._dirty)

    @property
    def is_dirty(self) -> bool:
        """Whether the table lacks something."""
        return bool(self._dirty)

    def add(self, place: Place, change: Refresh, now: float, *, at_once: str | None = None) -> None:
        """A change came; ``at_once`` says why it is not to wait."""
        document = self._documents.get(place)
        if document is None:
            document = self._documents[place] = Document(place, change, now)
            document.at_once = at_once
        else:
            document.add(change, now, at_once)
        self._dirty[place] = document
        if document.sent is None and (document.scheduled_at is None or at_once is not None):
            self._schedule(document)

    def restore(self, place: Place, pending: Refresh, key: bytes, now: float, *, since: float | None = None) -> None:
        """The table holds this. It is due after the quiet time, and ``since`` remembers what unrest there was."""
        document = self._documents.get(place)
        if document is None:
            document = self._documents[place] = Document(place, pending, now)
        else:
            document.pending = merged(document.pending, pending)
        document.first_at = min(document.first_at, now if since is None else since)
        document.stored[key] = None
        self._schedule(document)

    def next_due_at(self) -> float | None:
        """When to look again: nothing is due before."""
        return self._agenda[0][0] if self._agenda else None

    def take_due(self, now: float, limit: int) -> list[Due]:
        """Documents whose records are due: at most so many. Each is acknowledged by ``settle``."""
        found: list[Due] = []
        while self._agenda and self._agenda[0][0] <= now and len(found) < limit:
            scheduled_at, _, document = heapq.heappop(self._agenda)
            if document.scheduled_at != scheduled_at:
                continue  # it was sent since, or is scheduled anew
            document.scheduled_at = None
            if document.due_at(self._timing) > now:
                self._schedule(document)  # changes came since, and none of them cost a place in the agenda
                continue
            why = document.why(self._timing)
            found.append(Due(document, document.send(), why))
            self._dirty.pop(document.place, None)
        return found

    def take_dirty(self) -> list[Document]:
        """Documents of which the table lacks something. What it lacks from now on is another time's."""
        taken, self._dirty = list(self._dirty.values()), {}
        return taken

    def settle(self, document: Document) -> list[bytes]:
        """Its record was acknowledged; returns what is to leave the table, nothing where changes came meanwhile."""
        if document.acknowledge():
            self._schedule(document)
            return []
        del self._documents[document.place]
        return list(document.stored)

    def forget(self) -> Mapping[Place, float]:
        """Everything is someone else's now, or will be read from the table again; returns since when it is pending."""
        since = {place: document.first_at for place, document in self._documents.items()}
        self._documents.clear()
        self._dirty.clear()
        self._agenda.clear()
        return since

    def _schedule(self, document: Document) -> None:
        document.scheduled_at = document.due_at(self._timing)
        heapq.heappush(self._agenda, (document.scheduled_at, next(self._order), document))
