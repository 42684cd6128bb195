"""Cached queries and their tags, on real servers."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import msgspec
import pytest

from freshline.queries import ResultError, Run
from freshline.tiers import Timing
from freshline.values import ShapeError
from infra.redis import effects
from infra.settings import PostgresSettings
from schemas.errors import PatternError
from tests.integration.reading_ground import Ground, Opened, eventually, open_ground


@pytest.fixture
async def ground(database: PostgresSettings, empty_valkey: str) -> AsyncIterator[Ground]:
    async with open_ground(database, empty_valkey) as opened:
        yield opened


@pytest.fixture
async def reader(ground: Ground) -> AsyncIterator[Opened]:
    async with ground.opened() as opened:
        await opened.until_l1_serves()
        yield opened


class Titles:
    """The query "titles of a user's conversations"; counts how often it ran."""

    def __init__(self, user: int) -> None:
        self.user = user
        self.runs = 0
        self.has_run = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    @property
    def key(self) -> str:
        """Its key."""
        return f"user:{self.user}:titles"

    async def __call__(self, connection: asyncpg.Connection) -> list[str]:
        """Run it."""
        self.runs += 1
        found = await connection.fetch("SELECT title FROM conversations WHERE user_id = $1 ORDER BY id", self.user)
        self.has_run.set()
        await self.go_on.wait()
        return [record["title"] for record in found]


async def start_conversation(ground: Ground, user: int, title: str) -> None:
    await ground.change("INSERT INTO conversations (user_id, title) VALUES ($1, $2)", user, title)


async def test_a_query_runs_once_until_its_tag_is_dropped(ground: Ground, reader: Opened) -> None:
    titles = Titles(await ground.new_user())
    await start_conversation(ground, titles.user, "one")
    async with ground.opened() as other:
        for each in (reader, reader, other):
            assert await each.cache.query(titles.key, titles) == ["one"]
        assert titles.runs == 1
        assert reader.count("cache_hits_total", tier="l1") == 1
        await start_conversation(ground, titles.user, "two")
        await ground.apply(effects.drop_tag(f"user:{titles.user}"))
        for each in (reader, other):
            await eventually(partial(_gives, each, titles, ["one", "two"]), "the tag's drop arrived")
    assert titles.runs == 2


async def _gives(reader: Opened, titles: Titles, result: list[str]) -> bool:
    return bool(await reader.cache.query(titles.key, titles) == result)


@pytest.mark.parametrize("dropped", ["user:{user}", "conversation:7", "user:*", "conversation:*"])
async def test_any_of_its_tags_and_their_families_drops_it(ground: Ground, reader: Opened, dropped: str) -> None:
    titles = Titles(await ground.new_user())
    query = partial(reader.cache.query, titles.key, titles, tags=["conversation:7"])
    await query()
    await ground.apply(effects.drop_tag("user:999"), effects.drop_tag("conversation:8"))
    await query()
    assert titles.runs == 1
    await ground.apply(effects.drop_tag(dropped.format(user=titles.user)))

    async def has_run_again() -> bool:
        await query()
        return titles.runs == 2

    await eventually(has_run_again, "the drop arrived")


async def test_a_drop_between_lease_and_fill_refuses_the_result(ground: Ground, reader: Opened) -> None:
    titles = Titles(await ground.new_user())
    titles.go_on.clear()
    running = asyncio.create_task(reader.cache.query(titles.key, titles))
    await titles.has_run.wait()
    await start_conversation(ground, titles.user, "one")
    await ground.apply(effects.drop_tag(f"user:{titles.user}"))
    # Another query makes the tag anew meanwhile.
    await reader.cache.query(f"user:{titles.user}:other", Titles(titles.user))
    titles.go_on.set()
    assert await running == []
    assert reader.count("freshline_fills_total", outcome="refused") == 1
    assert await reader.cache.query(titles.key, titles) == ["one"]


async def test_a_refused_result_gives_its_lease_back(ground: Ground, reader: Opened) -> None:
    titles = Titles(await ground.new_user())
    titles.go_on.clear()
    running = asyncio.create_task(reader.cache.query(titles.key, titles))
    await titles.has_run.wait()
    await ground.apply(effects.drop_tag(f"user:{titles.user}"))
    titles.go_on.set()
    await running
    assert not await ground.redis.exists(ground.coherence.entry_key(titles.key))


async def test_a_tag_that_was_lost_meanwhile_refuses_the_result(ground: Ground, reader: Opened) -> None:
    titles = Titles(await ground.new_user())
    titles.go_on.clear()
    running = asyncio.create_task(reader.cache.query(titles.key, titles))
    await titles.has_run.wait()
    await ground.redis.delete(ground.coherence.tag_key(f"user:{titles.user}"))
    titles.go_on.set()
    await running
    assert reader.count("freshline_fills_total", outcome="refused") == 1
    assert not await ground.redis.exists(ground.coherence.tag_key(f"user:{titles.user}"))


async def test_a_hundred_misses_run_a_query_once(ground: Ground) -> None:
    titles = Titles(await ground.new_user())
    async with ground.opened() as one, ground.opened() as two:
        found = await asyncio.gather(
            *(reader.cache.query(titles.key, titles) for _ in range(50) for reader in (one, two))
        )
    assert found == [[]] * 100
    assert titles.runs == 1


async def test_whoever_waited_too_long_runs_the_query_himself(ground: Ground) -> None:
    titles = Titles(await ground.new_user())
    titles.go_on.clear()
    async with ground.opened(timing=Timing(query_lease_s=60)) as one:
        async with ground.opened(timing=Timing(query_lease_s=0.1)) as two:
            running = asyncio.create_task(one.cache.query(titles.key, titles))
            await titles.has_run.wait()
            own = Titles(titles.user)
            assert await two.cache.query(titles.key, own) == []
            assert two.count("freshline_database_reads_total", reason="held") == 1
        titles.go_on.set()
        await running


async def test_a_query_that_fails_gives_its_lease_back(ground: Ground, reader: Opened) -> None:
    titles = Titles(await ground.new_user())

    async def fail(connection: asyncpg.Connection) -> None:
        await connection.fetch("SELECT 1 / 0")

    for _ in range(2):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await reader.cache.query(titles.key, fail)
    async with asyncio.timeout(5):
        assert await reader.cache.query(titles.key, titles) == []


async def test_a_result_over_the_limit_is_returned_and_not_cached(ground: Ground) -> None:
    user = await ground.new_user()
    runs = 0

    async def run(_: asyncpg.Connection) -> str:
        nonlocal runs
        runs += 1
        return "x" * 1000

    async with ground.opened(query_limit_bytes=500) as reader:
        await reader.until_l1_serves()
        async with asyncio.timeout(5):
            for _ in range(3):
                assert await reader.cache.query(f"user:{user}:large", run) == "x" * 1000
        assert runs == 3
        assert reader.count("freshline_fills_total", outcome="too_large") == 3


async def test_own_writes_are_in_the_result_that_presents_the_token(ground: Ground, reader: Opened) -> None:
    titles = Titles(await ground.new_user())
    await reader.cache.query(titles.key, titles)
    await start_conversation(ground, titles.user, "one")
    token = await reader.cache.invalidate("user:999:*")  # says nothing of this result
    assert await reader.cache.query(titles.key, titles) == []
    assert await reader.cache.query(titles.key, titles, token=token) == ["one"]
    assert await reader.cache.query(titles.key, titles) == ["one"]


async def test_invalidating_a_pattern_drops_everything_under_the_tag_at_once(ground: Ground, reader: Opened) -> None:
    titles = Titles(await ground.new_user())
    for number in range(10):
        await start_conversation(ground, titles.user, f"{number}")
        await reader.cache.invalidate(f"user:{titles.user}:*")
        assert len(await reader.cache.query(titles.key, titles)) == number + 1


async def test_the_whole_result_is_of_one_moment(ground: Ground, reader: Opened) -> None:
    user = await ground.new_user()
    titles = Titles(user)

    async def twice(connection: asyncpg.Connection) -> list[list[str]]:
        first = await titles(connection)
        await start_conversation(ground, user, "in between")
        return [first, await titles(connection)]

    assert await reader.cache.query(f"user:{user}:twice", twice) == [[], []]


async def test_a_query_cant_write(reader: Opened) -> None:
    async def write(connection: asyncpg.Connection) -> None:
        await connection.execute("DELETE FROM conversations")

    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reader.cache.query("user:1:write", write)


class Conversation(msgspec.Struct):
    """Some columns of a conversation."""

    id: int
    title: str
    created_at: dt.datetime


async def test_a_result_becomes_the_callers_type(ground: Ground, reader: Opened) -> None:
    user = await ground.new_user()
    await start_conversation(ground, user, "one")

    async def run(connection: asyncpg.Connection) -> list[asyncpg.Record]:
        return await connection.fetch("SELECT id, title, created_at FROM conversations WHERE user_id = $1", user)

    for _ in range(2):
        (found,) = await reader.cache.query(f"user:{user}:conversations", run, type=list[Conversation])
        assert (found.title, found.created_at.tzinfo) == ("one", dt.UTC)
    with pytest.raises(ShapeError):
        await reader.cache.query(f"user:{user}:conversations", run, type=int)


async def test_a_result_that_is_no_json_is_refused_by_name(reader: Opened) -> None:
    async def run(_: asyncpg.Connection) -> object:
        return object()

    with pytest.raises(ResultError, match=r"query 'user:1:thing' can't be cached"):
        await reader.cache.query("user:1:thing", run)


async def test_another_version_of_the_result_is_a_miss(ground: Ground, reader: Opened) -> None:
    titles = Titles(await ground.new_user())
    await reader.cache.query(titles.key, titles)
    await reader.cache.query(titles.key, titles, version="2")
    assert titles.runs == 2


async def test_memory_does_not_make_a_result_live_longer(ground: Ground) -> None:
    titles = Titles(await ground.new_user())
    async with ground.opened() as one:
        await one.cache.query(titles.key, titles, ttl_s=1)
        async with ground.opened() as two:
            await two.until_l1_serves()

            async def has_run_again() -> bool:
                await two.cache.query(titles.key, titles, ttl_s=1)
                return titles.runs == 2

            await eventually(has_run_again, "the result ended", timeout_s=10)


async def nothing(_: asyncpg.Connection) -> Any:
    raise AssertionError("it must not run")


NOTHING: Run = nothing


@pytest.mark.parametrize(
    ("key", "tags"),
    [
        ("dashboard", []),
        ("nothing:1:list", []),
        ("user:42", []),
        ("user:042:list", []),
        ("user:*:list", []),
        ("user:42:list*", []),
        ("user:42:list", ["nothing:1"]),
        ("user:42:list", ["user:*"]),
        ("user:42:list", ["conversation"]),
        ("user:x:list", []),
    ],
)
async def test_a_query_without_declared_tags_is_refused(reader: Opened, key: str, tags: list[str]) -> None:
    with pytest.raises(PatternError):
        await reader.cache.query(key, NOTHING, tags=tags)
