"""Reads while Redis is away, and when it is back: nothing stale is served, and Postgres is not overrun."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from freshline.tiers import Timing
from infra.local.valkey import ValkeyService
from infra.postgres.rows import RowSource, RowsRead
from infra.settings import PostgresSettings
from schemas.catalog import Table
from schemas.errors import OverloadedError, StoreUnavailableError
from tests.integration.reading_ground import Ground, Opened, eventually, open_ground


@pytest.fixture
async def ground(database: PostgresSettings, empty_valkey: str) -> AsyncIterator[Ground]:
    async with open_ground(database, empty_valkey) as opened:
        yield opened


@pytest.fixture
async def running_valkey(valkey_service: ValkeyService) -> AsyncIterator[ValkeyService]:
    """The test's Valkey, to be killed: it runs again afterwards."""
    yield valkey_service
    await valkey_service.start()


@pytest.fixture
def stopped_valkey(valkey_service: ValkeyService) -> Iterator[int]:
    """The process of the test's Valkey, to be stopped (SIGSTOP): it goes on afterwards."""
    pid = valkey_service.pid
    assert pid is not None
    yield pid
    os.kill(pid, signal.SIGCONT)


async def name_of(reader: Opened, number: int) -> Any:
    row = await reader.cache.get("users", number)
    return None if row is None else row["name"]


async def _is(reader: Opened, number: int, name: str) -> bool:
    return bool(await name_of(reader, number) == name)


async def test_redis_goes_and_comes_back_empty(ground: Ground, running_valkey: ValkeyService) -> None:
    ann = await ground.new_user()
    async with ground.opened() as reader:
        await reader.until_l1_serves()
        await name_of(reader, ann)
        assert reader.cache.l1.get(f"user:{ann}") is not None
        await running_valkey.kill()
        await eventually(lambda: not len(reader.cache.l1), "memory is emptied")
        await ground.rename(ann, "Anna")
        for _ in range(5):
            assert await name_of(reader, ann) == "Anna"
        assert reader.count("freshline_database_reads_total", reason="redis_away") == 5
        assert reader.count("freshline_reader_redis_away") == 1
        token = await reader.cache.invalidate(f"user:{ann}")
        assert token.lsn
        assert reader.count("freshline_invalidations_total", outcome="redis_away") == 1
        await running_valkey.start()
        await ground.begin_epoch()
        await reader.until_l1_serves()
        await eventually(lambda: _kept(reader, ann), "reads are cached again")
        assert reader.count("freshline_reader_redis_away") == 0
        assert reader.count("freshline_l1_cleared_total", reason="connection") >= 1
        assert await name_of(reader, ann) == "Anna"


async def _kept(reader: Opened, number: int) -> bool:
    await name_of(reader, number)
    return reader.cache.l1.get(f"user:{number}") is not None


async def test_a_redis_that_hangs_costs_a_timeout_now_and_then(ground: Ground, stopped_valkey: int) -> None:
    ann = await ground.new_user()
    async with ground.opened(redis_timeout_s=0.2) as reader:
        await reader.until_l1_serves()
        await name_of(reader, ann)
        os.kill(stopped_valkey, signal.SIGSTOP)
        # Nothing is heard any more: after three seconds memory serves nothing.
        await eventually(lambda: not reader.cache.l1.is_serving, "silence is noticed")
        await ground.rename(ann, "Anna")
        started = time.monotonic()
        for _ in range(100):
            assert await name_of(reader, ann) == "Anna"
        # One timeout a second at most, of 0.2 seconds, not one for each read.
        assert time.monotonic() - started < 10
        os.kill(stopped_valkey, signal.SIGCONT)
        await reader.until_l1_serves()
        await ground.apply_user(ann, (await ground.lsn(), 0))
        await eventually(partial(_is, reader, ann, "Anna"), "Redis is used again")


async def test_no_heartbeat_means_that_nothing_is_served_from_memory(ground: Ground) -> None:
    ann = await ground.new_user()
    async with ground.opened() as reader:
        await reader.until_l1_serves()
        await name_of(reader, ann)
        ground.beats.clear()
        await eventually(lambda: not reader.cache.l1.is_serving, "silence is noticed")
        assert reader.cache.l1.get(f"user:{ann}") is None
        ground.beats.set()
        await reader.until_l1_serves()
        assert reader.cache.l1.get(f"user:{ann}") is None
        assert reader.count("freshline_l1_cleared_total", reason="silence") >= 1


async def test_a_lost_subscription_empties_memory_and_another_one_is_made(ground: Ground) -> None:
    ann = await ground.new_user()
    async with ground.opened() as reader:
        await reader.until_l1_serves()
        await name_of(reader, ann)
        await ground.redis.client_kill_filter(_type="pubsub", skipme=True)
        await eventually(lambda: not len(reader.cache.l1), "memory is emptied")
        await reader.until_l1_serves()
        assert await name_of(reader, ann) == "Ann"
        assert reader.count("freshline_database_reads_total") == 1


async def test_commands_that_reach_another_server_end_the_subscription(ground: Ground) -> None:
    """A restart that only the commands noticed yet: what they read must not be kept by what the old server tells."""
    ann = await ground.new_user()
    async with ground.opened() as reader:
        await reader.until_l1_serves()
        await name_of(reader, ann)
        subscription = reader.cache._notices._subscription
        assert subscription is not None
        subscription.incarnation = "of a server that is gone"
        await ground.redis.client_kill_filter(_type="normal", skipme=True)
        await reader.cache.get("users", 999_999)
        assert reader.count("freshline_l1_cleared_total", reason="incarnation") == 1
        await reader.until_l1_serves()
        assert await name_of(reader, ann) == "Ann"


async def test_postgres_is_asked_by_a_few_at_a_time_and_others_get_a_clear_error(
    ground: Ground, running_valkey: ValkeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [await ground.new_user(f"User {number}") for number in range(8)]
    at_once, most = 0, 0
    go_on = asyncio.Event()
    read = RowSource.read

    async def slow(source: RowSource, table: Table, keys: Any) -> RowsRead:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await go_on.wait()
        try:
            return await read(source, table, keys)
        finally:
            at_once -= 1

    async with ground.opened(database_limit=2, database_wait_s=0.3) as reader:
        await running_valkey.kill()
        monkeypatch.setattr(RowSource, "read", slow)
        reads = [asyncio.create_task(name_of(reader, user)) for user in users]
        await eventually(lambda: sum(task.done() for task in reads) == 6, "six of eight waited too long")
        go_on.set()
        found = await asyncio.gather(*reads, return_exceptions=True)
    assert most == 2
    assert sum(isinstance(each, OverloadedError) for each in found) == 6
    assert sum(isinstance(each, str) for each in found) == 2


async def test_a_cache_opens_while_redis_is_away(ground: Ground, running_valkey: ValkeyService) -> None:
    ann = await ground.new_user()
    await running_valkey.kill()
    async with ground.opened() as reader:
        assert await name_of(reader, ann) == "Ann"

        async def names(connection: Any) -> list[str]:
            return [record["name"] for record in await connection.fetch("SELECT name FROM users")]

        assert await reader.cache.query("user:1:names", names) == ["Ann"]
        rows = await reader.cache.get_many("users", [ann, 999])
        assert [row and row["name"] for row in rows] == ["Ann", None]


async def test_hits_are_served_while_postgres_is_away(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await ground.new_user()
    async with ground.opened() as one, ground.opened(timing=Timing(row_lease_s=0.1)) as two:
        await one.until_l1_serves()
        await name_of(one, ann)

        async def away(*_: object) -> RowsRead:
            raise StoreUnavailableError("Postgres is away")

        monkeypatch.setattr(RowSource, "read", away)
        assert await name_of(one, ann) == "Ann"
        assert await name_of(two, ann) == "Ann"
        with pytest.raises(StoreUnavailableError, match="Postgres is away"):
            await name_of(two, 999_999)


async def test_a_malformed_notice_ends_the_subscription_and_nothing_else(ground: Ground) -> None:
    ann = await ground.new_user()
    async with ground.opened() as reader:
        await reader.until_l1_serves()
        await name_of(reader, ann)
        for number, payload in enumerate((b"\xc1", b"", b"\x92\x01\x02")):
            await ground.redis.publish(ground.coherence.channel, payload)
            await eventually(partial(_was_cleared, reader, number + 1), "memory is emptied")
            await reader.until_l1_serves()
        assert await name_of(reader, ann) == "Ann"


def _was_cleared(reader: Opened, times: int) -> bool:
    return reader.count("freshline_l1_cleared_total", reason="malformed") == times


async def test_a_user_who_may_not_ask_for_the_incarnation_reads_without_memory(ground: Ground) -> None:
    ann = await ground.new_user()
    await ground.redis.acl_setuser(
        "limited", enabled=True, passwords="+secret", keys=["*"], channels=["*"], commands=["+@all", "-info"]
    )
    limited = ground.settings.redis.model_copy(update={"username": "limited", "password": SecretStr("secret")})
    ground.settings = ground.settings.model_copy(update={"redis": limited})
    async with ground.opened() as reader:
        for _ in range(3):
            assert await name_of(reader, ann) == "Ann"
        assert reader.count("cache_hits_total", tier="l2") == 2
        assert not reader.cache.l1.is_serving
    await ground.redis.acl_deluser("limited")
