"""Connections to Redis that are made anew while commands are under way: no command notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from infra.redis.client import open_client, renew_connections
from infra.redis.round_trip import round_trip
from infra.settings import RedisSettings
from tests.integration.reading_ground import eventually

CALLERS = 8


@pytest.fixture
async def client(empty_valkey: str) -> AsyncIterator[Redis]:
    arguments = RedisSettings(url=empty_valkey).client_arguments()
    async with open_client(arguments, timeout_s=20, connections=CALLERS) as opened:
        yield opened


async def number_of_connection(client: Redis) -> int:
    (number,) = await round_trip(client, [("CLIENT", "ID")])
    assert isinstance(number, int)
    return number


async def numbers_of_connections(client: Redis) -> set[int]:
    return set(await asyncio.gather(*(number_of_connection(client) for _ in range(CALLERS))))


async def test_every_command_that_comes_after_it_has_a_new_connection(client: Redis) -> None:
    before = await numbers_of_connections(client)
    assert len(before) == CALLERS
    await renew_connections(client)
    assert not before & await numbers_of_connections(client)


async def test_a_command_under_way_gets_its_reply_and_leaves_its_connection_to_nobody(client: Redis) -> None:
    numbered = asyncio.create_task(round_trip(client, [("CLIENT", "ID"), ("BLPOP", "key", 0)]))

    async def is_under_way() -> bool:
        return any("blpop" in str(each["cmd"]) for each in await client.client_list())

    await eventually(is_under_way, "a command waits for its reply")
    await renew_connections(client)
    await client.rpush("key", "value")
    number, popped = await numbered
    assert popped == [b"key", b"value"]
    assert number not in await numbers_of_connections(client)


async def test_commands_go_on_while_connections_are_made_anew_again_and_again(client: Redis) -> None:
    is_over = asyncio.Event()

    async def call() -> set[int]:
        numbers = set()
        while not is_over.is_set():
            numbers.add(await number_of_connection(client))
        return numbers

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(call()) for _ in range(2 * CALLERS)]
        for _ in range(200):
            await renew_connections(client)
            await asyncio.sleep(0)
        is_over.set()
    assert len(set().union(*(caller.result() for caller in callers))) > 100
