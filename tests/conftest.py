"""Servers for tests: real ones, started at first use, shared by all workers of a run, gone at its end.

Each run has a folder of its own in `.local/tests`. Postgres is shared by all workers of a run, and what tests share
they keep apart by names: a database, a topic prefix and a namespace for each (`make_settings`). Tests that use the
whole stack are in two groups, about rows and about documents. A group is run in one worker, which has a stack of its
own, one test after the other, so that they may also break it.
"""

import asyncio
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import httpx
import hypothesis
import psutil
import pytest
import redis
import structlog

from infra.local.postgres import PostgresService
from infra.local.qdrant import QdrantService
from infra.local.stack import SERVICES, LocalStack
from infra.local.state import StateFile
from infra.local.valkey import ValkeyService
from infra.settings import LocalSettings, PostgresSettings, Settings

# An example takes as long as the machine lets it.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".local" / "cache"
RUNS = ROOT / ".local" / "tests"
RUN_FOLDER = pytest.StashKey[Path]()
WORKER_RUN_FOLDER = "freshline_run_folder"
# What makes a test one of the whole stack's.
STACK_FIXTURES = {"stack", "make_settings"}
# Words in the names of files whose tests are about documents: half of the time that the whole stack is needed.
DOCUMENTS = {"answers", "coalescing", "passage", "reindex", "semantic"}


class MakeSettings(Protocol):
    """Makes settings of the running stack with names that no other test has: database, topic prefix, namespace."""

    def __call__(self, **changes: Any) -> Settings:
        """The settings, with these changes."""


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A run in the background inherits this, and so would the commands to which tests send a Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = getattr(config, "workerinput", {}).get(WORKER_RUN_FOLDER)
    config.stash[RUN_FOLDER] = RUNS / str(os.getpid()) if folder is None else Path(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput[WORKER_RUN_FOLDER] = str(node.config.stash[RUN_FOLDER])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if STACK_FIXTURES & set(getattr(item, "fixturenames", ())):
            is_of_documents = bool(DOCUMENTS & set(item.path.stem.split("_")))
            item.add_marker(pytest.mark.xdist_group("documents" if is_of_documents else "rows"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """End what an interrupted run left behind: a run's folder is named after its process."""
    if not hasattr(session.config, "workerinput") and RUNS.exists():
        for folder in RUNS.iterdir():
            if not (folder.name.isdigit() and psutil.pid_exists(int(folder.name))):
                _end_run(folder)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Stop all servers once all workers have ended; the logs stay where a test failed."""
    if not hasattr(session.config, "workerinput"):
        _end_run(session.config.stash[RUN_FOLDER], keep_logs=exitstatus not in {0, 5})


def _end_run(run: Path, *, keep_logs: bool = False) -> None:
    if not run.exists():
        return
    for folder in run.iterdir():
        if (folder / "state.json").exists():
            _wait_for(LocalStack(LocalSettings(folder=folder, cache=CACHE)).stop(data=True))
        if not keep_logs:
            shutil.rmtree(folder, ignore_errors=True)
    if not keep_logs:
        shutil.rmtree(run, ignore_errors=True)


def _wait_for(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end in a thread, beside whatever loop the test's own code runs in."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_shell() -> Iterator[None]:
    """Tests see no setting of whoever runs them, nor the stack that may run in the work tree."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("FRESHLINE_"):
                patch.delenv(name)
        patch.setenv("FRESHLINE_LOCAL__FOLDER", str(RUNS / "nothing"))
        patch.setenv("FRESHLINE_LOCAL__CACHE", str(CACHE))
        yield


@pytest.fixture(autouse=True)
def _no_logs_of_an_earlier_test() -> Iterator[None]:
    """A command run inside a test sends all logs to what is captured of it, and that is closed with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def run_folder(pytestconfig: pytest.Config) -> Path:
    """The folder of this run, in which each stack has its own."""
    return pytestconfig.stash[RUN_FOLDER]


@pytest.fixture(scope="session")
def valkey_service(run_folder: Path, worker_id: str) -> ValkeyService:
    """This worker's own Valkey, to be killed and restarted at will. Started; empty after a restart."""
    stack = LocalStack(LocalSettings(folder=run_folder / f"valkey-{worker_id}", cache=CACHE))
    _wait_for(stack.start(["valkey"]))
    return stack.valkey


@pytest.fixture(scope="session")
def valkey(valkey_service: ValkeyService) -> str:
    """The URL of this worker's own Valkey. It holds whatever earlier tests left: see `empty_valkey`."""
    return valkey_service.endpoint


@pytest.fixture
def empty_valkey(valkey: str) -> str:
    """The URL of this worker's own Valkey, emptied, its scripts forgotten."""
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
        client.script_flush()
    return valkey


@pytest.fixture(scope="session")
def qdrant(run_folder: Path, worker_id: str) -> QdrantService:
    """This worker's own Qdrant. Use a namespace of your own in it."""
    stack = LocalStack(LocalSettings(folder=run_folder / f"qdrant-{worker_id}", cache=CACHE))
    _wait_for(stack.start(["qdrant"]))
    return stack.qdrant


def _postgres(run_folder: Path, version: str) -> PostgresService:
    settings = LocalSettings.model_validate(
        {"folder": run_folder / f"postgres-{version}", "cache": CACHE, "postgres_version": version},
    )
    stack = LocalStack(settings)
    _wait_for(stack.start(["postgres"]))
    return stack.postgres


@pytest.fixture(scope="session")
def postgres(run_folder: Path) -> PostgresService:
    """Postgres 18, shared by all workers: make a database of your own (`database`), and do not stop it."""
    return _postgres(run_folder, "18")


@pytest.fixture(scope="session", params=["15", "18"])
def each_postgres(request: pytest.FixtureRequest, run_folder: Path) -> PostgresService:
    """Postgres 15 and then 18, each shared by all workers: for what depends on the version."""
    return _postgres(run_folder, request.param)


@pytest.fixture
def database(postgres: PostgresService) -> Iterator[PostgresSettings]:
    """A database of the test's own on Postgres 18, as its superuser; dropped afterwards."""
    with _own_database(PostgresSettings(**postgres.endpoints())) as settings:
        yield settings


@pytest.fixture
def each_database(each_postgres: PostgresService) -> Iterator[PostgresSettings]:
    """A database of the test's own on Postgres 15 and then on 18; dropped afterwards."""
    with _own_database(PostgresSettings(**each_postgres.endpoints())) as settings:
        yield settings


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, run_folder: Path, worker_id: str) -> LocalStack:
    """This worker's whole stack, running. Use `make_settings` for names of your own in it."""
    grouped = [item for item in request.session.items if item.get_closest_marker("xdist_group")]
    if worker_id != "master" and not all("@" in item.nodeid for item in grouped):
        pytest.fail("tests that restart the servers of the stack would run side by side: pass --dist loadgroup")
    stack = LocalStack(LocalSettings(folder=run_folder / f"stack-{worker_id}", cache=CACHE))
    _wait_for(stack.start(SERVICES))
    return stack


@pytest.fixture
def make_settings(stack: LocalStack) -> Iterator[MakeSettings]:
    """Makes settings of the running stack; their connectors are deleted and their databases dropped after the test."""
    made: list[Settings] = []

    def make(**changes: Any) -> Settings:
        _wait_for(stack.start(SERVICES))  # an earlier test may have broken one of them
        endpoints = StateFile(stack.settings.state_file).read().endpoints
        own = f"t{uuid.uuid4().hex[:12]}"
        _execute(PostgresSettings(**endpoints["postgres"]), f"create database {own}")
        values: dict[str, Any] = {
            **endpoints,
            "postgres": endpoints["postgres"] | _own_names(own),
            "connect": endpoints["connect"] | {"connector": own},
            "namespace": own,
            "topic_prefix": own,
            "local": stack.settings.model_dump(),
        }
        settings = Settings(**(values | changes))
        made.append(settings)
        return settings

    yield make
    for settings in made:
        _wait_for(_delete_connector(settings))
        _drop(settings.postgres)


@contextmanager
def _own_database(server: PostgresSettings) -> Iterator[PostgresSettings]:
    own = f"t{uuid.uuid4().hex[:12]}"
    _execute(server, f"create database {own}")
    settings = server.model_copy(update=_own_names(own))
    try:
        yield settings
    finally:
        _drop(settings)


def _own_names(own: str) -> dict[str, str]:
    """Names of what a server has but once: a database, a slot, and roles."""
    return {"database": own, "slot": own, "debezium_role": f"{own}_debezium", "reader_role": f"{own}_reader"}


def _drop(settings: PostgresSettings) -> None:
    """Drop a database with whatever holds it: its replication slots, then its sessions."""
    name = settings.database

    async def drop() -> None:
        maintenance = settings.model_copy(update={"database": "postgres"})
        connection = await asyncpg.connect(**maintenance.connect_arguments())
        try:
            if not await connection.fetchval("select 1 from pg_database where datname = $1", name):
                return
            # Debezium would come back as often as it is sent away.
            await connection.execute(f"alter database {name} allow_connections false")
            async with asyncio.timeout(30):
                while await connection.fetch(  # noqa: ASYNC110 - nobody is told when a slot is let go
                    "select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1 and active",
                    name,
                ):
                    await asyncio.sleep(0.05)
            await connection.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1", name
            )
            await connection.execute(f"drop database {name} with (force)")
        finally:
            await connection.close()

    _wait_for(drop())


async def _delete_connector(settings: Settings) -> None:
    """Delete a test's connector, if it has one and Connect is there: a test may have broken it."""
    with suppress(httpx.TransportError, TimeoutError):
        async with httpx.AsyncClient(base_url=settings.connect.url, trust_env=False) as client, asyncio.timeout(15):
            path = f"/connectors/{settings.connect.connector}"
            # While it shares out connectors it refuses.
            while (await client.delete(path)).status_code not in {204, 404}:  # noqa: ASYNC110 - it has no events
                await asyncio.sleep(0.2)


def _execute(server: PostgresSettings, *statements: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(**server.connect_arguments())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    _wait_for(execute())
