"""The coalescing worker: Faust delivers, the coalescer decides, and this sees that nothing is lost between them.

    partitions assigned ▸ Faust restores the tables ▸ where to read on, what was lost ▸ seek ▸ open ▸ events …
    partitions revoked  ▸ flow stops ▸ the table has all of it ▸ commit ▸ close

Offsets must follow each other. Where they don't, what lies between is looked up: nothing (a marker of a transaction),
or records that were dropped on their way through Faust, which are then fetched again.

Order of shutdown: 1. finish the turn, 2. let the table have the rest, 3. commit, 4. stop Faust and leave the group
(whoever opened it).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from infra.cancellation import cancel
from infra.logs import logger
from infra.metrics import StreamMetrics
from infra.progress import Progress
from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.errors import FreshlineError, MalformedRecordError, SourceChangedError, StoreUnavailableError
from streams.changelogs import make_changelogs
from streams.coalescer import Coalescer
from streams.faust_app import StreamApp, make_app
from streams.lanes import Lane
from streams.opening import Opening
from streams.pending import Timing
from streams.source_log import SourceLog, open_source_log
from streams.sources import Sources
from streams.watch import Watch

_log = logger("streams")

ROLE: Final = "coalescing"
_WATCH_EVERY_S: Final = 1.0
_CLOSE_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 30.0


class FaustStoppedError(FreshlineError):
    """Faust ended by itself. The process ends, so that it is started anew: what was not committed is read again."""


class Coalescing:
    """The worker. Made by ``open_coalescing``."""

    def __init__(
        self,
        *,
        app: StreamApp,
        sources: Sources,
        log: SourceLog,
        timing: Timing,
        metrics: StreamMetrics,
        progress: Progress,
    ) -> None:
        """Take everything ready made and opened; the app is not started."""
        self._app = app
        self._sources = sources
        self._log = log
        self._metrics = metrics
        self._progress = progress
        self.coalescer = Coalescer(outlet=sources, timing=timing, metrics=metrics, writer=secrets.token_hex(4))
        self._opening = Opening(sources, log, metrics)
        self._watch = Watch(sources, log, self.coalescer, self._opening)
        self._is_open = False
        self._revocations = 0
        self._stopping = asyncio.Event()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for topic in sources:
            channel = app.topic(topic, key_type=bytes, value_type=bytes, acks=False, allow_empty=True)
            app.agent(channel, name=f"{ROLE}.{topic}")(self._read)
        app.on_unreadable = self._on_unreadable
        app.on_partitions_revoked.connect(cast("Any", self._on_revoked))
        app.on_rebalance_complete.connect(cast("Any", self._on_restored))

    def stop(self) -> None:
        """Finish what is being sent, let the table have the rest, commit, and return from ``run``."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            FaustStoppedError: Faust gave up.
            SourceChangedError: a topic was made anew, or retention overtook us.
            StoreUnavailableError: Kafka does not take what is sent.
        """
        starting = asyncio.create_task(self._start())
        turning = asyncio.create_task(self.coalescer.run())
        watching = asyncio.create_task(self._watch_it())
        stopping = asyncio.create_task(self._stopping.wait())
        ends: list[asyncio.Future[Any]] = [self._failure, turning, watching, stopping]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            # Whatever ended first may only be what the crash left of it.
            self._require_faust()
            for end in ends:
                if end.done():
                    end.result()
            self.coalescer.stop()
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await turning
                await self.coalescer.close()
        except TimeoutError:
            _log.warning("close_timed_out", role=ROLE)
        except (KafkaError, ProducerSendError) as error:
            raise StoreUnavailableError(
                f"Kafka does not take what is sent: {error or type(error).__name__}."
            ) from error
        finally:
            await cancel(starting, turning, watching, stopping)

    async def leave(self) -> None:
        """Stop Faust, and with it leave the group."""
        self._is_open = False
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._app.stop()
        except Exception as error:  # noqa: BLE001 - one that crashed may not be there to be stopped
            _log.warning("stop_failed", role=ROLE, error=str(error) or type(error).__name__)

    async def _start(self) -> None:
        try:
            await self._app.start()
        except Exception as error:  # noqa: BLE001 - raised by ``run``
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    def _require_faust(self) -> None:
        if self._app.crashed:
            reason = self._app.crash_reason
            if isinstance(reason, FreshlineError):
                raise reason  # it is ours: raised where Faust called us
            raise FaustStoppedError(f"Faust stopped: {reason!r}. The worker is to be started again.") from reason

    async def _watch_it(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            self._progress.turned()
            self._require_faust()
            try:
                # A rebalance or a recovery that does not end is no progress.
                why = await self._watch.why_it_stands() if self._is_open else "partitions are being opened"
            except StoreUnavailableError as error:
                self._progress.waits(type(error).__name__)
                continue
            if not why:
                self._progress.progressed()
            elif why != said:
                _log.info("stands", role=ROLE, why=why)
            said = why

    # What comes in.

    async def _read(self, stream: Any) -> None:
        """The agent."""
        try:
            async for _ in stream:
                await self._take(stream.current_event.message)
                await self.coalescer.room()
        except Exception as error:  # noqa: BLE001 - Faust would start the agent again, and go on as if nothing were
            self._fail(error)

    async def _take(self, message: Any) -> None:
        partition, offset = TopicPartition(message.topic, message.partition), message.offset
        lane = self.coalescer.lanes.get(partition)
        if lane is None or (lane.awaited is not None and offset != lane.awaited):
            return
        if offset < lane.next_offset:
            self._count(partition, "repeated")
            return
        if offset > lane.next_offset and not await self._follows(partition, lane, offset):
            return
        try:
            change, at_once = self._sources[partition.topic].reader.read(message.key, message.value)
        except MalformedRecordError as error:
            self._count(partition, error.reason)
            self.coalescer.take(partition, offset, None, None)
            return
        self._count(partition, "taken")
        self.coalescer.take(partition, offset, change, at_once)

    async def _follows(self, partition: TopicPartition, lane: Lane, offset: int) -> bool:
        """Whether nothing lies between the last record and this one. If something does, it is fetched again."""
        first = (await self._log.bounds([partition]))[partition][0]
        if first > lane.next_offset:
            raise SourceChangedError(
                f"Retention removed records of {partition.topic}/{partition.partition} before they were read: from "
                f"{lane.next_offset} to {first}. The worker starts again and has all documents compared."
            )
        missed = await self._log.first_readable(partition, lane.next_offset, offset)
        if self.coalescer.lanes.get(partition) is not lane:
            return False
        if missed is None:
            return True
        self._metrics.sought_again.labels(partition.topic).inc()
        _log.warning("sought_again", role=ROLE, topic=partition.topic, partition=partition.partition, offset=missed)
        lane.next_offset = lane.awaited = missed
        await self._sources.consumer.seek_wait({partition: missed})
        return False

    def _on_unreadable(self, partition: TopicPartition, offset: int) -> None:
        self._count(partition, "unreadable")
        lane = self.coalescer.lanes.get(partition)
        if lane is not None:
            lane.pass_over(offset)

    def _count(self, partition: TopicPartition, outcome: str) -> None:
        self._metrics.events.labels(partition.topic, outcome).inc()

    # Whose partitions they are.

    async def _on_revoked(self, _app: Any, _revoked: Any = None, **_: Any) -> None:
        """Called by Faust when flow has stopped, before the partitions are given up."""
        self._is_open = False
        self._revocations += 1
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.coalescer.close()
        except Exception as error:  # noqa: BLE001 - what is not committed is read again by whoever gets it
            _log.warning("close_failed", role=ROLE, error=str(error) or type(error).__name__)

    async def _on_restored(self, _app: Any, **_: Any) -> None:
        """Called by Faust when the tables are restored, before records of the partitions are fetched."""
        try:
            await self._open()
        except Exception as error:
            self._fail(error)
            raise

    async def _open(self) -> None:
        revocations = self._revocations
        await self.coalescer.close()
        assigned = {TopicPartition(*partition) for partition in self._sources.consumer.assignment()}
        offsets = await self._opening.begin(assigned)
        if revocations != self._revocations:
            return  # they were taken away meanwhile
        for source in self._sources.values():
            source.keep(assigned)
        held = [(topic, key, value) for topic, source in self._sources.items() for key, value in source.held.items()]
        self.coalescer.open(offsets, held)
        self._is_open = True
        _log.info("opened", role=ROLE, partitions=len(offsets), pending=self.coalescer.pending)


@asynccontextmanager
async def open_coalescing(
    settings: Settings, catalog: Catalog, metrics: StreamMetrics, progress: Progress
) -> AsyncIterator[Coalescing]:
    """The worker with everything it needs open.

    Raises:
        TopicMissingError: a table's topic does not exist.
        StoreUnavailableError: Kafka does not answer.
    """
    arguments = settings.kafka.client_arguments()
    async with open_source_log(arguments) as log:
        app = make_app(settings, role=ROLE)
        sources = Sources(app, settings, catalog)
        await make_changelogs(
            arguments, {topic: source.changelog for topic, source in sources.items()}, settings.topics
        )
        coalescing = Coalescing(
            app=app,
            sources=sources,
            log=log,
            timing=Timing(settings.stream.quiet_ms / 1000, settings.stream.unrest_ms / 1000),
            metrics=metrics,
            progress=progress,
        )
        try:
            yield coalescing
        finally:
            await coalescing.leave()
