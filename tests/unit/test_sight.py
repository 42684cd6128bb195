"""The sight rule, with a primary whose snapshots the test sets."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from consumers.sight import Sight
from infra.metrics import WorkerMetrics
from infra.postgres.moments import Moment, Primary
from infra.progress import Progress
from schemas.wal import Snapshot
from tests.unit.worker_parts import FakePrimary


class World:
    """A sight and what it looks at."""

    def __init__(self) -> None:
        self.primary = FakePrimary()
        self.progress = Progress()
        self.stopping = asyncio.Event()
        self.sight = Sight(cast("Primary", self.primary), WorkerMetrics(CollectorRegistry()), self.progress, "g")

    async def cover(self, xids: set[int], lsn: int) -> tuple[Moment, frozenset[int]] | None:
        """Ask it to."""
        return await self.sight.cover(xids, lsn, self.stopping)


async def test_what_is_below_a_known_snapshot_asks_nobody() -> None:
    world = World()
    await world.sight.refresh()
    covered = await world.cover({5, 999}, 1_000)
    assert covered == (world.primary.now, frozenset())
    assert world.primary.looks == 1


async def test_a_transaction_in_progress_is_waited_for_though_later_ones_are_visible() -> None:
    world = World()
    world.primary.now = Moment(Snapshot(1_000, (500,)), 1_000)
    waiting = asyncio.create_task(world.cover({500, 900}, 10))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    assert "visible" in world.progress.describe()
    world.primary.now = Moment(Snapshot(1_000), 1_000)
    assert await waiting == (world.primary.now, frozenset())


async def test_a_transaction_that_was_rolled_back_while_it_was_waited_for_is_impossible() -> None:
    world = World()
    world.primary.now = Moment(Snapshot(1_000, (500,)), 1_000)
    waiting = asyncio.create_task(world.cover({500}, 10))
    await asyncio.sleep(0.02)
    world.primary.gone = {500}
    world.primary.now = Moment(Snapshot(1_000), 1_000)
    assert await waiting == (world.primary.now, frozenset({500}))


async def test_a_transaction_of_the_future_is_impossible_and_the_others_are_still_waited_for() -> None:
    world = World()
    world.primary.now = Moment(Snapshot(1_000, (500,)), 1_000)
    world.primary.gone = {70_000}
    waiting = asyncio.create_task(world.cover({500, 70_000}, 10))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    world.primary.now = Moment(Snapshot(1_000), 1_000)
    assert await waiting == (world.primary.now, frozenset({70_000}))


async def test_a_position_beyond_the_log_is_looked_up_once_and_not_waited_for() -> None:
    world = World()
    await world.sight.refresh()
    covered = await world.cover(set(), 5_000)
    assert covered == (world.primary.now, frozenset())
    assert world.primary.looks == 2


async def test_whoever_is_to_stop_waits_no_longer() -> None:
    world = World()
    world.primary.now = Moment(Snapshot(1_000, (500,)), 1_000)
    waiting = asyncio.create_task(world.cover({500}, 10))
    await asyncio.sleep(0.01)
    world.stopping.set()
    assert await waiting is None


async def test_what_has_no_position_outlasts_the_transactions_of_its_time_and_no_later_ones() -> None:
    world = World()
    world.primary.now = Moment(Snapshot(1_000, (500, 600)), 1_000)
    waiting = asyncio.create_task(world.sight.outlast())
    await asyncio.sleep(0.02)
    world.primary.now = Moment(Snapshot(1_000, (600,)), 1_000)
    await asyncio.sleep(0.02)
    assert not waiting.done()
    world.primary.now = Moment(Snapshot(2_000, (1_500,)), 1_000)
    await waiting
    assert await world.sight.moment() == world.primary.now


async def test_a_transaction_that_runs_for_hours_is_not_outlasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.sight._LONGEST_OUTLASTING_S", 0.05)
    world = World()
    world.primary.now = Moment(Snapshot(1_000, (500,)), 1_000)
    await asyncio.wait_for(world.sight.outlast(), 5)
    assert world.primary.looks > 1
