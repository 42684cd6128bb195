"""Freshness: from a commit's return until its row can be read in L2, beside a bare consumer on Debezium's topic.

    writer ──commit──▶ Postgres ▸ Debezium ▸ Kafka ─┬─▶ bare consumer          (process of its own)
                                                    └─▶ worker ▸ Redis ─notice─▶ watcher (process of its own)

The notice is published by the script that writes the entry, so whoever has it can read the entry. Each change updates
another row, and its number is in the row, so that the watcher's last look tells that nothing was missed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer
from redis.asyncio import Redis

from bench.pipeline import Pipeline
from bench.results import Figure, compared, percentile
from infra.redis.coherence import Coherence
from infra.settings import Settings
from schemas.entry import unpack

RATE_PER_S = 500
USERS = 10_000
_WARM_UP_S = 3.0
_DRAIN_TIMEOUT_S = 20.0

_INSERT = """
INSERT INTO users (email, name, password_hash)
SELECT 'user' || n || '@example.org', 'User ' || n, 'x' FROM generate_series(1, $1) AS n RETURNING id
"""
_UPDATE = "UPDATE users SET name = $2, updated_at = now() WHERE id = $1"


async def measure(pipeline: Pipeline, seconds: float) -> list[Figure]:
    """The figures of both, at 500 changes a second."""
    connection = await pipeline.connect()
    ids = [row["id"] for row in await connection.fetch(_INSERT, USERS)]
    await connection.close()
    async with pipeline.worker("write-through"):
        bare = _Watcher(_bare, pipeline.settings)
        l2 = _Watcher(_l2, pipeline.settings)
        writer = _Watcher(_writer, pipeline.settings, ids, seconds + _WARM_UP_S)
        committed: dict[int, int] = await writer.result(seconds + _WARM_UP_S + 60)
        await asyncio.sleep(0)
        seen_bare = await bare.result_after(committed)
        seen_l2 = await l2.result_after(committed)
    first = min(committed.values()) + round(_WARM_UP_S * 1e9)
    measured = {row: at for row, at in committed.items() if at >= first}
    bare_ms = [max(0.0, (seen_bare[row] - at) / 1e6) for row, at in measured.items()]
    l2_ms = [max(0.0, (seen_l2[row] - at) / 1e6) for row, at in measured.items()]
    figures = []
    for name, share in (("p50", 0.50), ("p99", 0.99)):
        reference = Figure(f"freshness.bare.{name}@{RATE_PER_S}", percentile(bare_ms, share), "ms")
        figures.append(reference)
        figures.append(compared(f"freshness.l2.{name}@{RATE_PER_S}", percentile(l2_ms, share), "ms", reference))
    return figures


class _Watcher:
    """A process that watches until it is told what to have seen, and then tells when it saw it."""

    def __init__(self, target: Any, settings: Settings, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_in_process, args=(target, there, settings, arguments), daemon=True)
        self._process.start()
        if self._pipe.recv() != "ready":
            raise SystemExit("a watcher did not start")

    async def result(self, timeout_s: float) -> Any:
        """What it found, once it has."""
        if not await asyncio.to_thread(self._pipe.poll, timeout_s):
            raise SystemExit("a process of the benchmark did not end in time")
        found = self._pipe.recv()
        self._process.join()
        return found

    async def result_after(self, committed: dict[int, int]) -> dict[int, int]:
        """When it first saw each of these, in nanoseconds."""
        self._pipe.send(len(committed))
        found: dict[int, int] = await self.result(_DRAIN_TIMEOUT_S + 5)
        missing = committed.keys() - found.keys()
        if missing:
            raise SystemExit(f"{len(missing)} of {len(committed)} changes were never seen")
        return found


def _in_process(target: Any, pipe: Connection, settings: Settings, arguments: tuple[Any, ...]) -> None:
    asyncio.run(target(pipe, settings, *arguments))


async def _writer(pipe: Connection, settings: Settings, ids: list[int], seconds: float) -> None:
    connection = await asyncpg.connect(**settings.postgres.connect_arguments())
    statement = await connection.prepare(_UPDATE)
    pipe.send("ready")
    # The watchers have just joined: give the first changes a fair start.
    await asyncio.sleep(1)
    committed: dict[int, int] = {}
    started = time.perf_counter()
    for number in range(round(seconds * RATE_PER_S)):
        due = started + number / RATE_PER_S
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        await statement.fetch(ids[number % len(ids)], f"change {number}")
        committed[number] = time.time_ns()
    await connection.close()
    pipe.send(committed)


async def _bare(pipe: Connection, settings: Settings) -> None:
    seen: dict[int, int] = {}
    topic = settings.table_topic("public.users")
    async with AIOKafkaConsumer(topic, **settings.kafka.client_arguments(), auto_offset_reset="latest") as consumer:
        await consumer.seek_to_end()
        pipe.send("ready")
        wanted, deadline = None, float("inf")
        while (wanted is None or len(seen) < wanted) and time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                now = time.time_ns()
                for record in records:
                    _note(seen, record.value, now)
            if wanted is None and pipe.poll():
                wanted, deadline = pipe.recv(), time.monotonic() + _DRAIN_TIMEOUT_S
    pipe.send(seen)


class _Row(msgspec.Struct):
    name: str


class _Event(msgspec.Struct):
    after: _Row | None = None


_decode_event = msgspec.json.Decoder(_Event).decode


def _note(seen: dict[int, int], value: bytes, now: int) -> None:
    after = _decode_event(value).after
    if after is not None and after.name.startswith("change "):
        seen.setdefault(int(after.name.removeprefix("change ")), now)


async def _l2(pipe: Connection, settings: Settings) -> None:
    """Note each notice, and read the entry that it tells of to learn which change that is."""
    seen: dict[int, int] = {}
    client = Redis.from_url(**settings.redis.client_arguments())
    coherence = Coherence(client, settings.namespace)
    decode_row = msgspec.json.Decoder(_Row).decode
    async with client, client.pubsub() as subscription:
        await subscription.subscribe(coherence.channel)
        await subscription.get_message(timeout=5)
        pipe.send("ready")
        wanted, deadline = None, float("inf")
        while (wanted is None or len(seen) < wanted) and time.monotonic() < deadline:
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None:
                now = time.time_ns()
                _, names = msgspec.msgpack.decode(message["data"])
                keys = [coherence.entry_key(name) for name in names if name.startswith("user:") and "*" not in name]
                for entry in await client.mget(keys) if keys else ():
                    found = unpack(entry) if isinstance(entry, bytes) else None
                    if found is None or not found[1]:
                        continue
                    name = decode_row(found[1]).name
                    if name.startswith("change "):
                        seen.setdefault(int(name.removeprefix("change ")), now)
            if wanted is None and pipe.poll():
                wanted, deadline = pipe.recv(), time.monotonic() + _DRAIN_TIMEOUT_S
    pipe.send(seen)
