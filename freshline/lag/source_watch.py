"""Watching the source: Kafka, Kafka Connect and Postgres are asked on their own, so none that is away hides another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from msgspec.structs import replace

from freshline.lag.source import ConnectorNow, SlotNow, SourceReport, connector_now, freshness_s, slot_now
from infra.connect.client import ConnectClient, open_connect
from infra.connect.configuration import HEARTBEAT_TABLE
from infra.kafka.observer import Observer
from infra.logs import logger
from infra.postgres.moments import Primary
from infra.postgres.pool import open_pool
from infra.settings import Settings
from schemas.errors import FreshlineError

# Whoever has not answered by then is away.
_TIMEOUT_S: Final = 5.0
_MS: Final = 1000
_log = logger("source")


class SourceWatch:
    """Watches. Made by ``open_source_watch``.

    Attributes:
        report: what is known now.
    """

    def __init__(
        self, settings: Settings, observer: Observer, connect: ConnectClient | None, primary: Primary | None
    ) -> None:
        """Know nothing yet. Takes everything opened; without Kafka Connect or Postgres that is not asked."""
        self._heartbeats = settings.table_topic(HEARTBEAT_TABLE)
        self._every_s = settings.lag.every_s
        self._observer = observer
        self._connect = connect
        self._primary = primary
        self._connector = settings.connect.connector
        self._slot = settings.postgres.slot
        self.report = SourceReport(
            connector=None if connect is None else ConnectorNow(self._connector),
            slot=None if primary is None else SlotNow(self._slot),
        )

    async def look(self) -> SourceReport:
        """Look once."""
        await asyncio.gather(*(look() for look in self._looks()))
        return self.report

    async def run(self, tell: Callable[[SourceReport], None] = lambda _: None) -> None:
        """Look again and again, until cancelled.

        Args:
            tell: called with each report.
        """

        async def again(look: Callable[[], Awaitable[None]]) -> None:
            while True:
                await look()
                tell(self.report)
                await asyncio.sleep(self._every_s)

        async with asyncio.TaskGroup() as looking:
            for look in self._looks():
                looking.create_task(again(look))

    def _looks(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return (self._look_at_heartbeats, self._look_at_connector, self._look_at_slot)

    async def _look_at_heartbeats(self) -> None:
        found = None
        async with _in_time("heartbeats"):
            found = freshness_s(await self._observer.newest(self._heartbeats), time.time() * _MS)
        self.report = replace(self.report, freshness_s=found)

    async def _look_at_connector(self) -> None:
        if self._connect is None:
            return
        found = ConnectorNow(self._connector)
        async with _in_time("connector"):
            found = connector_now(self._connector, await self._connect.status(self._connector))
        self.report = replace(self.report, connector=found)

    async def _look_at_slot(self) -> None:
        if self._primary is None:
            return
        found = SlotNow(self._slot)
        async with _in_time("slot"):
            found = slot_now(self._slot, await self._primary.slot())
        self.report = replace(self.report, slot=found)


@asynccontextmanager
async def open_source_watch(settings: Settings, observer: Observer) -> AsyncIterator[SourceWatch]:
    """A watch of the source. It opens also while Kafka Connect and Postgres are away."""
    async with AsyncExitStack() as opened:
        connect = primary = None
        if settings.has("connect"):
            connect = await opened.enter_async_context(open_connect(settings.connect.url))
        if settings.has("postgres"):
            arguments = settings.postgres.reader_arguments()
            pool = open_pool(arguments, application="freshline lag", min_size=0, max_size=1, resets=False)
            primary = Primary(await opened.enter_async_context(pool), arguments, slot=settings.postgres.slot)
        yield SourceWatch(settings, observer, connect, primary)


@asynccontextmanager
async def _in_time(whom: str) -> AsyncIterator[None]:
    """Leave the block when there is no answer."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            yield
    except TimeoutError:
        _log.warning("not_answered", of=whom, error=f"no answer within {_TIMEOUT_S:g} s")
    except FreshlineError as error:
        _log.warning("not_answered", of=whom, error=str(error))
