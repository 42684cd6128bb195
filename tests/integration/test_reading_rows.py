"""Reading rows through L1, L2 and Postgres, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest

from freshline.tiers import Timing
from freshline.values import ShapeError
from infra.postgres.rows import RowSource, RowsRead
from infra.redis import effects
from infra.redis.coherence import Coherence, Held, Leased
from infra.settings import PostgresSettings
from schemas.catalog import Table
from schemas.errors import CatalogError, KeyValueError, NotOpenError, PatternError
from schemas.token import WriteToken
from schemas.voiceassist import USERS
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


async def name_of(reader: Opened, number: int, token: WriteToken | None = None) -> Any:
    row = await reader.cache.get("users", number, token=token)
    return None if row is None else row["name"]


async def test_a_row_is_read_once_and_then_comes_from_memory(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    for _ in range(3):
        assert await name_of(reader, ann) == "Ann"
    assert reader.count("freshline_database_reads_total") == 1
    assert reader.count("cache_hits_total", tier="l1") == 2


async def test_another_process_reads_the_entry(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await name_of(reader, ann)
    async with ground.opened() as other:
        assert await name_of(other, ann) == "Ann"
        assert other.count("freshline_database_reads_total") == 0
        assert other.count("cache_hits_total", tier="l2") == 1


async def test_only_cached_columns_are_returned_and_json_is_parsed(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await ground.database.execute("""UPDATE users SET preferences = '{"theme": ["dark"]}'""")
    row = await reader.cache.get("users", ann)
    assert row is not None
    assert "password_hash" not in row
    assert row["preferences"] == {"theme": ["dark"]}
    row["preferences"]["theme"] = "changed by the caller"
    again = await reader.cache.get("users", ann)
    assert again is not None
    assert again["preferences"] == {"theme": ["dark"]}


async def test_a_row_becomes_the_callers_type(ground: Ground, reader: Opened) -> None:
    class User(msgspec.Struct):
        id: int
        name: str
        preferences: dict[str, Any]

    class Other(msgspec.Struct):
        surname: str

    ann = await ground.new_user()
    assert await reader.cache.get("users", ann, type=User) == User(ann, "Ann", {})
    with pytest.raises(ShapeError, match=r"A row of public\.users does not fit"):
        await reader.cache.get("users", ann, type=Other)


async def test_an_absent_row_is_remembered_until_it_is_made(ground: Ground, reader: Opened) -> None:
    assert await name_of(reader, 7) is None
    assert await name_of(reader, 7) is None
    assert reader.count("freshline_database_reads_total") == 1
    place = await ground.change("INSERT INTO users (id, email, name, password_hash) VALUES (7, 'b', 'Bob', 'x')")
    await ground.apply_user(7, place)
    await eventually(lambda: name_of(reader, 7), "the new row is seen")


async def test_a_key_may_be_given_as_its_digits_but_not_otherwise(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    row = await reader.cache.get("public.users", str(ann))
    assert row is not None
    for wrong in ("007", "x", 1.5, None):
        with pytest.raises(KeyValueError):
            await reader.cache.get("users", wrong)
    with pytest.raises(KeyValueError, match="2 values were given"):
        await reader.cache.get("users", 1, 2)
    with pytest.raises(CatalogError, match="no table 'nothing'"):
        await reader.cache.get("nothing", 1)
    with pytest.raises(CatalogError, match="not cached one by one"):
        await reader.cache.get("messages", 1)


async def test_an_event_reaches_the_memory_of_every_process(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    async with ground.opened() as other:
        await other.until_l1_serves()
        await name_of(reader, ann)
        await name_of(other, ann)
        await ground.apply_user(ann, await ground.rename(ann, "Anna"))
        for each in (reader, other):
            await eventually(partial(_is, each, ann, "Anna"), "the event arrived")
        assert reader.count("freshline_database_reads_total") + other.count("freshline_database_reads_total") == 1


async def _is(reader: Opened, number: int, name: str | None) -> bool:
    return bool(await name_of(reader, number) == name)


async def test_a_hundred_misses_are_one_read_of_the_database(ground: Ground) -> None:
    ann = await ground.new_user()
    timing = Timing(row_wait_s=10, row_lease_s=10)
    async with ground.opened(timing=timing) as one, ground.opened(timing=timing) as two:
        names = await asyncio.gather(*(name_of(reader, ann) for _ in range(50) for reader in (one, two)))
        assert names == ["Ann"] * 100
        assert one.count("freshline_database_reads_total") + two.count("freshline_database_reads_total") == 1


class Slow:
    """Holds reads of the database up, once they have read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_read = asyncio.Event()
        self.go_on = asyncio.Event()
        read = RowSource.read

        async def slow(source: RowSource, table: Table, keys: Any) -> RowsRead:
            found = await read(source, table, keys)
            self.has_read.set()
            await self.go_on.wait()
            return found

        monkeypatch.setattr(RowSource, "read", slow)
        self.undo = monkeypatch.undo


async def test_a_fill_that_an_event_overtook_is_refused(
    ground: Ground, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await ground.new_user()
    slow = Slow(monkeypatch)
    reading = asyncio.create_task(name_of(reader, ann))
    await slow.has_read.wait()
    place = await ground.rename(ann, "Anna")
    slow.undo()
    await ground.apply(effects.uncacheable(f"user:{ann}", "public.users", *place))
    slow.go_on.set()
    assert await reading == "Ann"
    assert reader.count("freshline_fills_total", outcome="refused") == 1
    assert await name_of(reader, ann) == "Anna"


async def test_what_was_returned_past_a_refused_fill_is_what_the_next_hit_gives(
    ground: Ground, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await ground.new_user()
    place = await ground.rename(ann, "Anna")
    earlier = await ground.row_effect(USERS, f"user:{ann}", place, str(ann))
    await ground.rename(ann, "Annabel")
    slow = Slow(monkeypatch)
    reading = asyncio.create_task(name_of(reader, ann))
    await slow.has_read.wait()
    slow.undo()
    await ground.apply(earlier)  # takes the lease's place with an older value than was read
    slow.go_on.set()
    assert await reading == "Annabel"
    assert reader.count("freshline_fills_total", outcome="refused") == 1
    async with ground.opened() as other:
        assert await name_of(other, ann) == "Annabel"
        assert other.count("cache_hits_total", tier="l2") == 1


async def test_what_an_event_overtook_is_not_kept_in_memory(
    ground: Ground, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await ground.new_user()
    slow = Slow(monkeypatch)
    reading = asyncio.create_task(name_of(reader, ann))
    await slow.has_read.wait()
    slow.undo()
    await ground.apply_user(ann, await ground.rename(ann, "Anna"))
    slow.go_on.set()
    await reading
    assert await name_of(reader, ann) == "Anna"


async def test_whoever_finds_the_lease_held_reads_past_it_and_later_hits_are_not_older(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await ground.new_user()
    slow = Slow(monkeypatch)
    async with ground.opened() as filler, ground.opened(timing=Timing(row_wait_s=0.02)) as passer:
        filling = asyncio.create_task(name_of(filler, ann))
        await slow.has_read.wait()
        slow.undo()
        # Committed, but its event is not here yet: whoever goes past sees it.
        await ground.rename(ann, "Anna")
        assert await name_of(passer, ann) == "Anna"
        assert passer.count("freshline_database_reads_total", reason="held") == 1
        slow.go_on.set()
        assert await filling == "Ann"
        assert filler.count("freshline_fills_total", outcome="refused") == 1
        async with ground.opened() as third:
            assert await name_of(third, ann) == "Anna"


async def test_a_token_is_stronger_than_every_cache(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await name_of(reader, ann)
    await ground.rename(ann, "Anna")
    assert await name_of(reader, ann) == "Ann"  # its event is not here yet
    token = await reader.cache.invalidate("user:999999")  # says nothing of this row
    assert await name_of(reader, ann, token) == "Anna"
    assert await name_of(reader, ann) == "Anna"
    assert WriteToken.parse(str(token)) == token


async def test_own_writes_are_read_after_redis_lost_everything(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await name_of(reader, ann)
    old = await ground.redis.get(ground.coherence.entry_key(f"user:{ann}"))
    assert old is not None
    state: Any = await ground.redis.hgetall(ground.coherence.state_key)
    await ground.rename(ann, "Anna")
    token = await reader.cache.invalidate(f"user:{ann}")
    assert await name_of(reader, ann, token) == "Anna"
    # A replica that never got the invalidation takes over.
    await ground.redis.flushall()
    await ground.redis.hset(ground.coherence.state_key, mapping=state)
    await ground.redis.set(ground.coherence.entry_key(f"user:{ann}"), old)
    async with ground.opened() as other:
        assert await name_of(other, ann, token) == "Anna"
        assert await name_of(other, ann) == "Anna"


async def test_invalidating_takes_effect_at_once_in_ones_own_process(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    for number in range(20):
        assert await name_of(reader, ann) is not None
        await ground.rename(ann, f"Ann {number}")
        await reader.cache.invalidate(f"user:{ann}")
        assert await name_of(reader, ann) == f"Ann {number}"


async def test_a_family_pattern_makes_every_row_of_it_stale(ground: Ground, reader: Opened) -> None:
    users = [await ground.new_user(name) for name in ("Ann", "Bob")]
    for user in users:
        await name_of(reader, user)
    await ground.database.execute("UPDATE users SET name = 'changed'")
    await reader.cache.invalidate("user:*")
    assert [await name_of(reader, user) for user in users] == ["changed", "changed"]


@pytest.mark.parametrize(
    "name", ["user:4*", "*", "user:4?", "nothing:*", "nothing:1", "message:1", "user:042:*", "user"]
)
async def test_a_name_that_covers_nothing_declared_is_refused(reader: Opened, name: str) -> None:
    with pytest.raises(PatternError):
        await reader.cache.invalidate(name)


async def test_truncate_refuses_fills_that_do_not_see_it(
    ground: Ground, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await ground.new_user()
    bob = await ground.new_user("Bob")
    assert await name_of(reader, bob) == "Bob"
    slow = Slow(monkeypatch)
    reading = asyncio.create_task(name_of(reader, ann))
    await slow.has_read.wait()
    slow.undo()
    lsn, _ = await ground.change("TRUNCATE users CASCADE")
    await ground.apply(effects.table_changed("public.users", lsn), effects.notice("user:*"))
    slow.go_on.set()
    assert await reading == "Ann"
    assert reader.count("freshline_fills_total", outcome="refused") == 1
    for user in (ann, bob):
        await eventually(partial(_is, reader, user, None), "the table is empty")


async def test_many_rows_come_in_the_order_of_their_keys(ground: Ground, reader: Opened) -> None:
    users = [await ground.new_user(f"User {number}") for number in range(6)]
    await reader.cache.get("users", users[0])
    async with ground.opened() as other:
        await other.cache.get("users", users[1])
    wanted = [users[3], users[0], 999_999, users[1], users[5], users[3]]
    rows = await reader.cache.get_many("users", wanted)
    assert [row and row["id"] for row in rows] == [users[3], users[0], None, users[1], users[5], users[3]]
    assert reader.count("freshline_database_reads_total") == 2
    await reader.cache.get_many("users", wanted)
    assert reader.count("freshline_database_reads_total") == 2
    assert await reader.cache.get_many("users", []) == []


async def test_two_batches_that_meet_read_each_row_once(ground: Ground) -> None:
    users = [await ground.new_user(f"User {number}") for number in range(20)]
    timing = Timing(row_wait_s=10)
    async with ground.opened(timing=timing) as one, ground.opened(timing=timing) as two:
        found = await asyncio.gather(
            one.cache.get_many("users", users[:15]),
            two.cache.get_many("users", users[5:]),
            one.cache.get_many("users", users),
        )
    assert [[row and row["id"] for row in rows] for rows in found] == [users[:15], users[5:], users]


async def test_a_row_over_the_limit_is_read_each_time_and_nobody_waits_for_it(ground: Ground) -> None:
    ann = await ground.new_user()
    document: int = await ground.database.fetchval(
        "INSERT INTO documents (uploaded_by, title, content) VALUES ($1, 't', repeat('x', 100000)) RETURNING id", ann
    )
    async with ground.opened(timing=Timing(row_wait_s=30, row_lease_s=30)) as reader:
        await reader.until_l1_serves()
        for _ in range(3):
            row = await reader.cache.get("documents", document)
            assert row is not None
            assert len(row["content"]) == 100_000
        assert reader.count("freshline_database_reads_total") == 3
        async with ground.opened(timing=Timing(row_wait_s=30, row_lease_s=30)) as other:
            assert await other.cache.get("documents", document) == row
        await ground.database.execute("UPDATE documents SET content = 'short'")
        await reader.cache.invalidate(f"document:{document}")
        await reader.cache.get("documents", document)
        await reader.cache.get("documents", document)
        row = await reader.cache.get("documents", document)
        assert row is not None
        assert row["content"] == "short"
        assert reader.count("cache_hits_total", tier="l1") >= 1


async def test_a_lease_of_someone_who_died_is_taken_over(ground: Ground) -> None:
    ann = await ground.new_user()
    leased = await ground.coherence.lease(f"user:{ann}", USERS, token="t", lease_ms=100)
    assert isinstance(leased, Leased)
    async with ground.opened(timing=Timing(row_wait_s=20)) as reader:
        assert await name_of(reader, ann) == "Ann"
        assert reader.count("freshline_fills_total", outcome="stored") == 1


async def test_a_cancelled_read_leaves_no_one_waiting_for_ever(
    ground: Ground, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await ground.new_user()
    slow = Slow(monkeypatch)
    reading = asyncio.create_task(name_of(reader, ann))
    await slow.has_read.wait()
    slow.undo()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert isinstance(await ground.coherence.lease(f"user:{ann}", USERS, token="t", lease_ms=1), Held)
    assert await name_of(reader, ann) == "Ann"


async def test_without_an_epoch_rows_are_read_and_not_cached(ground: Ground) -> None:
    ann = await ground.new_user()
    await ground.redis.delete(ground.coherence.state_key)
    async with ground.opened() as reader:
        assert await name_of(reader, ann) == "Ann"
        assert await name_of(reader, ann) == "Ann"
        assert reader.count("freshline_database_reads_total", reason="unready") == 2


async def test_a_new_epoch_makes_everything_a_miss(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await name_of(reader, ann)
    await ground.rename(ann, "Anna")
    await ground.begin_epoch()
    await eventually(lambda: _is(reader, ann, "Anna"), "the epoch's notice arrived")


async def test_a_cache_that_is_not_open_says_so(ground: Ground) -> None:
    async with ground.opened() as reader:
        pass
    with pytest.raises(NotOpenError):
        await reader.cache.get("users", 1)
    with pytest.raises(NotOpenError):
        await reader.cache.invalidate("user:1")


async def test_the_namespace_of_the_notices_is_that_of_the_entries(ground: Ground) -> None:
    assert Coherence(ground.redis, "x").channel == "x:notices"
