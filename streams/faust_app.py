"""Faust as we run it: in our own loop, without its worker, and with what we can't trust it with taken out of its hands.

Faust reads the log, balances partitions, and restores tables. It does not commit: it would do so before the records
that it sent, and those of its tables' changelogs, are acknowledged (``Consumer._commit_offsets`` flushes with a timeout
of 0.1 s, and a send that failed is only logged). Nor does it say where to read on. What is overridden here are the
drivers' seams for that, and each says why.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from faust.transport.drivers import aiokafka as driver
from mode.threads import WorkerThread

from infra.settings import Settings
from streams.security import brokers, credentials

_THREAD_STOP_S: Final = 10.0
_REQUEST_TIMEOUT_S: Final = 30.0
_REBALANCE_TIMEOUT_S: Final = 30.0
# Liveness is judged by progress, not by how often records are asked for.
_MAX_POLL_INTERVAL_S: Final = 24 * 60 * 60.0
_FETCH_MAX_WAIT_MS: Final = 200
_METADATA_MAX_AGE_MS: Final = 30_000
_METADATA_BACKOFF_S: Final = 0.1
_MAX_REQUEST_BYTES: Final = 20 * 1024 * 1024
_LINGER_S: Final = 0.002
_RECORDS_PER_FETCH: Final = 1_000
# A seek waits for the fetch that is under way, and a rebalance for the seek.
_FETCH_TIMEOUT_S: Final = 0.2
_CAREFUL_TIMEOUT_S: Final = 0.1
_CAREFUL_RECORDS: Final = 500


class _DaemonThread(WorkerThread):
    """A process that is to end ends, also when this thread hangs."""

    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True

    def stop(self) -> None:
        """Wait for its end, but not for ever: this blocks our loop."""
        if self.is_stopped.wait(_THREAD_STOP_S):
            self.join(_THREAD_STOP_S)


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread with aiokafka's consumer in it."""

    Worker = _DaemonThread
    _is_careful = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Faust drops what was fetched of partitions that are no longer active when it arrives. If a seek came between,
        # what was sought would be dropped, too, and a recovery that waits for it would never end.
        self._fetching_or_seeking = asyncio.Lock()

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no setting for these. After a rebalance nothing is read until the fetch that waits has ended.
        consumer._fetch_max_wait_ms = _FETCH_MAX_WAIT_MS  # noqa: SLF001
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        return consumer

    async def commit_offsets(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit; False where a rebalance overtook it."""
        return bool(await self.call_thread(self._commit_offsets, dict(offsets)))

    async def committed_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int | None]:
        """The group's offsets; None where there is none."""
        found: dict[TopicPartition, int | None] = await self.call_thread(self._committed_offsets, partitions)
        return found

    async def refresh_metadata(self) -> None:
        """Look for topics and partitions that came or went."""
        await self.call_thread(self._refresh_metadata)

    def overlooks(self, topic: str) -> bool:
        """Whether we share out the group's partitions, and did it without those of this topic."""
        coordinator = self._consumer._coordinator if self._consumer is not None else None  # noqa: SLF001
        # Only who shares out knows: of the others the driver remembers nothing, or what they knew in another turn.
        if coordinator is None or coordinator._group_subscription is None:  # noqa: SLF001
            return False
        return not coordinator._metadata_snapshot.get(topic)  # noqa: SLF001

    async def _refresh_metadata(self) -> None:
        await self._ensure_consumer()._client.force_metadata_update()  # noqa: SLF001 - the driver asks when it is old

    async def _commit_offsets(self, offsets: dict[TopicPartition, int]) -> bool:
        try:
            await self._ensure_consumer().commit(offsets)
        except (CommitFailedError, IllegalStateError):
            return False
        return True

    async def _committed_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int | None]:
        consumer = self._ensure_consumer()
        return {partition: await consumer.committed(partition) for partition in partitions}

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TopicPartition] | None,
        timeout: float | None = None,  # noqa: ARG002 - ours is shorter
        max_records: int | None = None,
    ) -> Any:
        """As the base does, of the partitions that are active at its beginning, and never while there is a seek.

        A record with a header whose name is not UTF-8 does not end it: it is passed over.
        """
        async with self._fetching_or_seeking:
            # The set that Faust hands over changes under way; and to the driver, no partitions are all.
            partitions = list(active_partitions or ())
            if not partitions:
                return {}
            if self._is_careful:
                return await self._fetch_one_by_one(consumer, partitions)
            return await self._fetch_together(consumer, partitions, max_records)

    async def _seek_wait(self, consumer: AIOKafkaConsumer, partitions: Mapping[TopicPartition, int]) -> None:
        async with self._fetching_or_seeking:
            await super()._seek_wait(consumer, cast("Any", partitions))

    async def _fetch_together(
        self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition], max_records: int | None
    ) -> Any:
        before = {partition: _position(consumer, partition) for partition in partitions}
        try:
            return await super()._fetch_records(consumer, cast("Any", set(partitions)), _FETCH_TIMEOUT_S, max_records)
        except UnicodeDecodeError:
            # What the driver handed out along with it is lost: once more, and with care.
            for partition, offset in before.items():
                if offset is not None:
                    consumer.seek(partition, offset)
            self._is_careful = True
            return {}

    async def _fetch_one_by_one(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> Any:
        found: dict[TopicPartition, list[Any]] = {}
        for partition in partitions:
            for _ in range(_CAREFUL_RECORDS):
                try:
                    fetched = await super()._fetch_records(consumer, {partition}, _CAREFUL_TIMEOUT_S, 1)
                except UnicodeDecodeError:
                    offset = _position(consumer, partition)
                    if offset is not None:
                        consumer.seek(partition, offset + 1)
                        app = cast("StreamApp", self.app)
                        self.parent_loop.call_soon_threadsafe(app.on_unreadable, partition, offset)
                    return found
                if partition not in fetched:
                    break
                found.setdefault(partition, []).extend(fetched[partition])
        self._is_careful = False
        return found


def _position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """The offset that is fetched next. The driver's own question waits where there is none yet."""
    assignment = consumer._subscription.subscription.assignment  # noqa: SLF001
    state = assignment.state_value(partition) if assignment is not None and partition in assignment.tps else None
    return int(state.position) if state is not None and state.has_valid_position else None


class _Forgetful(defaultdict[TopicPartition, int | None]):
    """Remembers nothing."""

    def __setitem__(self, partition: TopicPartition, offset: int | None) -> None:
        """Don't."""


class StreamConsumer(driver.Consumer):
    """Faust's consumer, which reads on where it was told to and commits what it is told to."""

    _thread: _ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Faust drops what lies before the offset that it delivered last, and notes that offset only once it is
        # delivered: after a seek that went back meanwhile, so what was sought would never come. Repeated records are
        # told from new ones by whoever reads.
        self._read_offset = _Forgetful(lambda: None)

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_assigned(self, assigned: set[TopicPartition], generation_id: int = 0) -> None:
        """Read nothing before the tables are restored.

        Faust stops the flow when partitions are taken away: not that of a member that had none. It would read what is
        new to it from anywhere, before anybody knows what to do with it.
        """
        self.stop_flow()
        await super().on_partitions_assigned(cast("Any", assigned), generation_id)

    async def seek_to_committed(self) -> Mapping[TopicPartition, int]:
        """Leave it to whoever opened the partitions.

        Faust calls this after flow has resumed, and aiokafka's ignores a committed offset of 0: records could be read
        from another place, and dropped.
        """
        return {}

    async def commit_offsets(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit; False where a rebalance overtook it."""
        return await self._thread.commit_offsets(offsets)

    async def committed_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int | None]:
        """The group's offsets; None where there is none."""
        return await self._thread.committed_offsets(partitions)

    async def refresh_metadata(self) -> None:
        """Look for topics and partitions that came or went."""
        await self._thread.refresh_metadata()

    def overlooks(self, topic: str) -> bool:
        """Whether we share out the group's partitions, and did it without those of this topic."""
        return self._thread.overlooks(topic)


class _Producer(driver.Producer):
    def _settings_extra(self) -> Mapping[str, Any]:
        """A record is there when all replicas in sync have it, once, and in the order of sending."""
        return {"acks": "all", "enable_idempotence": True}

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        producer = super()._new_producer(transactional_id)
        client = producer.client
        update = client._metadata_update  # noqa: SLF001

        async def paced(*arguments: Any) -> bool:
            """While no broker answers, the driver asks again without a pause, and logs it a thousand times a second."""
            is_updated = bool(await update(*arguments))
            if not is_updated:
                await asyncio.sleep(_METADATA_BACKOFF_S)
            return is_updated

        client._metadata_update = paced  # noqa: SLF001
        return producer


class _Transport(driver.Transport):
    Consumer = StreamConsumer
    Producer = _Producer


class StreamApp(faust.App):
    """A Faust app that is a part of our process.

    Attributes:
        on_unreadable: called for a record that the driver can't read, with its partition and offset.
    """

    on_unreadable: Callable[[TopicPartition, int], None]

    async def on_first_start(self) -> None:
        """Make no folders: the tables are in memory."""

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return _Transport(self.conf.broker_producer, self)


def make_app(settings: Settings, *, role: str) -> StreamApp:
    """The app of a role, to be started in the loop that runs."""
    arguments = settings.kafka.client_arguments()
    session_timeout_s = settings.worker.session_timeout_s
    return StreamApp(
        settings.group(role),
        loop=asyncio.get_running_loop(),
        broker=brokers(arguments),
        broker_credentials=credentials(arguments),
        broker_client_id=f"freshline-{role}",
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / 4,
        broker_rebalance_timeout=max(session_timeout_s, _REBALANCE_TIMEOUT_S),
        broker_request_timeout=max(session_timeout_s, _REQUEST_TIMEOUT_S),
        broker_max_poll_interval=_MAX_POLL_INTERVAL_S,
        broker_max_poll_records=_RECORDS_PER_FETCH,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{settings.worker.instance}-{role}" if settings.worker.instance else None,
        consumer_metadata_max_age_ms=_METADATA_MAX_AGE_MS,
        producer_metadata_max_age_ms=_METADATA_MAX_AGE_MS,
        producer_acks=-1,
        producer_linger=_LINGER_S,
        producer_max_request_size=_MAX_REQUEST_BYTES,
        producer_request_timeout=_REQUEST_TIMEOUT_S,
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        # What a table holds is written by us before anything is committed; there is nothing to wait for on its side.
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_replication_factor=settings.topics.replication_factor,
        web_enabled=False,
    )
