"""Freshness: from a commit's return until its row can be read in L2, beside a bare consumer on Debezium's topic.

    writer ──commit──▶ Postgres ▸ Debezium ▸ Kafka ─┬─▶ bare consumer          (process of its own)
                                                    └─▶ worker ▸ Redis ─notice─▶ watcher (process of its own)

The notice is published by the script that writes the entry, so whoever has it can read the entry. Each change updates
a row of its own, and its number is in the row, so that a last look at the entries tells that nothing was missed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

import asyncpg
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from redis.asyncio import Redis

from bench.pipeline import Pipeline
from bench.results import Figure, compared, percentile
from freshline.verification.quiet import wait_until_quiet
from infra.redis.coherence import Coherence
from infra.redis.subscription import subscribe
from infra.settings import Settings
from schemas.entry import unpack
from schemas.voiceassist import VOICEASSIST

RATE_PER_S = 500
# The Java processes compile what they run for half a minute, and take half of two cores for it.
_WARM_UP_S = 30.0
_DRAIN_TIMEOUT_S = 20.0

INSERT_USERS = """
INSERT INTO users (email, name, password_hash)
SELECT gen_random_uuid() || '@example.org', 'User ' || n, 'x' FROM generate_series(1, $1) AS n RETURNING id
"""
RENAME_USER = "UPDATE users SET name = $2, updated_at = now() WHERE id = $1"


async def measure(pipeline: Pipeline, seconds: float) -> list[Figure]:
    """The figures of both, at 500 changes a second."""
    ids = await _make_rows(pipeline, _WARM_UP_S + seconds)
    async with pipeline.worker("write-through"):
        await wait_until_quiet(pipeline.settings, VOICEASSIST, roles=("write-through",))
        bare = _Watcher(_bare, pipeline.settings)
        l2 = _Watcher(_l2, pipeline.settings, ids)
        committed = await _write(pipeline, ids)
        bare_ms = _latencies(committed, await bare.result_after(committed))
        l2_ms = _latencies(committed, await l2.result_after(committed))
    figures = []
    for name, share in (("p50", 0.50), ("p99", 0.99)):
        reference = Figure(f"freshness.bare.{name}@{RATE_PER_S}", percentile(bare_ms, share), "ms")
        figures.append(reference)
        figures.append(compared(f"freshness.l2.{name}@{RATE_PER_S}", percentile(l2_ms, share), "ms", reference))
    return figures


async def bare_latencies(pipeline: Pipeline, seconds: float) -> list[float]:
    """From the commit's return to a bare consumer, at 500 changes a second and without a worker, in milliseconds."""
    ids = await _make_rows(pipeline, _WARM_UP_S + seconds)
    bare = _Watcher(_bare, pipeline.settings)
    committed = await _write(pipeline, ids)
    return _latencies(committed, await bare.result_after(committed))


async def _make_rows(pipeline: Pipeline, seconds: float) -> list[int]:
    connection = await pipeline.connect()
    try:
        return [row["id"] for row in await connection.fetch(INSERT_USERS, round(seconds * RATE_PER_S))]
    finally:
        await connection.close()


async def _write(pipeline: Pipeline, ids: list[int]) -> dict[int, int]:
    """When each change's commit returned, in nanoseconds."""
    committed: dict[int, int] = await _Watcher(_writer, pipeline.settings, ids).result(2 * len(ids) / RATE_PER_S + 60)
    return committed


def _latencies(committed: dict[int, int], seen: dict[int, int]) -> list[float]:
    """In milliseconds, of the changes after the warm-up."""
    first = min(committed.values()) + round(_WARM_UP_S * 1e9)
    return [(seen[number] - at) / 1e6 for number, at in committed.items() if at >= first]


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
    uvloop.run(target(pipe, settings, *arguments))


async def _writer(pipe: Connection, settings: Settings, ids: list[int]) -> None:
    connection = await asyncpg.connect(**settings.postgres.connect_arguments())
    statement = await connection.prepare(RENAME_USER)
    pipe.send("ready")
    # The watchers have just joined: give the first changes a fair start.
    await asyncio.sleep(1)
    committed: dict[int, int] = {}
    started = time.perf_counter()
    for number, row in enumerate(ids):
        due = started + number / RATE_PER_S
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        await statement.fetch(row, f"change {number}")
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


_decode_row = msgspec.json.Decoder(_Row).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def _note(seen: dict[int, int], value: bytes, now: int) -> None:
    after = _decode_event(value).after
    if after is not None and after.name.startswith("change "):
        seen.setdefault(int(after.name.removeprefix("change ")), now)


async def _l2(pipe: Connection, settings: Settings, ids: list[int]) -> None:
    """Note when each row was first told of, and read the entries afterwards: they must hold the changes."""
    noticed: dict[str, int] = {}
    async with Redis.from_url(**settings.redis.client_arguments()) as client:
        coherence = Coherence(client, settings.namespace)
        async with subscribe(client, coherence.channel, timeout_s=_DRAIN_TIMEOUT_S) as subscription:
            pipe.send("ready")
            wanted, deadline = None, float("inf")
            while (wanted is None or len(noticed) < wanted) and time.monotonic() < deadline:
                message = await subscription.message(0.1)
                now = time.time_ns()
                _, names = msgspec.msgpack.decode(message) if message is not None else ("", ())
                for name in names:
                    noticed.setdefault(name, now)
                if wanted is None and pipe.poll():
                    wanted, deadline = pipe.recv(), time.monotonic() + _DRAIN_TIMEOUT_S
        held = [number for number in range(len(ids)) if f"user:{ids[number]}" in noticed]
        entries = await client.mget([coherence.entry_key(f"user:{ids[number]}") for number in held])
    changes = dict(zip(held, map(_change_of, entries), strict=True))
    pipe.send({number: noticed[f"user:{ids[number]}"] for number in held if changes[number] == f"change {number}"})


def _change_of(entry: bytes | str | None) -> str | None:
    found = unpack(entry) if isinstance(entry, bytes) else None
    return None if found is None or not found[1] else _decode_row(found[1]).name
