"""A group's place in the log: which partitions this process has, what is in them, and where it stands.

Wraps aiokafka's consumer. Assignments are handed over, not acted upon: whoever reads asks ``take_assigned`` first and
seeks to where the copies stand, so what was fetched before that is never used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from infra.kafka.assignment import EvenTopicsAssignor
from infra.kafka.driver import REQUEST_TIMEOUT_MS, answering, kafka_errors, stop_consumer
from infra.kafka.topic_ids import topic_ids
from infra.logs import logger
from schemas.errors import FreshlineError, NotOpenError, StoreUnavailableError

_log = logger("log")

Partition: TypeAlias = TopicPartition
Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"


class UnreadableRecord(ConsumerRecord):  # type: ignore[misc]  # aiokafka has no types
    """Stands for a record that the driver can't read, nor those behind it in its batch: it has an offset alone."""


class UnreadableBatchError(FreshlineError):
    """The driver stumbled over a record. What it handed out last is lost: seek, and fetch again."""


# What the driver holds of one partition while nobody reads, as when a store is away; a larger batch is held alone.
_PARTITION_FETCH_BYTES: Final = 1024 * 1024
# Nobody depends on a commit, and whoever is asked to stop waits for one.
_COMMIT_TIMEOUT_S: Final = 5.0
# Commits that a rebalance overtakes. They are hints for a new epoch, and the next one makes good for them.
_OVERTAKEN: Final = (CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)
# How long a partition's next record is waited for while they are read one by one.
_CAREFUL_TIMEOUT_MS: Final = 100
# Liveness is judged by progress, not by how often records are asked for: a store that is away may take hours.
_MAX_POLL_INTERVAL_MS: Final = 24 * 60 * 60 * 1000


class ChangeLog(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One member of a consumer group. An async context manager; use inside it only."""

    def __init__(
        self,
        arguments: Mapping[str, Any],
        *,
        group: str,
        topics: Sequence[str],
        instance: str | None = None,
        session_timeout_ms: int = 10_000,
        before_revoked: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare; no I/O.

        Args:
            arguments: how to reach Kafka.
            group: the consumer group.
            topics: what it reads.
            instance: name of a static member: with it, a restart within the session timeout moves no partitions.
            session_timeout_ms: after how long a silent member is taken for dead.
            before_revoked: awaited before partitions are given up; what it applied is committed by then.
        """
        self.group = group
        self.topics = topics
        self._topic_ids: dict[str, str] = {}
        self._before_revoked = before_revoked
        self._assigned: set[Partition] = set()
        self._options = {
            **arguments,
            "group_id": group,
            "group_instance_id": instance,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "partition_assignment_strategy": (type("MembersAssignor", (EvenTopicsAssignor,), {}),),
            "session_timeout_ms": session_timeout_ms,
            "heartbeat_interval_ms": session_timeout_ms // 4,
            "max_poll_interval_ms": _MAX_POLL_INTERVAL_MS,
            "rebalance_timeout_ms": max(session_timeout_ms, 30_000),
            # What a transaction of Kafka's took back was never said.
            "isolation_level": "read_committed",
            "max_partition_fetch_bytes": _PARTITION_FETCH_BYTES,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "fetch_max_wait_ms": 200,
            "metadata_max_age_ms": 30_000,
        }
        self._is_careful = False
        self._arguments = arguments
        self._consumer: AIOKafkaConsumer | None = None
        # Asks where topics begin and end. On the connection that waits for records, it would wait for them, too.
        self._observer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        """Join the group.

        Raises:
            StoreUnavailableError: Kafka does not answer.
        """
        consumer = self._member()
        observer = AIOKafkaConsumer(
            **self._arguments, isolation_level="read_committed", request_timeout_ms=REQUEST_TIMEOUT_MS
        )
        try:
            with kafka_errors():
                await observer.start()
                await consumer.start()
        except BaseException:
            await stop_consumer(consumer)
            await stop_consumer(observer)
            raise
        self._consumer, self._observer = consumer, observer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the group, so that the others take over at once."""
        consumer, self._consumer = self._consumer, None
        observer, self._observer = self._observer, None
        if consumer is not None:
            await stop_consumer(consumer)
        if observer is not None:
            await stop_consumer(observer)

    def _member(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(**self._options)
        consumer.subscribe(topics=list(self.topics), listener=self)
        return consumer

    @property
    def _observing(self) -> AIOKafkaConsumer:
        if self._observer is None:
            msg = f"The log of group {self.group} is not open. Use it inside `async with`."
            raise NotOpenError(msg)
        return self._observer

    @property
    def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            msg = f"The log of group {self.group} is not open. Use it inside `async with`."
            raise NotOpenError(msg)
        return self._consumer

    async def on_partitions_revoked(self, revoked: Collection[Partition]) -> None:
        """Called by the driver in a rebalance."""
        if self._before_revoked is not None:
            await self._before_revoked()
        self._assigned -= set(revoked)

    async def on_partitions_assigned(self, assigned: Collection[Partition]) -> None:
        """Called by the driver in a rebalance."""
        self._assigned |= set(assigned)

    def take_assigned(self) -> set[Partition]:
        """The partitions that were assigned since the last call: each must be sought before its records are used."""
        taken, self._assigned = self._assigned, set()
        return taken

    def owned(self) -> set[Partition]:
        """The partitions that this member has now."""
        return set(self._open.assignment())

    def is_being_assigned(self) -> bool:
        """Whether there are partitions that nobody has taken yet."""
        return bool(self._assigned)

    async def fetch(self, *, max_records: int, timeout_ms: int) -> dict[Partition, list[Record]]:
        """Records of some partitions, each in the order of offsets; empty where none came within the timeout.

        Raises:
            UnreadableBatchError: a header's name is not UTF-8, say. The next fetches find out which record it is.
            StoreUnavailableError: Kafka does not answer.
        """
        if _is_out(self._open):
            await self._join_again()
        if self._is_careful:
            return await self._fetch_one_by_one(max_records=max_records)
        try:
            with kafka_errors():
                return cast(
                    "dict[Partition, list[Record]]",
                    await self._open.getmany(max_records=max_records, timeout_ms=timeout_ms),
                )
        except UnicodeDecodeError as error:
            self._is_careful = True
            raise UnreadableBatchError("A record has a header whose name is not UTF-8.") from error

    async def _join_again(self) -> None:
        """Become another member. What is assigned to it is handed over as always."""
        _log.warning("joins_again", group=self.group)
        with suppress(KafkaError):  # whatever ended the former one
            await stop_consumer(self._open)
        self._consumer = self._member()
        with kafka_errors():
            await self._consumer.start()

    def left_something(self, fetched: Mapping[Partition, Sequence[Record]]) -> bool:
        """Whether, when these were fetched, there was more behind them that can be read."""
        for partition, records in fetched.items():
            with suppress(IllegalStateError, AssertionError):  # taken away meanwhile
                end = self._open.last_stable_offset(partition)
                if end is not None and records and records[-1].offset + 1 < end:
                    return True
        return False

    async def _fetch_one_by_one(self, *, max_records: int) -> dict[Partition, list[Record]]:
        """As ``fetch``, up to a record that can't be read; that one is marked, and the next fetch begins behind it."""
        found: dict[Partition, list[Record]] = {}
        for partition in self.owned():
            for _ in range(max_records):
                try:
                    with kafka_errors():
                        fetched = await self._open.getmany(partition, max_records=1, timeout_ms=_CAREFUL_TIMEOUT_MS)
                except UnicodeDecodeError:
                    offset = await self._open.position(partition)
                    topic, number = partition
                    found.setdefault(partition, []).append(
                        UnreadableRecord(topic, number, offset, 0, 0, None, None, None, -1, -1, ())
                    )
                    if not self.seek(partition, offset + 1):
                        return {}
                    return found
                if partition not in fetched:
                    break
                found.setdefault(partition, []).extend(fetched[partition])
        self._is_careful = False
        return found

    def seek(self, partition: Partition, offset: int) -> bool:
        """Go on from this offset; False where the partition was taken away meanwhile."""
        try:
            self._open.seek(partition, offset)
        except IllegalStateError:
            return False
        return True

    async def bounds(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """First offset and the one after the last, by partition."""
        async with answering():
            first = await self._observing.beginning_offsets(list(partitions))
            last = await self._observing.end_offsets(list(partitions))
        return {partition: (first[partition], last[partition]) for partition in partitions}

    async def positions(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The offsets that are read next, of those that it has. Beyond the last record lie markers of transactions."""
        owned = self.owned()
        found = {}
        for partition in owned.intersection(partitions):
            async with answering():
                found[partition] = await self._open.position(partition)
        return found

    async def topic_ids(self) -> dict[str, str]:
        """The ids of those of its topics that exist. A topic made anew has another one."""
        async with answering():
            # The driver has no public way to send a request of its own kind.
            found = await topic_ids(self._observing._client, self.topics)  # noqa: SLF001
            if found != self._topic_ids:
                # It would look for partitions that came or went only when its picture of them is old.
                await self._open._client.force_metadata_update()  # noqa: SLF001
            self._topic_ids = found
        return found

    async def committed(self, partitions: Collection[Partition]) -> dict[Partition, int | None]:
        """The group's committed offsets; None where there is none."""
        found = {}
        for partition in partitions:
            async with answering():
                found[partition] = await self._open.committed(partition)
        return found

    async def all_partitions(self) -> set[Partition]:
        """Every partition of the topics that it reads, whoever has it."""
        found = set()
        for topic in self.topics:
            numbers = self._open.partitions_for_topic(topic) or set()
            found |= {TopicPartition(topic, number) for number in numbers}
        return found

    async def commit(self, offsets: Mapping[Partition, int], metadata: str = "") -> bool:
        """Commit the next offsets of partitions that it has; False where a rebalance overtook it.

        Args:
            offsets: by partition.
            metadata: what is written beside each of them, for whoever asks for them.
        """
        owned = self.owned()
        kept = {partition: (offset, metadata) for partition, offset in offsets.items() if partition in owned}
        if not kept:
            return True
        try:
            async with answering(_COMMIT_TIMEOUT_S):
                await self._open.commit(kept)
        except StoreUnavailableError as error:
            if isinstance(error.__cause__, _OVERTAKEN):
                return False
            raise
        return True


def _is_out(member: AIOKafkaConsumer) -> bool:
    """Whether it no longer belongs to its group and never will.

    A heartbeat that is answered by an error that the driver does not know ends them all. Nobody tells the member then
    that others have its partitions, and each fetch raises that error, also when its cause is long gone.
    """
    coordinator = member._coordinator  # noqa: SLF001 - the driver does not say it otherwise
    if coordinator is None:  # it did not start
        return True
    tasks = (coordinator._coordination_task, coordinator._heartbeat_task)  # noqa: SLF001
    return any(
        task is not None and task.done() and not task.cancelled() and task.exception() is not None for task in tasks
    )
