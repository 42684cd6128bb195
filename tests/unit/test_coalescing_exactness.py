"""Nothing pending is lost: whatever the order of events, crashes, restarts and members that lost their partition."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from infra.metrics import StreamMetrics
from schemas.refresh import Refresh
from streams.coalescer import Coalescer
from streams.pending import DELETED, Timing
from streams.stored import parse_key

TIMING = Timing(quiet_s=0.5, unrest_s=5.0)
PARTITION = TopicPartition("va.public.documents", 0)


class CrashError(Exception):
    """The process ends here."""


class Event(NamedTuple):
    """A change of a document, as the log has it."""

    document: int
    change: Refresh
    at_once: str | None


@dataclass
class Kafka:
    """The log of a table, the changelog, what was sent, and who may commit."""

    log: list[Event] = field(default_factory=list)
    held: dict[bytes, bytes] = field(default_factory=dict)
    sent: list[tuple[int, Refresh]] = field(default_factory=list)
    committed: int = 0
    generation: int = 0

    def write(self, document: int, *, deletes: bool) -> None:
        """The document changes."""
        lsn = len(self.log) + 1
        tags = (f"document:{document}", f"library:{lsn % 3}")
        change = Refresh("public.documents", (document,), lsn, 100 + lsn, tags)
        self.log.append(Event(document, change, DELETED if deletes else None))


class Member:
    """One worker. Its sends may be lost from some moment on, and it may have lost its partition without knowing."""

    def __init__(self, kafka: Kafka, name: str, clock: list[float]) -> None:
        self.kafka = kafka
        kafka.generation += 1
        self._generation = kafka.generation
        # In the turn in which it crashes: how many requests are still answered, and which of the others arrive.
        self.spared = 0
        self.fate: list[bool] | None = None
        # How many events come while each request is on its way.
        self.meanwhile = 0
        self.coalescer = Coalescer(
            outlet=self,
            timing=TIMING,
            metrics=StreamMetrics(CollectorRegistry()),
            writer=name,
            clock=lambda: clock[0],
        )
        held = [(PARTITION.topic, key, value) for key, value in kafka.held.items()]
        self.coalescer.open({PARTITION: kafka.committed}, held)

    def read(self, most: int) -> None:
        """Take some of the events that are there."""
        if not self.coalescer.lanes:
            return
        start = self.coalescer.lanes[PARTITION].next_offset
        for offset, event in enumerate(self.kafka.log[start : start + most], start):
            self.coalescer.take(PARTITION, offset, event.change, event.at_once)

    async def store(self, topic: str, partition: int, key: bytes, value: bytes | None) -> Awaitable[object]:
        """Write to the changelog, with luck."""
        assert (topic, partition) == PARTITION
        arrives, is_answered = self._luck()
        if arrives and value is None:
            self.kafka.held.pop(key, None)
        elif arrives and value is not None:
            self.kafka.held[key] = value
        return _answer(is_answered)

    async def emit(self, refresh: Refresh) -> Awaitable[object]:
        """Send a record, with luck."""
        arrives, is_answered = self._luck()
        if arrives:
            self.kafka.sent.append((len(self.kafka.log), refresh))
        return _answer(is_answered)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit, with luck, and if it is still a member."""
        arrives, is_answered = self._luck()
        is_member = self._generation == self.kafka.generation
        if arrives and is_member:
            self.kafka.committed = offsets[PARTITION]
        if not is_answered:
            raise CrashError
        return is_member

    def _luck(self) -> tuple[bool, bool]:
        """Whether a request arrives, and whether its answer does."""
        self.read(self.meanwhile)
        if self.fate is None:
            return True, True
        if self.spared > 0:
            self.spared -= 1
            return True, True
        return self.fate.pop(0) if self.fate else False, False


def _answer(is_answered: bool) -> Awaitable[object]:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    if is_answered:
        future.set_result(None)
    else:
        future.set_exception(CrashError())
    return future


writes = st.tuples(st.just("write"), st.integers(1, 2), st.booleans())
reads = st.tuples(st.just("read"), st.integers(1, 3))
waits = st.tuples(st.just("wait"), st.sampled_from([0.1, 0.6, 6.0]))
turns = st.tuples(st.just("turn"), st.integers(0, 2))
crashes = st.tuples(st.just("crash"), st.integers(0, 2), st.integers(0, 4), st.lists(st.booleans(), max_size=6))
changes_of_hands = st.tuples(st.sampled_from(["close", "take over", "zombies turn"]))
# Often something is pending when it goes wrong, and something comes while it does.
eventful = st.tuples(writes, reads, waits, writes, st.one_of(turns, crashes, changes_of_hands)).map(list)
uneventful = st.one_of(writes, reads, waits, turns, crashes, changes_of_hands).map(lambda step: [step])
scripts = st.lists(st.one_of(eventful, uneventful), max_size=12).map(lambda parts: [s for part in parts for s in part])


class World:
    """One member, those before it that don't know that they are out, and Kafka between them."""

    def __init__(self) -> None:
        self.kafka = Kafka()
        self._clock = [0.0]
        self._zombies: list[Member] = []
        self.members = 0
        self._start()

    def _start(self) -> None:
        self.members += 1
        self._member = Member(self.kafka, f"m{self.members}", self._clock)

    async def step(self, step: tuple[object, ...]) -> None:
        """One thing happens."""
        match step:
            case ("write", int(document), bool(deletes)):
                self.kafka.write(document, deletes=deletes)
            case ("read", int(most)):
                self._member.read(most)
            case ("wait", float(seconds)):
                self._clock[0] += seconds
            case ("turn", int(meanwhile)):
                self._member.meanwhile = meanwhile
                await self._member.coalescer.turn()
                self._member.meanwhile = 0
            case ("crash", int(meanwhile), int(spared), list(fate)):
                self._member.meanwhile, self._member.spared, self._member.fate = meanwhile, spared, list(fate)
                await self._crash()
            case _:
                await self._change_hands(*step)

    async def _change_hands(self, how: object) -> None:
        if how == "zombies turn":
            for zombie in self._zombies:
                zombie.read(1)
                await zombie.coalescer.turn()
        elif how == "close":
            await self._member.coalescer.close()
            self._start()
        else:
            self._zombies.append(self._member)
            self._start()

    async def _crash(self) -> None:
        with suppress(CrashError):
            await self._member.coalescer.turn()
        with suppress(CrashError):
            # Faust may still tell it that its partitions are revoked.
            await self._member.coalescer.close()
        self._start()

    async def finish(self) -> None:
        """The last member reads and sends all that is left."""
        self._member.read(len(self.kafka.log))
        for _ in range(4):
            self._clock[0] += TIMING.unrest_s
            await self._member.coalescer.turn()


async def run(script: list[tuple[object, ...]]) -> World:
    """Carry it out to the end."""
    world = World()
    for step in script:
        await world.step(step)
    await world.finish()
    return world


@settings(max_examples=400, deadline=None)
@given(scripts)
def test_every_change_is_covered_by_a_record_that_comes_after_it(script: list[tuple[object, ...]]) -> None:
    world = asyncio.run(run(script))
    kafka = world.kafka
    for offset, event in enumerate(kafka.log):
        covering = [
            refresh
            for written, refresh in kafka.sent
            if written > offset
            and refresh.key == (event.document,)
            and refresh.lsn >= event.change.lsn
            and set(refresh.tags) >= set(event.change.tags)
        ]
        assert covering, (offset, event, kafka.sent)
    assert kafka.committed == len(kafka.log)
    # Each of its writers removes what it wrote; only one that lost its partition may leave something behind.
    left = {parse_key(key).writer for key in kafka.held}
    assert ("zombies turn",) in script or not left
    assert len(kafka.sent) <= world.members * (len(kafka.log) + 1)


@given(
    st.lists(st.sampled_from([("write", 1, False), ("read", 1), ("turn", 0), ("turn", 1), ("wait", 0.1)]), max_size=40)
)
def test_without_crashes_a_burst_is_few_records_and_each_change_counts_once(script: list[tuple[object, ...]]) -> None:
    kafka = asyncio.run(run(script)).kafka
    assert sum(refresh.changes for _, refresh in kafka.sent) == len(kafka.log)
    waited_s = sum(0.1 for step in script if step == ("wait", 0.1))
    assert len(kafka.sent) <= 1 + waited_s / TIMING.quiet_s
    assert not kafka.held


def test_a_member_that_does_not_know_that_it_is_out_removes_nothing_of_its_successor() -> None:
    async def scenario() -> Kafka:
        kafka, clock = Kafka(), [0.0]
        kafka.write(1, deletes=False)
        first = Member(kafka, "first", clock)
        first.read(1)
        await first.coalescer.turn()
        second = Member(kafka, "second", clock)
        kafka.write(1, deletes=False)
        second.read(1)
        clock[0] += 0.1
        await second.coalescer.turn()
        await second.coalescer.close()
        assert kafka.committed == 2
        # The first sends what it knows of, and removes it: the second change is in the table all the same.
        clock[0] += 1
        await first.coalescer.turn()
        third = Member(kafka, "third", clock)
        clock[0] += 1
        await third.coalescer.turn()
        return kafka

    kafka = asyncio.run(scenario())
    assert [refresh.lsn for _, refresh in kafka.sent] == [1, 2]
    assert not kafka.held
