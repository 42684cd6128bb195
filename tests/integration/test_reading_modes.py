"""Reading around the cache, beside it, and without a loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

import freshline
from freshline import Mode, SyncCache
from freshline.sync import SyncConnection
from infra.settings import PostgresSettings
from schemas.errors import KeyValueError, NotOpenError, StoreUnavailableError
from tests.integration.reading_ground import Ground, Opened, eventually, open_ground


@pytest.fixture
async def ground(database: PostgresSettings, empty_valkey: str) -> AsyncIterator[Ground]:
    async with open_ground(database, empty_valkey) as opened:
        yield opened


async def name_of(reader: Opened, number: int) -> Any:
    row = await reader.cache.get("users", number)
    return None if row is None else row["name"]


async def test_bypass_reads_the_database_alone_and_can_be_switched_at_any_time(ground: Ground) -> None:
    ann = await ground.new_user()
    async with ground.opened(mode="bypass") as reader:
        await reader.until_l1_serves()
        for name in ("Ann", "Anna"):
            await ground.rename(ann, name)
            assert await name_of(reader, ann) == name
            rows = await reader.cache.get_many("users", [ann, 999])
            assert [row and row["name"] for row in rows] == [name, None]
        assert await reader.cache.query("user:1:names", names) == ["Anna"]
        assert not await ground.redis.exists(ground.coherence.entry_key(f"user:{ann}"))
        assert reader.count("freshline_database_reads_total", reason="bypass") == 5
        reader.cache.mode = Mode.CACHED
        await name_of(reader, ann)
        assert await ground.redis.exists(ground.coherence.entry_key(f"user:{ann}"))


async def names(connection: asyncpg.Connection) -> list[str]:
    return [record["name"] for record in await connection.fetch("SELECT name FROM users ORDER BY id")]


async def test_a_process_in_bypass_still_invalidates_for_the_others(ground: Ground) -> None:
    ann = await ground.new_user()
    async with ground.opened() as cached, ground.opened(mode="bypass") as bypassing:
        await cached.until_l1_serves()
        await name_of(cached, ann)
        await ground.rename(ann, "Anna")
        token = await bypassing.cache.invalidate(f"user:{ann}")
        row = await cached.cache.get("users", ann, token=token)
        assert row is not None
        assert row["name"] == "Anna"


async def test_shadow_serves_the_database_and_counts_what_the_cache_would_have_said(ground: Ground) -> None:
    ann = await ground.new_user()
    async with ground.opened(mode="shadow") as reader:
        await reader.until_l1_serves()
        for _ in range(3):
            assert await name_of(reader, ann) == "Ann"
            assert await reader.cache.query("user:1:names", names) == ["Ann"]
        await reader.cache.get_many("users", [ann, 999])
        assert reader.count("freshline_shadow_reads_total", outcome="miss") == 3
        assert reader.count("freshline_shadow_reads_total", outcome="same") == 5


async def test_shadow_counts_a_late_event_as_late(ground: Ground) -> None:
    ann = await ground.new_user()
    async with ground.opened(mode="shadow") as reader:
        await reader.until_l1_serves()
        await name_of(reader, ann)
        place = await ground.rename(ann, "Anna")
        assert await name_of(reader, ann) == "Anna"
        await ground.apply_user(ann, place)
        await eventually(
            lambda: reader.count("freshline_shadow_reads_total", outcome="late") == 1, "it became the same"
        )
        assert reader.count("freshline_shadow_reads_total", outcome="different") == 0


async def test_shadow_counts_and_logs_a_copy_that_stays_different(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = await ground.new_user()
    async with ground.opened(mode="shadow") as reader:
        await name_of(reader, ann)
        await ground.rename(ann, "A secret name")  # and its event never comes
        assert await name_of(reader, ann) == "A secret name"
        await eventually(
            lambda: reader.count("freshline_shadow_reads_total", outcome="different") == 1, "it stays different"
        )
    said = capsys.readouterr()
    assert f"user:{ann}" in said.out + said.err
    assert "secret" not in said.out + said.err


async def test_shadow_keeps_serving_while_the_cache_fails(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await ground.new_user()

    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError("on purpose")

    async with ground.opened(mode="shadow") as reader:
        monkeypatch.setattr("freshline.rows.Rows.read", fail)
        assert await name_of(reader, ann) == "Ann"
        assert reader.count("freshline_shadow_reads_total", outcome="error") == 1


class User(msgspec.Struct):
    """Some columns of a user."""

    id: int
    name: str


def _sync_names(connection: SyncConnection) -> list[str]:
    assert connection.fetchval("SELECT 1") == 1
    assert connection.fetchrow("SELECT $1::int AS one", 1)["one"] == 1
    return [record["name"] for record in connection.fetch("SELECT name FROM users ORDER BY id")]


def _use_from_threads(cache: SyncCache, ann: int) -> None:
    assert cache.get("users", ann, type=User) == User(ann, "Ann")
    row = cache.get("users", ann)
    assert row is not None
    assert row["name"] == "Ann"
    assert cache.get_many("users", [ann, 999], type=User) == [User(ann, "Ann"), None]
    assert cache.get_many("users", [999]) == [None]
    assert cache.query(f"user:{ann}:names", _sync_names) == ["Ann"]
    assert cache.query(f"user:{ann}:names", _sync_names, type=list[str]) == ["Ann"]
    token = cache.invalidate(f"user:{ann}", f"user:{ann}:*")
    assert cache.get("users", ann, type=User, token=token) == User(ann, "Ann")
    with pytest.raises(KeyValueError):
        cache.get("users", "x")
    cache.mode = Mode.BYPASS
    assert cache.mode is Mode.BYPASS
    cache.mode = Mode.CACHED


async def test_the_same_methods_without_a_loop(ground: Ground) -> None:
    ann = await ground.new_user()
    registry = CollectorRegistry()

    def use() -> SyncCache:
        with freshline.open_sync(ground.settings, ground.catalog, registry=registry) as cache:
            threads = [threading.Thread(target=_use_from_threads, args=(cache, ann)) for _ in range(4)]
            _use_from_threads(cache, ann)
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return cache

    cache = await asyncio.to_thread(use)
    with pytest.raises(NotOpenError):
        cache.get("users", ann)
    assert "freshline" not in {thread.name for thread in threading.enumerate()}


async def test_a_synchronous_cache_that_cant_open_leaves_no_thread(ground: Ground) -> None:
    nowhere = ground.settings.model_copy(update={"postgres": PostgresSettings(host="127.0.0.1", port=1, password=None)})

    def use() -> None:
        with pytest.raises(StoreUnavailableError), freshline.open_sync(nowhere, ground.catalog):
            pass

    await asyncio.to_thread(use)
    assert "freshline" not in {thread.name for thread in threading.enumerate()}


async def test_an_error_of_the_caller_leaves_the_cache_as_it_is(ground: Ground) -> None:
    with pytest.raises(ZeroDivisionError):
        async with ground.opened():
            raise ZeroDivisionError
    assert len([task for task in asyncio.all_tasks() if "Notices" in repr(task)]) == 0
