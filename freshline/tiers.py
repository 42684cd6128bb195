"""What every read works with: the tiers, their guards, and how long things take at most."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import msgspec

from freshline.guards import Breaker, DatabaseLimit
from freshline.l1 import L1, Copy
from infra.metrics import ReaderMetrics
from infra.postgres.moments import Primary
from infra.postgres.rows import RowSource
from infra.redis.coherence import Coherence, Found
from schemas.entry import ABSENT
from schemas.token import WriteToken

Tier = Literal["l1", "l2", "database"]

_FIRST_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 0.05


class Timing(msgspec.Struct, frozen=True):
    """How long things take at most, in seconds.

    Attributes:
        row_lease_s: a lease for reading a row.
        row_wait_s: how long a read waits for another one that holds the lease, before it goes past it.
        query_lease_s: a lease for running a query; also how long others wait for the result.
    """

    row_lease_s: float = 2.0
    row_wait_s: float = 0.1
    query_lease_s: float = 10.0


class Tiers(msgspec.Struct, frozen=True):
    """The parts that reads share, ready made."""

    l1: L1
    coherence: Coherence
    breaker: Breaker
    limit: DatabaseLimit
    rows: RowSource
    primary: Primary
    metrics: ReaderMetrics
    timing: Timing = Timing()


class Answer(msgspec.Struct, frozen=True):
    """What a read gives, and which tier gave it."""

    copy: Copy
    tier: Tier


def copy_of(found: Found) -> Copy:
    """The copy that an entry is."""
    header = found.header
    return Copy(None if header.kind == ABSENT else found.body, header.lsn, header.completed)


def serves(copy: Copy | None, token: WriteToken | None) -> bool:
    """Whether a copy may be returned to someone who presents this token."""
    return copy is not None and (token is None or token.covered_at(copy.lsn, copy.completed))


class Fillers:
    """Who in this process is filling what, so that others wait for him instead of asking Redis again and again."""

    def __init__(self) -> None:
        """Nobody."""
        self._filling: dict[str, asyncio.Future[None]] = {}

    @contextmanager
    def filling(self, keys: Iterable[str]) -> Iterator[None]:
        """Around a fill; wakes whoever waits for it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine = dict.fromkeys(keys, done)
        self._filling |= mine
        try:
            yield
        finally:
            for key in mine:
                if self._filling.get(key) is done:
                    del self._filling[key]
            done.set_result(None)

    async def wait(self, keys: Iterable[str], at_most_s: float) -> bool:
        """Wait until one of these fills is over; False at once where none of them is in this process."""
        fills = {fill for key in keys if (fill := self._filling.get(key)) is not None}
        if fills:
            await asyncio.wait(fills, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(fills)


class Patience:
    """How long a read still waits for others, and the pauses in between."""

    def __init__(self, seconds: float) -> None:
        """Wait for ``seconds`` at most."""
        self._clock = asyncio.get_running_loop().time
        self._until = self._clock() + seconds
        self._pauses = (min(_FIRST_PAUSE_S * 2**n, _LONGEST_PAUSE_S) for n in itertools.count())

    @property
    def remaining_s(self) -> float:
        """What is left of it; never negative."""
        return max(0.0, self._until - self._clock())

    async def pause(self, at_most_s: float) -> None:
        """A pause, each longer than the one before."""
        await asyncio.sleep(min(next(self._pauses), at_most_s, self.remaining_s))
