"""Drain: one worker applies a backlog, beside plain pipelined SETs of the same keys and bodies.

The worker decodes events, keeps the protocol and moves watermarks; the comparator only sets bytes that lie ready. How
long one call of the script holds Redis up is read from the server's own statistics. For both of them Redis has a core
of its own; what a call takes where it must share is told besides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from statistics import median

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from bench.cores import alone
from bench.pipeline import Pipeline
from bench.results import Figure, compared
from freshline.verification.quiet import wait_until_quiet
from infra.local.stack import LocalStack
from infra.redis.coherence import Coherence
from schemas.entry import unpack
from schemas.voiceassist import VOICEASSIST

_PIPELINE = 1_000
_REPEATS = 3
_TIMEOUT_S = 300.0
_ROWS = """
INSERT INTO users (email, name, password_hash, preferences)
SELECT 'drain' || n || '@example.org', 'User ' || n, 'x', jsonb_build_object('theme', 'dark', 'n', n)
FROM generate_series(1, $1) AS n
"""


async def measure(pipeline: Pipeline, changes: int) -> list[Figure]:
    """Rates of both, in rows a second, and the script's p99.9."""
    async with pipeline.worker("write-through"):
        # The epoch begins before the changes, since what is older creates no entries; nothing else is to be applied.
        await wait_until_quiet(pipeline.settings, VOICEASSIST, roles=("write-through",))
    await _make_backlog(pipeline, changes)
    await pipeline.command("down", "connect")  # nothing is left for it to do, but it goes on asking
    drained, plain = list[float](), list[float]()
    async with Redis.from_url(**pipeline.settings.redis.client_arguments()) as client:
        coherence = Coherence(client, pipeline.settings.namespace)
        before = (await coherence.state()).watermarks
        await _drain(pipeline, coherence, changes)
        shared_p999_ms = await _script_p999_ms(client)
        with alone(LocalStack(pipeline.settings.local), "valkey"):
            for _ in range(_REPEATS):
                await _go_back(client, coherence, before)
                drained.append(await _drain(pipeline, coherence, changes))
                keys, bodies = await _rows(client, coherence)
                if len(keys) < changes:
                    raise SystemExit(f"only {len(keys)} of {changes} rows have an entry: were some evicted?")
                plain.append(await _plain_sets(client, keys, bodies))
        p999_ms = await _script_p999_ms(client)
    await pipeline.command("up", "connect")
    reference = Figure("drain.plain_set_per_s", median(plain), "rows/s")
    return [
        reference,
        compared("drain.rows_per_s@1worker", median(drained), "rows/s", reference),
        Figure("drain.script_p999_ms", p999_ms, "ms"),
        Figure("drain.script_p999_ms@shared_cores", shared_p999_ms, "ms"),
    ]


async def _script_p999_ms(client: Redis) -> float:
    """Since the last call."""
    stats = await client.info("latencystats")
    await client.config_resetstat()
    return float(stats["latency_percentiles_usec_evalsha"]["p99.9"]) / 1000


async def _make_backlog(pipeline: Pipeline, changes: int) -> None:
    """Insert the rows and wait until all of their events are in Kafka; no worker runs."""
    topic = pipeline.settings.table_topic("public.users")
    async with AIOKafkaConsumer(**pipeline.settings.kafka.client_arguments()) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(pipeline.settings.topics.partitions)]
        before = sum((await consumer.end_offsets(partitions)).values())
        connection = await pipeline.connect()
        for start in range(0, changes, 10_000):
            await connection.execute(_ROWS, min(10_000, changes - start))
        await connection.close()
        deadline = time.monotonic() + _TIMEOUT_S
        while sum((await consumer.end_offsets(partitions)).values()) - before < changes:
            if time.monotonic() > deadline:
                raise SystemExit("the backlog did not reach Kafka in time")
            await asyncio.sleep(0.2)


async def _go_back(client: Redis, coherence: Coherence, watermarks: Mapping[str, int]) -> None:
    """To where nothing of the backlog was applied."""
    async for key in client.scan_iter(match=coherence.entry_key("user:*"), count=5_000):
        await client.unlink(key)
    await client.hdel(coherence.state_key, *(await coherence.state()).watermarks)
    for field, offset in watermarks.items():
        await client.hset(coherence.state_key, field, str(offset))


async def _drain(pipeline: Pipeline, coherence: Coherence, changes: int) -> float:
    """Rows a second between the worker's first and last movement."""
    process, _ = pipeline.start_worker("write-through")
    try:
        start = await _applied(coherence)
        marks: list[tuple[float, int]] = []
        deadline = time.monotonic() + _TIMEOUT_S
        while not marks or marks[-1][1] - start < changes:
            applied = await _applied(coherence)
            if applied > start and (not marks or applied > marks[-1][1]):
                marks.append((time.perf_counter(), applied))
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("the worker did not drain the backlog: see its log")
            await asyncio.sleep(0.02)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
    (first_at, first), (last_at, last) = marks[0], marks[-1]
    return (last - first) / (last_at - first_at)


async def _applied(coherence: Coherence) -> int:
    state = await coherence.state()
    return sum(offset for field, offset in state.watermarks.items() if "write-through" in field)


async def _rows(client: Redis, coherence: Coherence) -> tuple[list[str], list[bytes]]:
    """The keys and canonical bodies that the worker has just written, read back."""
    found = [key async for key in client.scan_iter(match=coherence.entry_key("user:*"), count=5_000)]
    keys, bodies = [], []
    for start in range(0, len(found), _PIPELINE):
        for key, entry in zip(
            found[start : start + _PIPELINE], await client.mget(found[start : start + _PIPELINE]), strict=True
        ):
            unpacked = unpack(entry) if isinstance(entry, bytes) else None
            if unpacked is not None and unpacked[1]:
                keys.append(f"plain:{key.decode()}")
                bodies.append(unpacked[1])
    return keys, bodies


async def _plain_sets(client: Redis, keys: list[str], bodies: list[bytes]) -> float:
    """Rows a second of SET … PX in pipelines of a thousand, without anything else."""
    started = time.perf_counter()
    for start in range(0, len(keys), _PIPELINE):
        pipe = client.pipeline(transaction=False)
        for key, body in zip(keys[start : start + _PIPELINE], bodies[start : start + _PIPELINE], strict=True):
            pipe.set(key, body, px=300_000)
        await pipe.execute()
    rate = len(keys) / (time.perf_counter() - started)
    for start in range(0, len(keys), _PIPELINE):
        await client.unlink(*keys[start : start + _PIPELINE])
    return rate
