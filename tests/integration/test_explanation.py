"""Why a key holds what it holds, told for every state that it can be in. On real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from freshline.explanation import Explanation, as_plain, open_explainer
from freshline.reference.queries import CONVERSATIONS_OF_USER, DERIVATIONS
from infra.redis import effects
from infra.settings import PostgresSettings
from tests.integration.reading_ground import Ground, Opened, open_ground


@pytest.fixture
async def ground(database: PostgresSettings, empty_valkey: str) -> AsyncIterator[Ground]:
    async with open_ground(database, empty_valkey) as opened:
        yield opened


@pytest.fixture
async def reader(ground: Ground) -> AsyncIterator[Opened]:
    async with ground.opened() as opened:
        yield opened


async def explain(ground: Ground, key: str, *, values: bool = False) -> Explanation:
    async with open_explainer(ground.settings, ground.catalog) as explainer:
        return await explainer.explain(key, DERIVATIONS, values=values)


async def test_a_key_with_nothing_under_it_waits_for_a_reader(ground: Ground) -> None:
    found = await explain(ground, "user:1")
    assert (found.table, found.holds, found.served) == ("public.users", "nothing", False)
    assert "next reader" in found.why_not


async def test_an_entry_names_the_reader_or_the_event_that_wrote_it(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await reader.cache.get("users", ann)
    found = await explain(ground, f"user:{ann}")
    assert (found.served, found.equals_database) == (True, True)
    assert "filled by a reader" in found.since
    assert found.ttl_s is not None
    assert 0 < found.ttl_s <= 300

    await ground.apply_user(ann, await ground.rename(ann, "Anna"))
    found = await explain(ground, f"user:{ann}")
    assert "written by the event" in found.since
    assert (found.served, found.equals_database) == (True, True)


async def test_a_copy_that_is_behind_is_told(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await reader.cache.get("users", ann)
    await ground.rename(ann, "Anna")
    found = await explain(ground, f"user:{ann}")
    assert (found.served, found.equals_database) == (True, False)


async def test_no_value_is_told_unless_it_is_asked_for(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user("Secret")
    await reader.cache.get("users", ann)
    found = await explain(ground, f"user:{ann}")
    assert "Secret" not in repr(found)
    assert b"Secret" not in msgspec.json.encode(as_plain(found))
    found = await explain(ground, f"user:{ann}", values=True)
    assert found.body == found.database_body
    assert b"Secret" in msgspec.json.encode(as_plain(found))


async def test_a_remembered_absence_is_told(ground: Ground, reader: Opened) -> None:
    await reader.cache.get("users", 4711)
    found = await explain(ground, "user:4711")
    assert "no such row" in found.holds
    assert (found.served, found.equals_database) == (True, True)


async def test_a_writers_invalidation_leaves_a_floor(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await reader.cache.invalidate(f"user:{ann}")
    found = await explain(ground, f"user:{ann}")
    assert not found.served
    assert "forbids older events" in found.why_not


async def test_the_tag_that_failed_is_named(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    key = CONVERSATIONS_OF_USER.key(ann)
    await reader.cache.query(key, lambda connection: CONVERSATIONS_OF_USER.run(connection, ann))
    found = await explain(ground, key)
    assert (found.served, found.equals_database) == (True, True)
    assert [tag.tag for tag in found.tags] == [f"user:{ann}", "user:*"]
    await ground.apply(effects.drop_tag(f"user:{ann}"))
    found = await explain(ground, key)
    assert not found.served
    assert f"user:{ann} has changed" in found.why_not


async def test_a_truncated_table_and_an_earlier_epoch_are_told(ground: Ground, reader: Opened) -> None:
    ann = await ground.new_user()
    await reader.cache.get("users", ann)
    lsn, _ = await ground.change("SELECT 1")
    await ground.apply(effects.table_changed("public.users", lsn))
    assert "TRUNCATE" in (await explain(ground, f"user:{ann}")).why_not
    await ground.begin_epoch()
    assert "epoch" in (await explain(ground, f"user:{ann}")).why_not
