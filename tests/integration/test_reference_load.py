"""The reference application's load on real servers: every kind of change happens, and a read too old is seen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest

from freshline.reference.changes import KINDS, Ground
from freshline.reference.load import OWN_WRITE, Load, Plan
from freshline.reference.population import Population
from freshline.reference.reads import CachedReads
from freshline.reference.values import Values
from infra.postgres.pool import Pool, open_pool
from infra.settings import PostgresSettings
from schemas.token import WriteToken
from tests.integration.reading_ground import Ground as Servers
from tests.integration.reading_ground import Opened, open_ground


@pytest.fixture
async def servers(database: PostgresSettings, empty_valkey: str) -> AsyncIterator[Servers]:
    async with open_ground(database, empty_valkey) as opened:
        yield opened


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    async with open_pool(servers.settings.postgres.connect_arguments(), application="load", max_size=5) as opened:
        yield opened


@pytest.fixture
async def reader(servers: Servers) -> AsyncIterator[Opened]:
    async with servers.opened() as opened:
        await opened.until_l1_serves()
        yield opened


def plan(**changes: object) -> Plan:
    return Plan(**({"users": 20, "changes_per_s": None, "reads_per_s": None, "changes": 400} | changes))  # type: ignore[arg-type]


async def test_every_kind_of_change_and_of_read_happens(servers: Servers, pool: Pool, reader: Opened) -> None:
    weights = {**dict.fromkeys(KINDS, 1.0), "truncate_messages": 0.1, "truncate_documents": 0.1}
    load = Load(plan(weights=weights, changes=1000, largest_document_bytes=20_000), pool, CachedReads(reader.cache))
    counts = await load.run()
    assert counts.rows >= 1000
    assert set(counts.transactions) | set(counts.conflicts) >= {*KINDS, OWN_WRITE} - {
        "truncate_messages",
        "truncate_documents",
    }
    assert counts.reads["user"] > 0
    assert counts.away == 0
    assert counts.violations == []
    assert await servers.database.fetchval("SELECT count(*) FROM users") >= 20


async def test_a_rolled_back_change_leaves_nothing_behind(servers: Servers, pool: Pool) -> None:
    random = Random(1)
    ground = Ground(Population(), random, Values(random, largest_document_bytes=20_000))
    async with pool.acquire() as connection:
        await KINDS["insert_user"](connection, ground)
        before = await servers.database.fetch("SELECT * FROM users")
        changed = await KINDS["rollback"](connection, ground)
    assert changed.rows == 0
    assert await servers.database.fetch("SELECT * FROM users") == before


async def test_a_read_that_is_older_than_its_token_is_a_violation(
    pool: Pool, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: str) -> WriteToken:
        return WriteToken(0, 0)

    monkeypatch.setattr(reader.cache, "invalidate", nothing)
    load = Load(plan(weights={}, own_writes=1, users=1, writers=1, changes=20), pool, CachedReads(reader.cache))
    counts = await load.run()
    assert counts.violations


async def test_it_stops_when_told_to(pool: Pool, reader: Opened) -> None:
    load = Load(plan(changes=None), pool, CachedReads(reader.cache), on_commit=lambda _: load.stop())
    counts = await load.run()
    assert counts.rows > 0
