"""Rounds of looking at lag: what one costs the watcher and the broker, by how many partitions and groups there are.

    the first round ▸ rounds in which nothing moves ▸ rounds in which every group that is behind has moved ▸ memory

One real broker has all of it. Time between rounds is made up, so a minute's rates are remembered without waiting.
"""

from __future__ import annotations

import gzip
import struct
import time
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from socket import IPPROTO_TCP, TCP_INFO
from statistics import mean
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka.client import AIOKafkaClient
from prometheus_client import CollectorRegistry, generate_latest

from bench.lag_groups import Groups, Shape
from bench.results import Figure, compared, percentile
from freshline.lag.metrics import LagMetrics
from freshline.lag.report import GroupLag
from freshline.lag.watch import LagWatch, Watched
from infra.kafka.observer import Observer
from infra.local.stack import LocalStack
from infra.settings import LagSettings, LocalSettings

T = TypeVar("T")

SHAPES: Final = (Shape(1_000, 50), Shape(10_000, 50), Shape(10_000, 500))
_FOLDER: Final = Path(".local/bench/lag")
_CACHE: Final = Path(".local/cache")
_HEAP_MB: Final = 2_048
_EVERY_S: Final = LagSettings().every_s
# A minute, and one more.
_REMEMBERED: Final = round(60 / _EVERY_S) + 1
_ROUNDS: Final = 8
_TIMEOUT_MS: Final = 60_000
# Where Linux's tcp_info has the bytes that were acknowledged, and those that came.
_TCP_BYTES: Final = struct.Struct("@QQ")
_TCP_BYTES_AT: Final = 120
_MB: Final = 1_000_000


class Cost(NamedTuple):
    """Of one round. Bytes are those on the connections to the broker."""

    seconds: float
    cpu_s: float
    requests: Counter[str]
    moved_bytes: int


class CountingClient(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """Kafka's client, which counts what it asks."""

    def __init__(self, **arguments: Any) -> None:
        """Nothing asked yet."""
        super().__init__(**arguments)
        self.requests = Counter[str]()

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """Send, and count by the request's name."""
        self.requests[type(request).__name__.strip("_").removesuffix("Request")] += 1
        return await super().send(node_id, request, **options)

    def moved_bytes(self) -> int:
        """Both ways, on the connections that are open."""
        infos = [each._writer.get_extra_info("socket").getsockopt(IPPROTO_TCP, TCP_INFO, 256)  # noqa: SLF001
                 for each in self._conns.values()]  # fmt: skip
        return sum(sum(_TCP_BYTES.unpack_from(info, _TCP_BYTES_AT)) for info in infos)


class Rounds:
    """A watch of the groups of a shape, and a clock that is put forward."""

    def __init__(self, client: CountingClient, shape: Shape) -> None:
        """Nothing looked at yet."""
        self._client = client
        self._at_s = 0.0
        watched = Watched({}, patterns=[f"{shape}-*"])
        self._watch = LagWatch(Observer(client), watched, clock=lambda: self._at_s)
        self.report: Sequence[GroupLag] = ()

    async def cost(self, waiting: int) -> Cost:
        """What the next one costs. It is to find that so many records wait."""
        self._at_s += _EVERY_S
        requests, moved = self._client.requests.copy(), self._client.moved_bytes()
        cpu_s, began_s = time.process_time(), time.perf_counter()
        self.report = await self._watch.round()
        cost = Cost(
            time.perf_counter() - began_s,
            time.process_time() - cpu_s,
            self._client.requests - requests,
            self._client.moved_bytes() - moved,
        )
        found = [group.messages for group in self.report]
        if None in found or sum(each or 0 for each in found) != waiting:
            raise SystemExit(f"{waiting} records wait, and the round found {found}")
        return cost


async def measure() -> list[Figure]:
    """All shapes; the larger ones beside the smallest."""
    settings = LocalSettings(folder=_FOLDER, cache=_CACHE, kafka_heap_mb=_HEAP_MB)
    stack = LocalStack(settings)
    await stack.stop(data=True)
    figures: dict[str, Figure] = {}
    try:
        await stack.start(["kafka"])
        arguments = {"bootstrap_servers": stack.kafka.endpoint}
        groups = Groups(arguments)
        for shape in SHAPES:
            for name, value, unit in await _measure(arguments, groups, shape):
                first = figures.get(f"lag.{name}@{SHAPES[0]}")
                whole = f"lag.{name}@{shape}"
                figures[whole] = Figure(whole, value, unit) if first is None else compared(whole, value, unit, first)
    finally:
        await stack.stop(data=True)
    return list(figures.values())


async def _measure(arguments: dict[str, Any], groups: Groups, shape: Shape) -> list[tuple[str, float, str]]:
    waiting = await groups.make(shape)

    async def costs(client: CountingClient) -> tuple[list[tuple[str, float, str]], Rounds]:
        rounds = Rounds(client, shape)
        first = await rounds.cost(waiting)
        for _ in range(_REMEMBERED):
            await rounds.cost(waiting)
        still = [await rounds.cost(waiting) for _ in range(_ROUNDS)]
        moving = [await rounds.cost(await groups.move(shape)) for _ in range(_ROUNDS)]
        return [*_told("first", [first]), *_told("still", still), *_told("moving", moving)], rounds

    found, rounds = await _with_client(arguments, costs)
    waiting = groups.waiting(shape)

    async def memory(client: CountingClient) -> tuple[int, int]:
        tracemalloc.start()
        remembering = Rounds(client, shape)
        for _ in range(_REMEMBERED + 1):
            await remembering.cost(waiting)
        sizes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return sizes

    kept, peak = await _with_client(arguments, memory)
    return [
        *found,
        ("memory.kept_mb", kept / _MB, "MB"),
        ("memory.peak_mb", peak / _MB, "MB"),
        *_scraped(rounds.report),
    ]


async def _with_client(arguments: dict[str, Any], work: Callable[[CountingClient], Awaitable[T]]) -> T:
    client = CountingClient(**arguments, request_timeout_ms=_TIMEOUT_MS, metadata_max_age_ms=30_000)
    try:
        await client.bootstrap()
        return await work(client)
    finally:
        await client.close()


def _told(which: str, costs: Sequence[Cost]) -> list[tuple[str, float, str]]:
    seconds = [each.seconds for each in costs]
    kinds = sorted({kind for each in costs for kind in each.requests})
    return [
        (f"{which}.p50_ms", 1_000 * percentile(seconds, 0.5), "ms"),
        (f"{which}.max_ms", 1_000 * max(seconds), "ms"),
        (f"{which}.cpu_ms", 1_000 * mean(each.cpu_s for each in costs), "ms"),
        (f"{which}.moved_mb", mean(each.moved_bytes for each in costs) / _MB, "MB"),
        *((f"{which}.{kind}", mean(each.requests[kind] for each in costs), "requests") for kind in kinds),
    ]


def _scraped(report: Sequence[GroupLag]) -> list[tuple[str, float, str]]:
    """The page, made as for Prometheus, which takes it compressed."""
    registry = CollectorRegistry()
    metrics = LagMetrics(registry)
    metrics.report = report
    began_s = time.process_time()
    page = generate_latest(registry)
    compressed = gzip.compress(page)
    cpu_s = time.process_time() - began_s
    return [
        ("scrape.cpu_ms", 1_000 * cpu_s, "ms"),
        ("scrape.page_mb", len(page) / _MB, "MB"),
        ("scrape.compressed_mb", len(compressed) / _MB, "MB"),
    ]
