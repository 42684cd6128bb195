"""The pause of a rebalance: how long records wait while a worker joins a group or leaves it.

    writer ▸ Postgres ▸ Debezium ▸ Kafka ▸ two workers, and a third that comes and goes ▸ watermarks ◂ a look every 5 ms

Kafka's group protocol has every member give up what it has, whatever the assignor lets it keep; so the partitions that
move and those that do not are measured side by side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Final

from redis.asyncio import Redis

from bench.freshness import INSERT_USERS, RENAME_USER
from bench.pipeline import Pipeline
from bench.results import Figure, compared, percentile
from freshline.verification.quiet import wait_until_quiet
from infra.cancellation import cancel
from infra.kafka.log import Partition
from infra.kafka.observer import Observer, open_observer
from infra.redis.coherence import Coherence
from schemas.voiceassist import VOICEASSIST
from schemas.work_done import WorkDone

ROLE: Final = "write-through"
TIMES: Final = 10
_ROWS: Final = 2_000
_RATE_PER_S: Final = 400
_LOOK_EVERY_S: Final = 0.005
_SETTLED_WITHIN_S: Final = 60.0


class _Watermarks:
    """When each partition's watermark moved, in seconds of a monotonic clock."""

    def __init__(self, coherence: Coherence, group: str) -> None:
        self._coherence = coherence
        self._prefix = f"w:{group}/"
        self._last: dict[str, int] = {}
        self.moved_s: dict[int, list[float]] = {}

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            found = (await self._coherence.state()).watermarks
            now_s = time.monotonic()
            for name, offset in found.items():
                if name.startswith(self._prefix) and ".users@" in name and self._last.get(name) != offset:
                    self._last[name] = offset
                    self.moved_s.setdefault(int(name.rpartition("/")[2]), []).append(now_s)
            await asyncio.sleep(_LOOK_EVERY_S)

    def pauses_s(self, since_s: float, until_s: float) -> dict[int, float]:
        """The longest time in which each partition did not move, of those that ended in this one."""
        return {
            number: max((b - a for a, b in pairwise(moved) if since_s < b <= until_s), default=until_s - since_s)
            for number, moved in self.moved_s.items()
        }


async def measure(pipeline: Pipeline) -> list[Figure]:
    """Pauses of partitions that moved and of those that did not, when a third worker joins and when it leaves."""
    settings = pipeline.settings
    group = settings.group(ROLE)
    found: dict[tuple[str, str], list[float]] = {}
    async with (
        Redis.from_url(**settings.redis.client_arguments()) as redis,
        open_observer(settings.kafka.client_arguments()) as observer,
        pipeline.worker(ROLE),
        pipeline.worker(ROLE),
        _writing(pipeline),
    ):
        await wait_until_quiet(settings, VOICEASSIST, roles=(ROLE,))
        watermarks = _Watermarks(Coherence(redis, settings.namespace), group)
        watching = asyncio.create_task(watermarks.watch())
        owners = await _owners(observer, group, 2)
        for _ in range(TIMES):
            began_s = time.monotonic()
            async with pipeline.worker(ROLE):
                now = await _owners(observer, group, 3)
                _note(found, "join", owners, now, watermarks.pauses_s(began_s, time.monotonic()))
                began_s = time.monotonic()
            owners = await _owners(observer, group, 2)
            _note(found, "leave", now, owners, watermarks.pauses_s(began_s, time.monotonic()))
        await cancel(watching)
    return _figures(found)


def _note(
    found: dict[tuple[str, str], list[float]],
    change: str,
    before: Mapping[int, str],
    after: Mapping[int, str],
    pauses_s: Mapping[int, float],
) -> None:
    for number, pause_s in pauses_s.items():
        found.setdefault((change, "kept" if before[number] == after[number] else "moved"), []).append(1000 * pause_s)


def _figures(found: Mapping[tuple[str, str], Sequence[float]]) -> list[Figure]:
    figures: list[Figure] = []
    for change in ("join", "leave"):
        moved_ms = found[change, "moved"]
        for name, share in (("p50", 0.5), ("max", 1.0)):
            moved = Figure(f"rebalance.pause.{name}@{change},moved", percentile(moved_ms, share), "ms")
            kept_ms = percentile(found[change, "kept"], share)
            figures += [moved, compared(f"rebalance.pause.{name}@{change},kept", kept_ms, "ms", moved)]
    return figures


async def _owners(observer: Observer, group: str, members: int) -> dict[int, str]:
    """Which worker has committed last for each partition, once so many have, and twice in a row the same."""
    deadline_s = time.monotonic() + _SETTLED_WITHIN_S
    last: dict[int, str] = {}
    while time.monotonic() < deadline_s:
        committed = (await observer.committed([group])).get(group, {})
        said = {p: WorkDone.decode(each.metadata) for p, each in committed.items() if _is_of_users(p)}
        owners = {p.partition: each.worker for p, each in said.items() if each is not None}
        counted = (await observer.members([group])).get(group)
        if owners == last and counted == members and len(set(owners.values())) == members:
            return owners
        last = owners
        await asyncio.sleep(0.5)
    raise SystemExit(f"the partitions were not settled among {members} workers in {_SETTLED_WITHIN_S:g} s")


def _is_of_users(partition: Partition) -> bool:
    return bool(partition.topic.endswith(".users"))


@asynccontextmanager
async def _writing(pipeline: Pipeline) -> AsyncIterator[None]:
    """Changes of users, for as long as the block lasts."""
    connection = await pipeline.connect()
    ids = [row["id"] for row in await connection.fetch(INSERT_USERS, _ROWS)]

    async def write() -> None:
        statement = await connection.prepare(RENAME_USER)
        started, number = time.perf_counter(), 0
        while True:
            await statement.fetch(ids[number % len(ids)], f"change {number}")
            number += 1
            if (pause := started + number / _RATE_PER_S - time.perf_counter()) > 0:
                await asyncio.sleep(pause)

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        await cancel(writing)
        await connection.close()
