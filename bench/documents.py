"""Documents: how soon an edit is searchable, what bursts cost, and how fast an index is made from nothing.

editor ──commit──▶ Postgres ▸ Debezium ▸ Kafka ▸ coalescing ▸ Kafka ▸ semantic-refresh ▸ Qdrant ◀─looks─ watcher
10,000 documents ──▶ semantic-refresh ▸ Qdrant   beside: the model alone, and CocoIndex, with the same passages
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from random import Random
from typing import Final

import asyncpg
import httpx
import psutil
from qdrant_client import AsyncQdrantClient

from bench import cocoindex_side
from bench.pipeline import Pipeline, RunningWorker
from bench.results import Figure, compared, percentile
from freshline.semantic.verification import open_index_verification
from infra.embedding.embedder import Embedder
from infra.qdrant.client import open_qdrant
from infra.qdrant.generations import Generations
from infra.qdrant.passages import DocumentName, PassageStore
from infra.settings import DEFAULT_MODEL
from schemas.passages import passages_of
from schemas.voiceassist import DOCUMENTS, VOICEASSIST

_TABLE: Final = DOCUMENTS.qualified_name
_ROLES: Final = ("coalescing", "semantic-refresh")
_EDITED: Final = 200
_EDITS_PER_S: Final = 5
_WARM_UP_S: Final = 15.0
_BURST: Final = 100
_BURST_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.004
_TIMEOUT_S: Final = 1_800.0
_WORDS: Final = (
    *("policy", "travel", "doctor", "hours", "refund", "garden", "window", "process", "memory", "answer", "kitchen"),
    *("budget", "river", "monthly", "secure", "quickly", "expense", "patient", "kettle", "engine", "lesson", "ticket"),
    *("summer", "market", "orange", "printer", "vendor", "safety", "notice", "report", "station", "teacher", "winter"),
)
_EMBEDDED: Final = re.compile(r'^freshline_index_passages_total\{vector="embedded"\} (\S+)', re.MULTILINE)


async def measure_edits(pipeline: Pipeline, seconds: float) -> list[Figure]:
    """From an edit's commit until its text can be searched, at 5 edits a second of random documents; and bursts."""
    random = Random(4)
    connection = await pipeline.connect()
    rows = await _insert(connection, random, _EDITED)
    quiet_ms = pipeline.settings.stream.quiet_ms
    async with (
        pipeline.worker(*_ROLES) as worker,
        open_qdrant(pipeline.settings.qdrant) as client,
    ):
        watcher = _Watcher(await _store(pipeline, client))
        await watcher.until_there(rows)
        watching = asyncio.create_task(watcher.run())
        began = time.monotonic()
        while time.monotonic() - began < _WARM_UP_S + seconds:
            row = random.choice([row for row in rows if row not in watcher.waiting])
            await watcher.edit(connection, row, _text(random), counts=time.monotonic() - began > _WARM_UP_S)
            await asyncio.sleep(1 / _EDITS_PER_S)
        await watcher.until_done()
        embedded = await _embedded(worker)
        for _ in range(_BURST):
            await watcher.edit(connection, rows[0], _sentence(random), counts=False)
            await asyncio.sleep(_BURST_S / _BURST)
        await watcher.until_done()
        burst = await _embedded(worker) - embedded
        watching.cancel()
    await connection.close()
    searchable_ms = [1000 * each for each in watcher.seconds]
    return [
        *(
            Figure(f"documents.searchable.{name}@{_EDITS_PER_S}", percentile(searchable_ms, share), "ms")
            for name, share in (("p50", 0.50), ("p99", 0.99))
        ),
        *(
            Figure(
                f"documents.searchable_without_quiet.{name}@{_EDITS_PER_S}",
                percentile(searchable_ms, share) - quiet_ms,
                "ms",
            )
            for name, share in (("p50", 0.50), ("p99", 0.99))
        ),
        Figure(f"documents.embedded@{_BURST}edits", burst, "passages"),
    ]


async def measure_from_nothing(pipeline: Pipeline, documents: int) -> list[Figure]:
    """Documents a second of an index made from nothing, beside the model alone with the same passages."""
    connection = await pipeline.connect()
    await connection.execute("TRUNCATE documents")
    rows = await _insert(connection, Random(6), documents)
    await _forget_index(pipeline)
    process, _ = pipeline.start_worker("semantic-refresh")
    try:
        async with open_qdrant(pipeline.settings.qdrant) as client:
            store = await _store(pipeline, client)
            marks: list[tuple[float, int, int]] = []
            deadline = time.monotonic() + _TIMEOUT_S
            while not marks or marks[-1][1] < len(rows):
                count = (await client.count(store.generation.heads)).count
                if count and (not marks or count > marks[-1][1]):
                    marks.append((time.perf_counter(), count, psutil.Process(process.pid).memory_info().rss))
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit("the index was not made in time: see the worker's log")
                await asyncio.sleep(0.1)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
    async with open_index_verification(pipeline.settings, VOICEASSIST) as verification:
        report = await verification.run()
    if not report.is_good:
        raise SystemExit(f"the index is not as the database says: {report.examples[:3]}")
    (first_at, first, _), (last_at, last, rss) = marks[0], marks[-1]
    rate = (last - first) / (last_at - first_at)
    # By then two pages are on their way at once, and the allocator has what it needs for them.
    halfway = next(mark for mark in marks if mark[1] >= last / 2)
    passages = await _passages(connection)
    await connection.close()
    bare = await _bare_documents_per_s(passages, pipeline)
    reference = Figure("documents.bare_encode_per_s", bare, "documents/s")
    cocoindex = await asyncio.to_thread(cocoindex_side.documents_per_s, passages, pipeline.settings.qdrant.url or "")
    early = Figure("documents.memory_mb@50%", halfway[2] / 1e6, "MB")
    return [
        reference,
        compared(f"documents.from_nothing_per_s@{documents}", rate, "documents/s", reference),
        *(
            []
            if cocoindex is None
            else [compared(f"documents.cocoindex_per_s@{documents}", cocoindex, "documents/s", reference)]
        ),
        early,
        compared("documents.memory_mb@100%", rss / 1e6, "MB", early),
    ]


async def _passages(connection: asyncpg.Connection) -> list[tuple[str, list[str]]]:
    """Of every document: its name, and its passages in their order."""
    index = DOCUMENTS.index
    assert index is not None  # noqa: S101 - it is indexed
    found = await connection.fetch("SELECT id, title, content FROM documents")
    return [(str(row["id"]), [passage.text for passage in passages_of(dict(row), index)]) for row in found]


async def _bare_documents_per_s(documents: Sequence[tuple[str, Sequence[str]]], pipeline: Pipeline) -> float:
    """The model alone: all passages in one call, which sorts and batches them as it likes."""
    texts = [text for _, passages in documents for text in passages]
    async with Embedder(DEFAULT_MODEL, pipeline.settings.embedding) as embedder:
        await embedder.encode(texts[:64])
        began = time.perf_counter()
        await embedder.encode(texts)
        return len(documents) / (time.perf_counter() - began)


class _Watcher:
    """Knows when edits can be searched: their document's head has reached them."""

    def __init__(self, store: PassageStore) -> None:
        self._store = store
        self.waiting: dict[int, tuple[int, float, bool]] = {}
        self.seconds: list[float] = []

    async def edit(self, connection: asyncpg.Connection, row: int, text: str, *, counts: bool) -> None:
        """Edit a document, and wait for it in the background."""
        async with connection.transaction():
            position = await connection.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8")
            await connection.execute("UPDATE documents SET content = $2 WHERE id = $1", row, text)
        self.waiting[row] = (position, time.perf_counter(), counts)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            waiting = dict(self.waiting)
            heads = await self._store.heads([DocumentName(_TABLE, str(row)) for row in waiting]) if waiting else {}
            now = time.perf_counter()
            for name, head in heads.items():
                row = int(name.key)
                position, committed_at, counts = waiting[row]
                if head.lsn >= position and self.waiting.get(row) == waiting[row]:
                    del self.waiting[row]
                    if counts:
                        self.seconds.append(now - committed_at)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def until_there(self, rows: Sequence[int]) -> None:
        """Wait until the index has all of these."""
        names = [DocumentName(_TABLE, str(row)) for row in rows]
        deadline = time.monotonic() + _TIMEOUT_S
        while len(await self._store.heads(names)) < len(names):
            if time.monotonic() > deadline:
                raise SystemExit("the index did not get all documents in time")
            await asyncio.sleep(0.1)

    async def until_done(self) -> None:
        """Wait until nothing is waited for."""
        deadline = time.monotonic() + _TIMEOUT_S
        while self.waiting:
            if time.monotonic() > deadline:
                raise SystemExit("edits did not become searchable in time")
            await asyncio.sleep(0.05)


async def _store(pipeline: Pipeline, client: AsyncQdrantClient) -> PassageStore:
    """The store of the active generation, once there is one."""
    generations = Generations(client, pipeline.settings.namespace, pipeline.settings.qdrant)
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        active = await generations.active()
        found = next((each for each in await generations.all() if each.name == active), None)
        if found is not None:
            return PassageStore(client, found)
        if time.monotonic() > deadline:
            raise SystemExit("there is no index: see the worker's log")
        await asyncio.sleep(0.1)


async def _forget_index(pipeline: Pipeline) -> None:
    async with open_qdrant(pipeline.settings.qdrant) as client:
        generations = Generations(client, pipeline.settings.namespace, pipeline.settings.qdrant)
        for generation in await generations.all():
            await generations.drop(generation)


async def _embedded(worker: RunningWorker) -> float:
    """How many passages the worker has embedded so far."""
    async with httpx.AsyncClient(trust_env=False) as client:
        found = _EMBEDDED.search((await client.get(f"{worker.url}/metrics")).text)
    return float(found[1]) if found else 0.0


async def _insert(connection: asyncpg.Connection, random: Random, count: int) -> list[int]:
    owner = await connection.fetchval(
        "INSERT INTO users (email, name, password_hash) VALUES (gen_random_uuid() || '@x.org', 'O', 'x') RETURNING id"
    )
    rows: list[int] = []
    for start in range(0, count, 500):
        texts = [_text(random) for _ in range(min(500, count - start))]
        found = await connection.fetch(
            "INSERT INTO documents (uploaded_by, title, content) SELECT $1, 'Page', unnest($2::text[]) RETURNING id",
            owner,
            texts,
        )
        rows += [row["id"] for row in found]
    return rows


def _text(random: Random) -> str:
    """Two or three passages."""
    return "\n\n".join(" ".join(_sentence(random) for _ in range(4)) for _ in range(2))


def _sentence(random: Random) -> str:
    return " ".join(random.choices(_WORDS, k=random.randint(6, 14))).capitalize() + "."
