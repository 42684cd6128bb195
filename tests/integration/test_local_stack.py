"""The local stack starts, is found again by others, survives kills, and ends without a trace."""

import asyncio
import json
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio as redis

from infra.configuration import load_settings
from infra.local.postgres import PostgresService
from infra.local.processes import ServiceFailedError, marked
from infra.local.stack import LocalStack, UnknownServiceError
from infra.local.valkey import ValkeyService
from infra.settings import LocalSettings, PostgresSettings
from tests.conftest import CACHE, MakeSettings


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    """Settings of a stack of the test's own."""
    return LocalSettings(folder=tmp_path / "local", cache=CACHE)


async def test_a_killed_valkey_comes_back_empty_on_the_same_port(settings: LocalSettings) -> None:
    async with LocalStack(settings).running(["valkey"]) as stack:
        before = stack.valkey.endpoint
        async with redis.Redis.from_url(before) as client:
            await client.set("key", "value")
        await stack.valkey.kill()
        assert not await stack.valkey.healthy()
        await stack.valkey.start()
        assert stack.valkey.endpoint == before
        async with redis.Redis.from_url(before) as client:
            assert await client.get("key") is None


async def test_valkey_evicts_only_what_has_a_time_to_live(valkey_service: ValkeyService) -> None:
    async with redis.Redis.from_url(valkey_service.endpoint) as client:
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "volatile-lru"


async def test_a_second_start_finds_what_runs_and_changes_nothing(settings: LocalSettings) -> None:
    async with LocalStack(settings).running(["valkey"]) as stack:
        again = LocalStack(settings)
        await asyncio.gather(again.start(["valkey"]), LocalStack(settings).start(["valkey"]))
        assert again.valkey.pid == stack.valkey.pid
        assert len(marked(stack.folder)) == 1


async def test_stop_ends_also_what_no_state_file_remembers(settings: LocalSettings) -> None:
    stack = LocalStack(settings)
    await stack.start(["valkey"])
    process = psutil.Process(stack.valkey.pid)
    settings.state_file.write_text('{"services": {"valkey": {"ports"')
    await stack.stop()
    assert not process.is_running()


async def test_a_start_after_a_lost_state_ends_the_forgotten_process_first(settings: LocalSettings) -> None:
    stack = LocalStack(settings)
    await stack.start(["valkey"])
    process = psutil.Process(stack.valkey.pid)
    settings.state_file.unlink()
    async with stack.running(["valkey"]):
        assert not process.is_running()
        assert len(marked(stack.folder)) == 1


async def test_a_process_id_that_belongs_to_another_by_now_is_not_taken_for_ours(settings: LocalSettings) -> None:
    stack = LocalStack(settings)
    await stack.start(["valkey"])
    await stack.stop()
    state = json.loads(settings.state_file.read_text())
    other = psutil.Process()
    state["services"]["valkey"]["process"] = {"pid": other.pid, "started_at_s": other.create_time()}
    settings.state_file.write_text(json.dumps(state))
    assert stack.valkey.pid is None
    await stack.stop()
    assert other.is_running()


async def test_a_server_that_does_not_come_up_shows_the_end_of_its_log(settings: LocalSettings) -> None:
    stack = LocalStack(settings.model_copy(update={"valkey_max_memory": "plenty"}))
    with pytest.raises(ServiceFailedError, match=r"(?s)valkey ended while it started.*valkey\.log.*maxmemory"):
        await stack.start(["valkey"])


async def test_an_unknown_service_is_named(settings: LocalSettings) -> None:
    with pytest.raises(UnknownServiceError, match="mongo"):
        await LocalStack(settings).start(["mongo"])


async def test_data_of_postgres_survive_a_kill_and_a_restart(settings: LocalSettings) -> None:
    async with LocalStack(settings).running(["postgres"]) as stack:
        server = PostgresSettings(**stack.postgres.endpoints())
        connection = await asyncpg.connect(**server.connect_arguments())
        await connection.execute("create table kept (id int); insert into kept values (1)")
        await stack.postgres.kill()
        connection.terminate()
        await stack.postgres.start()
        connection = await asyncpg.connect(**server.connect_arguments())
        assert await connection.fetchval("select count(*) from kept") == 1
        await connection.close()
        await stack.postgres.restart()
        connection = await asyncpg.connect(**server.connect_arguments())
        assert await connection.fetchval("select count(*) from kept") == 1
        await connection.close()


async def test_postgres_decodes_logically_and_answers_by_tcp_and_by_socket(each_postgres: PostgresService) -> None:
    by_socket = PostgresSettings(**each_postgres.endpoints())
    for server in (by_socket, by_socket.model_copy(update={"socket_folder": None})):
        connection = await asyncpg.connect(**server.connect_arguments())
        assert await connection.fetchval("show wal_level") == "logical"
        assert await connection.fetchval("show fsync") == "on"
        assert str(connection.get_server_version().major) == each_postgres.version
        await connection.close()


async def test_extra_settings_reach_postgres(settings: LocalSettings) -> None:
    changed = settings.model_copy(update={"postgres_options": {"log_min_duration_statement": "77", "work_mem": "9MB"}})
    async with LocalStack(changed).running(["postgres"]) as stack:
        server = PostgresSettings(**stack.postgres.endpoints())
        connection = await asyncpg.connect(**server.connect_arguments())
        assert await connection.fetchval("show work_mem") == "9MB"
        await connection.close()


async def test_settings_are_taken_from_the_stack_that_runs(
    settings: LocalSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FRESHLINE_LOCAL__FOLDER", str(settings.folder))
    async with LocalStack(settings).running(["valkey"]) as stack:
        assert load_settings().redis.url == stack.valkey.endpoint
        monkeypatch.setenv("FRESHLINE_KAFKA__BOOTSTRAP_SERVERS", "elsewhere:9092")
        assert load_settings().redis.url == ""
        monkeypatch.delenv("FRESHLINE_KAFKA__BOOTSTRAP_SERVERS")
        await stack.stop()
        assert load_settings().redis.url == ""


async def test_the_whole_stack_runs_and_a_killed_broker_comes_back(
    stack: LocalStack,
    make_settings: MakeSettings,
) -> None:
    own = make_settings()
    assert own.postgres.database == own.namespace == own.topic_prefix
    assert {status.state for status in await stack.status()} == {"running"}
    broker = stack.kafka.endpoint
    await stack.kafka.kill()
    assert not await stack.kafka.healthy()
    await stack.kafka.start()
    assert stack.kafka.endpoint == broker
    await stack.connect.start()
