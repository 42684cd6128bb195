"""The worker's loop, with stand-ins for all that it talks to."""

from __future__ import annotations

import asyncio
import time

import pytest

from consumers.failures import TABLE, Action, action_for, hint_for
from infra.postgres.moments import Moment
from infra.progress import Progress
from schemas.errors import FreshlineError, StoreUnavailableError
from schemas.wal import Snapshot
from tests.unit.hard_of_hearing import HardOfHearing
from tests.unit.worker_parts import Parts, record


async def test_a_stop_awaits_what_is_being_applied_then_commits_and_fetches_no_more() -> None:
    parts = Parts([record(offset) for offset in range(6)])
    parts.coherence.gate.clear()
    running = asyncio.create_task(parts.worker.run())
    await parts.until("fetch 2-3")
    parts.worker.stop()
    await asyncio.sleep(0.01)
    assert not running.done()
    parts.coherence.gate.set()
    await running
    fetched = [line for line in parts.told if line.startswith("fetch")]
    assert fetched == ["fetch 0-1", "fetch 2-3"]
    applied = parts.told.index(f"applied {parts.coherence.watermark}")
    assert parts.told[applied + 1 :] == [f"commit {parts.coherence.watermark}"]


async def test_records_are_fetched_and_read_while_others_are_being_applied_but_no_more_than_once() -> None:
    parts = Parts([record(offset) for offset in range(20)])
    parts.coherence.gate.clear()
    running = asyncio.create_task(parts.worker.run())
    await parts.until("fetch 2-3")
    await asyncio.sleep(0.05)
    assert parts.log.position == 4
    assert parts.coherence.watermark == 0
    parts.coherence.gate.set()
    await parts.until("applied 20")
    parts.worker.stop()
    await running
    assert [effect[1] for effect in parts.coherence.effects] == [f"tag:{offset}" for offset in range(20)]


async def test_the_next_records_are_not_read_before_redis_has_something_to_do() -> None:
    parts = Parts([record(offset) for offset in range(4)])
    parts.coherence.writable.clear()
    running = asyncio.create_task(parts.worker.run())
    await parts.until("apply 0")
    await asyncio.sleep(0.02)
    assert "fetch 2-3" not in parts.told
    parts.coherence.writable.set()
    await parts.until("applied 4")
    parts.worker.stop()
    await running


async def test_a_batch_whose_fate_nobody_knows_is_read_again_from_the_watermark() -> None:
    parts = Parts([record(offset) for offset in range(4)])
    parts.coherence.failing.append(StoreUnavailableError("away"))
    running = asyncio.create_task(parts.worker.run())
    await parts.until("applied 4")
    parts.worker.stop()
    await running
    assert [effect[1] for effect in parts.coherence.effects] == [f"tag:{offset}" for offset in range(4)]
    assert parts.count("freshline_store_away_total") == 1


async def test_a_refused_batch_is_read_again_from_the_stored_watermark() -> None:
    parts = Parts([record(offset) for offset in range(4)])
    running = asyncio.create_task(parts.worker.run())
    await parts.until("applied 4")
    parts.coherence.watermark = 3
    parts.log.records.append(record(4))
    await parts.until("applied 5")
    parts.worker.stop()
    await running
    tags = [effect[1] for effect in parts.coherence.effects]
    assert tags == ["tag:0", "tag:1", "tag:2", "tag:3", "tag:3", "tag:4"]
    assert parts.count("freshline_refused_batches_total") == 1


async def test_an_idle_worker_notices_that_its_watermark_was_lost_and_does_the_lost_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumers.upkeep._CHECK_EVERY_S", 0.01)
    parts = Parts([record(offset) for offset in range(4)])
    running = asyncio.create_task(parts.worker.run())
    await parts.until("applied 4")
    parts.told.clear()
    parts.coherence.watermark = 2
    await parts.until("applied 4")
    parts.worker.stop()
    await running
    assert [effect[1] for effect in parts.coherence.effects[4:]] == ["tag:2", "tag:3"]


async def test_what_nobody_can_read_is_dropped_only_when_the_transactions_of_its_time_have_ended() -> None:
    parts = Parts([record(0, key=None, value=None)])
    parts.primary.now = Moment(Snapshot(1_000, (500,)), 1_000)
    running = asyncio.create_task(parts.worker.run())
    await parts.until("fetch 0-0")
    parts.worker.stop()  # which is no reason to drop it earlier
    await asyncio.sleep(0.05)
    assert parts.coherence.effects == []
    parts.primary.now = Moment(Snapshot(1_001), 1_000)
    await running
    assert parts.coherence.effects == [("g", "dropped:0")]


async def test_an_unknown_error_stops_the_worker() -> None:
    parts = Parts([record(0)])
    parts.coherence.failing.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(parts.worker.run(), 5)


async def test_busy_time_is_counted_once_though_batches_overlap() -> None:
    parts = Parts([record(offset) for offset in range(40)])
    started = time.perf_counter()
    running = asyncio.create_task(parts.worker.run())
    for _ in range(10):
        parts.coherence.gate.clear()
        await asyncio.sleep(0.002)
        parts.coherence.gate.set()
        await asyncio.sleep(0)
    await parts.until("applied 40")
    elapsed = time.perf_counter() - started
    parts.worker.stop()
    await running
    assert 0 < parts.count("freshline_busy_seconds_total") <= elapsed
    assert parts.count("freshline_records_total", topic="va.public.users") == 40
    assert parts.count("freshline_effects_total", effect="dropped_tag") == 40


async def test_an_idle_worker_is_not_busy() -> None:
    parts = Parts([record(0)])
    running = asyncio.create_task(parts.worker.run())
    await parts.until("applied 1")
    busy = parts.count("freshline_busy_seconds_total")
    await asyncio.sleep(0.05)
    assert parts.count("freshline_busy_seconds_total") == busy
    parts.worker.stop()
    await running


def test_every_kind_of_failure_has_a_hint_and_the_unknown_stops() -> None:
    for kind, action, hint in TABLE:
        assert issubclass(kind, FreshlineError)
        assert action in {Action.RETRY, Action.DEAD_LETTER}
        assert hint.endswith(".")
    assert action_for(ZeroDivisionError()) is Action.STOP
    assert "stops" in hint_for(ZeroDivisionError())


def test_nothing_is_late_before_the_first_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(stuck_after_s=60)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 600)
    assert progress.is_alive
    progress.turned()
    monkeypatch.setattr(time, "monotonic", lambda: now + 661)
    assert not progress.is_alive


def test_a_worker_is_alive_while_it_waits_and_stuck_when_it_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    progress = Progress(stuck_after_s=60)
    assert (progress.is_alive, progress.is_ready, progress.describe()) == (True, False, "joining")
    progress.progressed()
    assert (progress.is_ready, progress.describe()) == (True, "ready")
    now += 59
    progress.turned()
    now += 2
    # It goes round, but has got nowhere for 61 s.
    assert (progress.is_alive, progress.is_ready, progress.describe()) == (False, False, "stuck")
    progress.waits("Redis")
    assert (progress.is_alive, progress.is_ready, progress.describe()) == (True, False, "waiting: Redis")
    progress.progressed()
    assert progress.is_ready


async def test_what_goes_on_beside_ends_with_the_worker_also_where_it_loses_a_cancellation() -> None:
    work = HardOfHearing(loses=2)
    parts = Parts([record(0)], beside=work)
    running = asyncio.create_task(parts.worker.run())
    await parts.until("applied 1")
    parts.worker.stop()
    async with asyncio.timeout(5):
        await running
    assert work.lost == 2
