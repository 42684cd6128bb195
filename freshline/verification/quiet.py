"""Quiet: every change that was committed before a moment has been applied by every group.

    database's position ▸ Debezium has confirmed it (so it is in Kafka) ▸ ends of the topics ▸ watermarks reach them

Nothing is written but Debezium's own heartbeat, so that it confirms soon also where nobody else writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import asyncpg
from redis.asyncio import Redis

from freshline.roles import CACHE_ROLES
from freshline.verification.distance import Distance
from infra.connect.configuration import HEARTBEAT_QUERY
from infra.kafka.browser import open_browser
from infra.postgres.pool import Connection, open_connection
from infra.postgres.slot import SlotRecord
from infra.redis.coherence import Coherence
from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.errors import FreshlineError
from schemas.wal import format_lsn

_CHECK_EVERY_S: Final = 0.1
QUIET_TIMEOUT_S: Final = 60.0


class NotQuietError(FreshlineError):
    """What was committed has not been applied in time."""


async def wait_until_quiet(
    settings: Settings,
    catalog: Catalog,
    *,
    roles: Sequence[str] = CACHE_ROLES,
    timeout_s: float = QUIET_TIMEOUT_S,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Return when the groups of these roles have applied everything that was committed before the call.

    Args:
        settings: where the stores are.
        catalog: the tables that are followed.
        roles: whose groups are waited for.
        timeout_s: how long, in seconds.
        tell: called with what it waits for, whenever that changes.

    Raises:
        NotQuietError: it took longer; says what was waited for.
        StoreUnavailableError: a store does not answer.
    """
    waiting = _Waiting(timeout_s, tell)
    async with (
        open_connection(settings.postgres.connect_arguments(), application="freshline verify") as connection,
        open_browser(settings.kafka.client_arguments()) as browser,
        Redis.from_url(**settings.redis.client_arguments()) as redis,
    ):
        await _confirmed(connection, settings.postgres.slot, waiting)
        distance = Distance(browser, Coherence(redis, settings.namespace), settings, catalog, roles)
        await distance.open()
        await _applied(distance, waiting)


class _Waiting:
    """Says what is waited for, and when it has been too long."""

    def __init__(self, timeout_s: float, tell: Callable[[str], None]) -> None:
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._tell = tell
        self._told = ""

    async def pause(self, what: str, detail: str) -> None:
        if self._told != what:
            self._told = what
            self._tell(what)
        if time.monotonic() > self._deadline:
            raise NotQuietError(
                f"After {self._timeout_s:g} s this is still waited for: {what} ({detail}). "
                "See that the connector (`freshline connector status`) and the workers (`freshline run`) are at work "
                "and that nobody writes any more."
            )
        await asyncio.sleep(_CHECK_EVERY_S)


async def _confirmed(connection: Connection, slot: str, waiting: _Waiting) -> None:
    target: int = await connection.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8")
    # Without the right to write it, Debezium's own heartbeat does it a little later.
    with suppress(asyncpg.PostgresError):
        await connection.execute(HEARTBEAT_QUERY)
    record = SlotRecord(connection, slot)
    while True:
        found = await record.find()
        reached = found.confirmed_flush_lsn if found is not None else None
        if reached is not None and reached >= target:
            return
        detail = f"slot {slot!r} does not exist" if reached is None else f"it is at {format_lsn(reached)}"
        await waiting.pause(f"Debezium to confirm {format_lsn(target)}", detail)


async def _applied(distance: Distance, waiting: _Waiting) -> None:
    """Wait for each group to have applied what its topics hold now."""
    ends = await distance.ends()
    while behind := {group: lag for group, lag in (await distance.behind(ends)).items() if lag}:
        group, lag = next(iter(behind.items()))
        detail = f"{sum(lag.values())} records of {', '.join(list(lag)[:3])}"
        await waiting.pause(f"group {group} to apply what is in Kafka", detail)
