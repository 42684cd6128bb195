"""Whatever is wrong with a copy is found, and what nobody would be served is not called wrong. On real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from freshline.reference.queries import CONVERSATIONS_OF_USER, DERIVATIONS
from freshline.verification.report import Report
from freshline.verification.verify import open_verification
from infra.settings import PostgresSettings
from schemas.entry import pack, unpack
from tests.integration.reading_ground import Ground, Opened, open_ground


@pytest.fixture
async def ground(database: PostgresSettings, empty_valkey: str) -> AsyncIterator[Ground]:
    async with open_ground(database, empty_valkey) as opened:
        yield opened


@pytest.fixture
async def reader(ground: Ground) -> AsyncIterator[Opened]:
    async with ground.opened() as opened:
        await opened.until_l1_serves()
        yield opened


async def verify(ground: Ground, reader: Opened | None = None, *, live: bool = False) -> Report:
    memories = {} if reader is None else {"reader": reader.cache.l1}
    async with open_verification(
        ground.settings, ground.catalog, derivations=DERIVATIONS, memories=memories, live=live
    ) as verification:
        return await verification.run()


async def conversations(reader: Opened, user: int) -> None:
    await reader.cache.query(
        CONVERSATIONS_OF_USER.key(user), lambda connection: CONVERSATIONS_OF_USER.run(connection, user)
    )


async def overwrite(ground: Ground, key: str, body: bytes) -> None:
    """Replace the body of an entry, its header left alone."""
    name = ground.coherence.entry_key(key)
    entry = await ground.redis.get(name)
    assert isinstance(entry, bytes)
    unpacked = unpack(entry)
    assert unpacked is not None
    await ground.redis.set(name, pack(unpacked[0], body), keepttl=True)


async def test_copies_that_are_right_are_all_compared(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user("Ann \N{FOX FACE}")
    await reader.cache.get("users", ann)
    await reader.cache.get("users", 1 << 60)
    await conversations(reader, ann)
    report = await verify(ground, reader)
    assert report.wrong == 0
    assert (report.rows.compared, report.queries.compared, report.memories.compared) == (2, 1, 3)


async def test_an_overwritten_entry_is_found_with_its_key_and_without_its_values(
    ground: Ground, reader: Opened
) -> None:
    ann = await ground.new_user()
    await reader.cache.get("users", ann)
    await overwrite(ground, f"user:{ann}", b'{"name":"secret"}')
    report = await verify(ground)
    assert report.rows.wrong == 1
    (found,) = report.examples
    assert (found.place, found.key) == ("redis", f"user:{ann}")
    assert "secret" not in repr(report)


async def test_a_change_whose_event_was_lost_is_found_in_every_place(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await reader.cache.get("users", ann)
    await ground.rename(ann, "Anna")
    report = await verify(ground, reader)
    assert (report.rows.wrong, report.memories.wrong) == (1, 1)
    assert {found.place for found in report.examples} == {"redis", "memory reader"}


async def test_a_row_that_came_to_be_behind_its_tombstone_is_found(ground: Ground, reader: Opened) -> None:
    await reader.cache.get("users", 4711)
    await ground.database.execute(
        "INSERT INTO users (id, email, name, password_hash) VALUES (4711, 'a@example.org', 'Ann', 'x')"
    )
    report = await verify(ground)
    assert report.rows.wrong == 1
    assert "no such row" in report.examples[0].reason


async def test_a_row_that_is_gone_is_found(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await reader.cache.get("users", ann)
    await ground.database.execute("DELETE FROM users WHERE id = $1", ann)
    assert (await verify(ground)).examples[0].reason == "there is no such row"


async def test_a_stale_query_is_found(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await conversations(reader, ann)
    await ground.database.execute("INSERT INTO conversations (user_id, title) VALUES ($1, 'new')", ann)
    report = await verify(ground)
    assert report.queries.wrong == 1
    assert report.examples[0].key == f"user:{ann}:conversations"


async def test_a_query_that_nobody_can_run_again_is_unknown(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()

    async def one(_: object) -> int:
        return 1

    await reader.cache.query(f"user:{ann}:one", one)
    report = await verify(ground, reader)
    assert (report.queries.unknown, report.memories.unknown, report.wrong) == (1, 1, 0)


async def test_what_is_served_to_nobody_is_not_wrong(ground: Ground, reader: Opened) -> None:
    ann, bob, cid = [await ground.new_user(name) for name in ("Ann", "Bob", "Cid")]
    for user in (ann, bob, cid):
        await reader.cache.get("users", user)
    await conversations(reader, ann)
    await ground.rename(ann, "Anna")
    await reader.cache.invalidate(f"user:{ann}", f"user:{ann}:*")
    await ground.redis.set(ground.coherence.entry_key("user:999999"), b"\x00\x01\x00")
    report = await verify(ground)
    assert report.wrong == 0
    assert report.rows.compared == 2
    assert report.rows.unserved == {"placeholder": 1, "other layout": 1}
    assert report.queries.unserved == {"invalidated": 1}


async def test_after_a_new_epoch_nothing_is_served(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await reader.cache.get("users", ann)
    await ground.rename(ann, "Anna")
    await ground.begin_epoch()
    report = await verify(ground)
    assert (report.compared, report.rows.unserved) == (0, {"earlier epoch": 1})


async def test_under_traffic_a_copy_that_is_only_late_is_not_wrong(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await reader.cache.get("users", ann)
    place = await ground.rename(ann, "Anna")
    verifying = asyncio.create_task(verify(ground, live=True))
    await asyncio.sleep(0.5)
    await ground.apply_user(ann, place)
    report = await verifying
    assert (report.rows.compared, report.wrong) == (1, 0)


async def test_under_traffic_a_copy_that_stays_wrong_is_found(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await reader.cache.get("users", ann)
    await ground.rename(ann, "Anna")
    assert (await verify(ground, live=True)).rows.wrong == 1
