"""L1: what this process remembers of what it read. Pure: it does no I/O, and knows no clock but the one it is given.

    subscribed ▸ heard (first) ▸ serves ▸ lost ▸ serves nothing, remembers nothing

    position ▸ (read Redis or Postgres) ▸ keep(since=position)      notices in between: not kept

Every change is told to all processes as a *notice*, a list of names; an item is kept under the names of all that it was
made from, and goes when one of them is told. What was read is kept only if no notice for any of its names came since
the position that was noted before the read, within one subscription. Which names were told lately is remembered up to
a limit; a read that began before what is remembered is not kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

ITEMS: Final = 1_000
TTL_S: Final = 60.0
# Workers tell every second that notices still flow.
SILENCE_S: Final = 3.0
# Enough for several seconds of 5,000 changes a second; about 10 MB when full.
REMEMBERED_NAMES: Final = 65_536


class Copy(msgspec.Struct, frozen=True, gc=False):
    """Something that was read: its bytes (None for "no such row"), and how new it is.

    Attributes:
        body: the canonical bytes.
        lsn: position of the event that wrote it, 0 without one.
        completed: order of the snapshot that it was read in, 0 without one.
    """

    body: bytes | None
    lsn: int
    completed: int

    def is_newer_than(self, other: Copy) -> bool:
        """Whether it is certain not to be the older of the two."""
        return self.lsn >= other.lsn and self.completed >= other.completed


class Position(NamedTuple):
    """A moment in the life of one L1: which time of serving, and how many notices had come."""

    serving: int
    notice: int


class _Item(NamedTuple):
    copy: Copy
    names: Sequence[str]
    expires_at: float


def _ignore(_reason: str) -> None:
    pass


class L1:
    """The memory of one process, for use by one thread."""

    def __init__(
        self,
        *,
        items: int = ITEMS,
        ttl_s: float = TTL_S,
        silence_s: float = SILENCE_S,
        remembered_names: int = REMEMBERED_NAMES,
        clock: Callable[[], float] = time.monotonic,
        on_clear: Callable[[str], None] = _ignore,
    ) -> None:
        """Empty, and serving nothing.

        Args:
            items: how many it holds at most; the least recently used goes first.
            ttl_s: how long an item is served, in seconds.
            silence_s: how long after the last notice anything is served, in seconds.
            remembered_names: of how many names it is remembered when they were last told.
            clock: seconds of a monotonic clock that goes on while the process is stopped.
            on_clear: told why, each time that the memory is emptied.
        """
        self._limit = items
        self._ttl_s = ttl_s
        self._silence_s = silence_s
        self._remembered_names = remembered_names
        self._clock = clock
        self._on_clear = on_clear
        self._items: OrderedDict[str, _Item] = OrderedDict()
        self._keys_of_name: dict[str, set[str]] = {}
        self._told_at: OrderedDict[str, int] = OrderedDict()
        self._forgotten_up_to = 0
        self._notice = 0
        self._serving = 0
        self._is_subscribed = False
        self._epoch: str | None = None
        self._heard_until = float("-inf")

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_serving(self) -> bool:
        """Whether something that is kept now may be served."""
        return self._epoch is not None and self._clock() < self._heard_until

    def served(self) -> Iterator[tuple[str, bytes | None]]:
        """Every key and body that would be served now, for whoever compares them; it counts as no use of an item."""
        now = self._clock()
        if now < self._heard_until:
            yield from ((key, item.copy.body) for key, item in tuple(self._items.items()) if now < item.expires_at)

    # Reading.

    def get(self, key: str) -> Copy | None:
        """The copy under this key, if it may be served."""
        item = self._items.get(key)
        if item is None:
            return None
        now = self._clock()
        if now >= self._heard_until:
            return None
        if now >= item.expires_at:
            self._discard(key)
            return None
        self._items.move_to_end(key)
        return item.copy

    def position(self) -> Position | None:
        """Where it stands, to be noted before a read that may be kept; None while nothing is served."""
        return Position(self._serving, self._notice) if self.is_serving else None

    def keep(
        self, key: str, names: Sequence[str], copy: Copy, *, since: Position | None, ttl_s: float | None = None
    ) -> bool:
        """Remember what a read gave, unless it may be stale already.

        Args:
            key: what it is asked for by.
            names: everything that it was made from; a notice of any of them drops it.
            copy: what was read.
            since: the position that was noted before the read began.
            ttl_s: how long it is served at most, in seconds, where that is less than for all.

        Returns:
            Whether it is remembered now.
        """
        old = self._items.get(key)
        may_keep = self._unchanged(names, since)
        if may_keep and (old is None or copy.is_newer_than(old.copy)):
            self._put(key, names, copy, self._ttl_s if ttl_s is None else min(ttl_s, self._ttl_s))
            return True
        if old is not None and not old.copy.is_newer_than(copy):
            # The caller returns what he read: what lies here must not be older than that.
            self._discard(key)
        return False

    def _unchanged(self, names: Iterable[str], since: Position | None) -> bool:
        if since is None or not self.is_serving or since.serving != self._serving:
            return False
        if since.notice < self._forgotten_up_to:
            return False
        told_at = self._told_at
        return all(told_at.get(name, 0) <= since.notice for name in names)

    def _put(self, key: str, names: Sequence[str], copy: Copy, ttl_s: float) -> None:
        self._discard(key)
        self._items[key] = _Item(copy, names, self._clock() + ttl_s)
        for name in names:
            self._keys_of_name.setdefault(name, set()).add(key)
        if len(self._items) > self._limit:
            self._discard(next(iter(self._items)))

    def _discard(self, key: str) -> None:
        item = self._items.pop(key, None)
        if item is None:
            return
        for name in item.names:
            keys = self._keys_of_name.get(name)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._keys_of_name[name]

    # Hearing.

    def subscribed(self) -> None:
        """A subscription was acknowledged. Nothing is served before the first notice."""
        self._clear("subscribed")
        self._is_subscribed = True

    def heard(self, epoch: str, names: Sequence[str] = ()) -> None:
        """A notice came by the subscription: these names have changed. Without names it is a heartbeat.

        Without an epoch nothing is cached anywhere, and so nothing is served here.
        """
        if not self._is_subscribed:
            return
        if not epoch:
            self._clear("no_epoch")
            return
        now = self._clock()
        if self._epoch is None:
            self._epoch = epoch
        elif epoch != self._epoch:
            self._clear("epoch")
            self._epoch = epoch
        elif now >= self._heard_until:
            # Whatever held us up, notices that were not read yet may be about what lies here.
            self._clear("silence")
            self._epoch = epoch
        self._heard_until = now + self._silence_s
        self.drop(names)

    def drop(self, names: Iterable[str]) -> None:
        """These names have changed, told by whoever changed them in this very process."""
        told_at = self._told_at
        for name in names:
            self._notice += 1
            told_at[name] = self._notice
            told_at.move_to_end(name)
            for key in tuple(self._keys_of_name.get(name, ())):
                self._discard(key)
        while len(told_at) > self._remembered_names:
            _, self._forgotten_up_to = told_at.popitem(last=False)

    def lost(self, reason: str) -> None:
        """The subscription ended: everything is forgotten, and nothing served until there is another one."""
        self._clear(reason)
        self._is_subscribed = False

    def _clear(self, reason: str) -> None:
        if self._epoch is not None:
            self._on_clear(reason)
        self._items.clear()
        self._keys_of_name.clear()
        self._told_at.clear()
        self._forgotten_up_to = 0
        self._serving += 1
        self._epoch = None
        self._heard_until = float("-inf")
