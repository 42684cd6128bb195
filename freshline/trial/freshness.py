"""Freshness as anyone can see it: from the return of a commit until the row can be read in Redis.

    commit ──▶ expected ─┐
    notice ──▶ heard ────┴▶ is the row there? ▶ the time between

Only new rows count: each has one event, so nothing but this event (or a reader who missed it) can put it there.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Final, cast

import msgspec
from redis.asyncio import Redis

from infra.redis.coherence import Coherence
from schemas.entry import PLACEHOLDER, unpack

# So many commits wait for their notices, and notices for their commits, at most.
_WAITING_AT_MOST: Final = 10_000
_RECENT: Final = 1_000
_decode = msgspec.msgpack.Decoder(tuple[str, list[str]]).decode


class Freshness:
    """Listens to the notices of a namespace. Times are in seconds."""

    def __init__(self, redis: Redis, coherence: Coherence) -> None:
        """Take open clients; close nothing."""
        self._redis = redis
        self._coherence = coherence
        self._expected: OrderedDict[str, float] = OrderedDict()
        self._heard: OrderedDict[str, float] = OrderedDict()
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._counts = False
        self.all: list[float] = []
        self.first_at: float | None = None

    def begin(self) -> None:
        """Count from now on: the workers are ready. What was committed before waited for them, not for its turn."""
        self._expected.clear()
        self._counts = True

    def committed(self, keys: Iterable[str]) -> None:
        """Rows with these keys are new, as of now."""
        now = time.monotonic()
        for key in keys:
            heard_at = self._heard.pop(key, None)
            if heard_at is None:
                _keep(self._expected, key, now)
            else:
                self._sample(0.0, heard_at)

    async def listen(self) -> None:
        """Listen until cancelled."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as notices:
            await notices.subscribe(self._coherence.channel)
            async for message in notices.listen():
                now = time.monotonic()
                _, names = _decode(message["data"])
                for name in names:
                    if name in self._expected:
                        await self._look(name, now)
                    else:
                        _keep(self._heard, name, now)

    async def _look(self, key: str, heard_at: float) -> None:
        entry = cast("bytes | None", await self._redis.get(self._coherence.entry_key(key)))
        unpacked = unpack(entry) if entry is not None else None
        if unpacked is None or unpacked[0].kind == PLACEHOLDER:
            # It was about the row's tags, say, and the notice of its entry is still to come. Under a floor none comes:
            # the row is too large to be cached, or a writer invalidated it meanwhile.
            if unpacked is not None and unpacked[0].lsn:
                self._expected.pop(key, None)
            return
        committed_at = self._expected.pop(key, None)
        if committed_at is not None:
            self._sample(heard_at - committed_at, heard_at)

    def _sample(self, seconds: float, at: float) -> None:
        if self._counts:
            self._recent.append(max(0.0, seconds))
            self.all.append(max(0.0, seconds))
        if self.first_at is None:
            self.first_at = at

    def recent(self) -> Sequence[float]:
        """The last ones."""
        return self._recent


def _keep(waiting: OrderedDict[str, float], key: str, at: float) -> None:
    waiting[key] = at
    if len(waiting) > _WAITING_AT_MOST:
        waiting.popitem(last=False)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that this share of them does not exceed; None without any."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
