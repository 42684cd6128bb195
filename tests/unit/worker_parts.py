"""Stand-ins for what a worker talks to, which write down what was asked of them, and records made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from consumers.letters import Letters
from consumers.positions import Positions
from consumers.sight import Sight
from consumers.sink import Change, Reading, Unusable
from consumers.worker import Companion, Worker
from infra.kafka.log import ChangeLog, Partition
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment, Primary
from infra.progress import Progress
from infra.redis.coherence import Coherence, State
from infra.redis.effects import Applied, Batch, Effect, Refused
from schemas.errors import MalformedRecordError
from schemas.wal import Snapshot

TOPIC = "va.public.users"
PARTITION = Partition(TOPIC, 0)


def record(offset: int, *, key: bytes | None = b"k", value: bytes | None = b"v", headers: Any = ()) -> Any:
    """A record of the partition."""
    made: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        TOPIC, 0, offset, 0, 0, key, value, None, 0, len(value or b""), headers
    )
    return made


class FakePrimary:
    """A primary whose snapshots are set by the test."""

    def __init__(self) -> None:
        self.now = Moment(Snapshot(1_000), 1_000)
        self.gone: set[int] = set()
        self.asked_about: list[int] = []
        self.looks = 0

    async def moment(self) -> Moment:
        """The present moment."""
        self.looks += 1
        await asyncio.sleep(0)
        return self.now

    async def identity(self) -> str:
        """Always the same."""
        return "system/1/generation"

    async def is_future_or_aborted(self, xid: int) -> bool:
        """As the test says."""
        self.asked_about.append(xid)
        return xid in self.gone


class FakeSink:
    """Every record is a change that drops a tag."""

    group = "g"
    topics = (TOPIC,)

    def read(self, record: Any, reading: Reading) -> Change:  # noqa: ARG002 - the sink's form
        """A tag of the record's offset."""
        return Change((("g", f"tag:{record.offset}"),), 1, 1, 0, deletes=record.value == b"delete")

    def refuse(self, record: Any, reading: Reading, error: MalformedRecordError | None) -> Unusable:  # noqa: ARG002
        """Without a place."""
        return Unusable(record, error)

    def drop(self, refused: Unusable, moment: Moment) -> Sequence[Effect]:  # noqa: ARG002 - the sink's form
        """A tag."""
        return (("g", f"dropped:{refused.record.offset}"),)


class FakeLog:
    """A log of one partition, in the order of what was asked of it."""

    group = "g"
    topics = (TOPIC,)

    def __init__(self, records: Sequence[Any], told: list[str]) -> None:
        self.records = list(records)
        self.told = told
        self.position = 0
        self.assigned = {PARTITION}
        self.per_fetch = 2

    def take_assigned(self) -> set[Partition]:
        """The partition, at first."""
        taken, self.assigned = self.assigned, set()
        return taken

    def owned(self) -> set[Partition]:
        """The partition."""
        return {PARTITION}

    def is_being_assigned(self) -> bool:
        """Only at first."""
        return bool(self.assigned)

    async def topic_ids(self) -> dict[str, str]:
        """Of the one topic."""
        return {TOPIC: "id"}

    async def fetch(self, *, max_records: int, timeout_ms: int) -> dict[Partition, list[Any]]:  # noqa: ARG002
        """A few records."""
        await asyncio.sleep(0)
        found = self.records[self.position : self.position + self.per_fetch]
        self.position += len(found)
        if not found:
            await asyncio.sleep(0.001)
            return {}
        self.told.append(f"fetch {found[0].offset}-{found[-1].offset}")
        return {PARTITION: found}

    def left_something(self, fetched: Mapping[Partition, Sequence[Any]]) -> bool:  # noqa: ARG002 - there is but one
        """Whether it is not yet at the end."""
        return self.position < len(self.records)

    def seek(self, partition: Partition, offset: int) -> bool:  # noqa: ARG002 - there is but one
        """Go there."""
        self.position = offset
        return True

    async def bounds(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """All of it."""
        return {partition: (0, len(self.records)) for partition in partitions}

    async def positions(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Where it is."""
        return dict.fromkeys(partitions, self.position)

    async def commit(self, offsets: Mapping[Partition, int], metadata: str = "") -> bool:  # noqa: ARG002
        """Write it down."""
        self.told.extend(f"commit {offset}" for offset in offsets.values())
        return True


class FakeCoherence:
    """A Redis that takes as long as the test says to apply."""

    namespace = "ns"

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.watermark = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.writable = asyncio.Event()
        self.writable.set()
        self.effects: list[Effect] = []
        self.failing: list[Exception] = []

    async def state(self) -> State:
        """An epoch with one watermark."""
        return State("e", 0, "system/1/generation", {f"w:g/{TOPIC}@id/0": self.watermark}, {})

    async def apply(self, batches: Sequence[Batch], sent: Callable[[], None]) -> list[Applied | Refused]:
        """Send them once there is room, and apply them once the gate is open."""
        self.told.append(f"apply {batches[0].expected}")
        await self.writable.wait()
        if self.failing:
            raise self.failing.pop()
        sent()
        await self.gate.wait()
        replies: list[Applied | Refused] = []
        for batch in batches:
            if batch.expected != self.watermark:
                replies.append(Refused(self.watermark, "e"))
                continue
            self.watermark = batch.next_offset
            self.effects.extend(batch.effects)
            replies.append(Applied(0, 0))
        self.told.append(f"applied {self.watermark}")
        return replies

    async def beat(self, epoch: str) -> None:
        """Nothing listens."""


class FakeProducer:
    """Keeps what it is to send."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send(self, topic: str, **record: Any) -> None:
        """Keep it."""
        self.sent.append({"topic": topic, **record})


class Parts:
    """A worker and all that it talks to."""

    def __init__(self, records: Sequence[Any], *, beside: Companion | None = None) -> None:
        self.told: list[str] = []
        self.log = FakeLog(records, self.told)
        self.coherence = FakeCoherence(self.told)
        self.primary = FakePrimary()
        self.producer = FakeProducer()
        self.registry = CollectorRegistry()
        self.progress = Progress()
        metrics = WorkerMetrics(self.registry)
        log = cast("ChangeLog", self.log)
        coherence = cast("Coherence", self.coherence)
        primary = cast("Primary", self.primary)
        self.worker = Worker(
            sink=FakeSink(),
            log=log,
            coherence=coherence,
            positions=Positions(coherence, log, primary, metrics),
            sight=Sight(primary, metrics, self.progress, "g"),
            letters=Letters(cast("Any", self.producer), topic="letters", group="g"),
            metrics=metrics,
            progress=self.progress,
            floor_ttl_ms=1_000,
            beside=beside,
        )

    def count(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.registry.get_sample_value(name, {"group": "g"} | labels) or 0.0

    async def until(self, line: str) -> None:
        """Wait until it was told."""
        async with asyncio.timeout(5):
            while line not in self.told:  # noqa: ASYNC110 - a plain list is told
                await asyncio.sleep(0.001)
