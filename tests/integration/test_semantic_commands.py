"""`freshline semantic` from the command line: what is printed, for people and for programs, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from freshline.cli.main import EXIT_ERROR, main
from freshline.roles import Roles
from freshline.source.connector import apply_connector
from freshline.source.database import prepare_database
from freshline.source.topics import apply_topics
from infra.local.qdrant import QdrantService
from infra.postgres.migrate import migrate
from infra.postgres.pool import open_connection
from infra.qdrant.client import open_qdrant
from infra.qdrant.generations import Generations
from infra.qdrant.passages import DocumentName, PassageStore
from infra.redis.index_state import IndexState, Rebuild, Walk
from infra.settings import DEFAULT_MODEL, PostgresSettings, QdrantSettings, Settings
from schemas.voiceassist import VOICEASSIST
from tests.conftest import MakeSettings
from tests.integration.index_ground import NOTES, IndexGround, note, open_index_ground
from tests.integration.worker_ground import eventually


class Ended(NamedTuple):
    """What became of a command."""

    code: int
    out: str
    err: str


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    """The settings as a command gets them."""
    values = {
        "FRESHLINE_NAMESPACE": settings.namespace,
        "FRESHLINE_CATALOG": settings.catalog,
        "FRESHLINE_TOPIC_PREFIX": settings.topic_prefix,
        "FRESHLINE_POSTGRES__DSN": settings.postgres.url(),
        "FRESHLINE_POSTGRES__SLOT": settings.postgres.slot,
        "FRESHLINE_REDIS__URL": settings.redis.url,
        "FRESHLINE_QDRANT__URL": settings.qdrant.url,
    }
    return values | changes


class Commands:
    """Runs commands in this process, in a thread, with settings of their own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(self, *arguments: str) -> Ended:
        """Run one to its end."""
        self._capsys.readouterr()
        code = await asyncio.to_thread(main, ["semantic", *arguments])
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        return Ended(code, out, err)


@pytest.fixture
async def ground(
    database: PostgresSettings, empty_valkey: str, qdrant: QdrantService, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[IndexGround]:
    monkeypatch.setenv("COLUMNS", "200")
    async with open_index_ground(database, empty_valkey, QdrantSettings(**qdrant.endpoints())) as opened:
        for name, value in environment(opened.settings).items():
            monkeypatch.setenv(name, value)
        yield opened


@pytest.fixture
def semantic(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


@pytest.fixture
def state(ground: IndexGround) -> IndexState:
    return IndexState(ground.redis, ground.settings.namespace)


async def test_search_prints_passages_the_best_first(ground: IndexGround, semantic: Commands) -> None:
    await ground.make()
    await ground.note(1, "The cat sleeps on the [bold]roof[/bold].", title="Animals")
    await ground.note(2, "Invoices are due in thirty days.")
    await ground.manual("cats", "How to keep a cat.")
    shown = await semantic("search", "a cat upon a roof", "--tenant", "1", "--limit", "2")
    assert shown.code == 0
    first, text, *_ = shown.out.splitlines()
    assert first.startswith("public.notes 1  body 1  0.")
    assert text.strip() == "The cat sleeps on the [bold]roof[/bold]."
    assert "Invoices" not in shown.out
    found = json.loads((await semantic("search", "cats", "--table", "manuals", "--json")).out)
    assert [each["document"]["key"] for each in found] == ["cats"]
    nothing = await semantic("search", "cats", "--tenant", "77", "--table", "notes")
    assert (nothing.code, nothing.out) == (0, "Nothing was found.\n")


async def test_what_can_not_be_searched_is_a_message(ground: IndexGround, semantic: Commands) -> None:
    for arguments, message in (
        (["search", "x", "--tenant", "1"], "freshline run semantic-refresh"),
        (["search", "x"], "owner"),
        (["search", "x", "--tenant", "y"], "owner"),
        (["search", "x", "--table", "drawings"], "drawings"),
        (["verify", "--live"], "freshline run semantic-refresh"),
        (["reindex", "--no-wait"], "freshline run semantic-refresh"),
        (["reindex", "--pause"], "No rebuild"),
        (["reindex", "--resume", "--cancel"], "Choose one"),
    ):
        ended = await semantic(*arguments)
        assert (ended.code, ended.out) == (EXIT_ERROR, "")
        assert message in ended.err
    assert ground.settings.namespace


# The client's constructor leaves the file of its lock open where it fails.
@pytest.mark.filterwarnings("ignore:.*lock:pytest.PytestUnraisableExceptionWarning", "ignore:unclosed file")
async def test_stores_that_are_away_and_folders_in_use_are_messages(
    ground: IndexGround, semantic: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ground.settings.qdrant.url
    monkeypatch.setenv("FRESHLINE_QDRANT__URL", "http://127.0.0.1:1")
    for command in (["search", "x", "--tenant", "1"], ["status"], ["verify", "--live"], ["reindex"]):
        ended = await semantic(*command)
        assert ended.code == EXIT_ERROR
        assert "Qdrant does not answer" in ended.err
    monkeypatch.delenv("FRESHLINE_QDRANT__URL")
    monkeypatch.setenv("FRESHLINE_QDRANT__FOLDER", str(tmp_path / "qdrant"))
    async with open_qdrant(QdrantSettings(folder=tmp_path / "qdrant")):
        for command in (["search", "x", "--tenant", "1"], ["status"], ["verify", "--live"], ["reindex"]):
            ended = await semantic(*command)
            assert ended.code == EXIT_ERROR
            assert "Another process has Qdrant's folder" in ended.err
    assert (await semantic("status")).out == "There is no index yet. `freshline run semantic-refresh` makes it.\n"
    gc.collect()  # here, where the warnings about that file are ignored


async def test_status_shows_each_generation_and_what_becomes_of_it(
    ground: IndexGround, semantic: Commands, state: IndexState
) -> None:
    searched = await ground.make()
    await ground.note(1, "One passage.", title="And its title.")
    built = await ground.make(number=1, active=False)
    old = await ground.make(number=2, active=False)
    await state.retire(old.name, 0)
    await state.change_walk(f"{searched.name}/public.notes", None, Walk("e", None, 1, 1, is_done=True))
    await state.change_walk(f"{built.name}/public.notes", None, Walk("e", None, 3, 10))
    rebuild = Rebuild(built.name, DEFAULT_MODEL, 0)
    await state.change_rebuild(None, rebuild)
    table = {line.split()[0]: line for line in (await semantic("status")).out.splitlines()}
    assert table[searched.name].split()[1:6] == ["searched", DEFAULT_MODEL, "384", "1", "2"]
    assert "whole" in table[searched.name]
    assert "building" in table[built.name]
    assert "3 of 10" in table[built.name]
    assert "retired for" in table[old.name]
    found = json.loads((await semantic("status", "--json")).out)
    assert found["generations"][0]["state"] == "searched"
    assert found["rebuild"]["generation"] == built.name
    assert (await semantic("reindex", "--pause")).out == f"Paused: {built.name}.\n"
    assert "paused" in (await semantic("status")).out
    assert (await semantic("reindex", "--cancel")).out.startswith(f"Called off: {built.name}.")
    assert await state.rebuild() is None
    failed = Rebuild(f"{ground.generations.alias}.x", "m", 0, failure="no [such] model")
    await state.change_rebuild(None, failed)
    assert "failed: no [such] model" in (await semantic("status")).out


async def test_verify_says_what_is_wrong_and_exits_with_1(ground: IndexGround, semantic: Commands) -> None:
    await ground.make()
    beside = await ground.make(number=1, active=False)
    await ground.put_note(1, "A text about rivers.")
    await ground.put_note(2, "A text about hills.")
    await ground.follow(NOTES, 1, 2)
    right = await semantic("verify", "--live", "--vectors")
    assert right.code == 0
    assert right.out.startswith("2 documents compared, 0 wrong (2 passages")
    store = await ground.store()
    await ground.client.set_payload(store.generation.name, {"text": "Secret."}, points=[note(2).point(0)], wait=True)
    wrong = await semantic("verify", "--live")
    assert wrong.code == 1
    assert "1 outdated text" in wrong.out
    assert "public.notes 2 passage 0" in wrong.out
    assert "Secret" not in wrong.out
    report = json.loads((await semantic("verify", "--live", "--json")).out)
    assert (report["documents"], report["wrong"]) == (2, {"outdated text": 1})
    assert (await semantic("verify", "--live", "--generation", beside.name)).code == 0


async def test_reindex_asks_for_a_generation_that_does_not_exist_and_for_no_model_that_does_not(
    ground: IndexGround, semantic: Commands, state: IndexState
) -> None:
    first = await ground.make()
    missing = await semantic("reindex", "--model", "/no/such/model")
    assert missing.code == EXIT_ERROR
    assert "There is no model in /no/such/model" in missing.err
    assert await state.rebuild() is None
    asked = await semantic("reindex", "--no-wait")
    rebuild = await state.rebuild()
    assert rebuild is not None
    assert (asked.code, asked.out) == (0, f"Asked for: {rebuild.generation}, with {DEFAULT_MODEL}.\n")
    assert rebuild.generation != first.name
    assert "waits for a worker" in (await semantic("status")).out
    assert "under way already" in (await semantic("reindex")).err


async def test_reindex_waits_until_the_alias_moves_or_says_why_it_does_not(
    ground: IndexGround, semantic: Commands, state: IndexState
) -> None:
    await ground.make()

    async def is_asked_for() -> Rebuild | None:
        return await state.rebuild()

    waiting = asyncio.create_task(semantic("reindex"))
    rebuild = await eventually(is_asked_for, "the rebuild is asked for")
    new = await ground.make(number=1)
    assert new.name == rebuild.generation
    assert (await waiting).out == f"Searched from now on: {new.name}, made with {DEFAULT_MODEL}.\n"
    await state.change_rebuild(rebuild, None)

    waiting = asyncio.create_task(semantic("reindex"))
    rebuild = await eventually(is_asked_for, "the rebuild is asked for")
    await state.change_rebuild(rebuild, None)
    ended = await waiting
    assert (ended.code, ended.out) == (EXIT_ERROR, "")
    assert "called off" in ended.err


def started(*arguments: str, env: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "freshline", *arguments],
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_whoever_is_tired_of_waiting_may_leave_and_the_rebuild_goes_on(
    ground: IndexGround, state: IndexState
) -> None:
    await ground.make()
    process = started("semantic", "reindex", env=environment(ground.settings))

    async def is_asked_for() -> Rebuild | None:
        return await state.rebuild()

    try:
        rebuild = await eventually(is_asked_for, "the rebuild is asked for", timeout_s=200)
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(process.communicate, timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "goes on without us" in err
    assert "Traceback" not in err
    assert await state.rebuild() == rebuild


def test_without_the_packages_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['qdrant_client'] = None; from freshline.cli.main import main; "
        "sys.exit(main(['semantic', 'status']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == EXIT_ERROR
    assert "freshline[semantic]" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
async def test_on_a_whole_stack_edits_are_waited_for_and_what_is_broken_is_found(
    make_settings: MakeSettings, semantic: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(stream={"quiet_ms": 300, "unrest_ms": 2000})
    servers = {
        "FRESHLINE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "FRESHLINE_CONNECT__URL": settings.connect.url,
    }
    for name, value in environment(settings, **servers).items():
        monkeypatch.setenv(name, value)
    await migrate(settings.postgres.connect_arguments())
    await prepare_database(settings.postgres, VOICEASSIST)
    await apply_topics(settings, VOICEASSIST)
    await apply_connector(settings, VOICEASSIST)
    roles = Roles(["coalescing", "semantic-refresh"], settings, VOICEASSIST, CollectorRegistry())
    working = asyncio.create_task(roles.run())
    try:
        async with open_connection(settings.postgres.connect_arguments(), application="test") as connection:

            async def is_ready() -> bool:
                if working.done():
                    working.result()
                return all(progress.is_ready for progress in roles.progress.values())

            await eventually(is_ready, "the workers are ready", timeout_s=200)
            await connection.execute("INSERT INTO users (id, email, name, password_hash) VALUES (1, 'a', 'a', 'a')")
            for number in range(20):
                await connection.execute(
                    "INSERT INTO documents (id, uploaded_by, title, content) VALUES ($1, 1, $2, $3)",
                    number,
                    f"Title {number}",
                    f"A text about matter {number}.",
                )
            right = await semantic("verify", "--vectors", "--json")
            assert right.code == 0, right
            report: dict[str, Any] = json.loads(right.out)
            assert (report["documents"], report["passages"], report["wrong_documents"]) == (20, 40, 0)
            found = await semantic("search", "matter 7", "--tenant", "1", "--limit", "1", "--json")
            assert json.loads(found.out)[0]["document"]["key"] == "7"
    finally:
        roles.stop()
        await working
    # Nobody is there who would put it right.
    async with open_qdrant(settings.qdrant) as client:
        generations = Generations(client, settings.namespace, settings.qdrant)
        (generation,) = await generations.all()
        store = PassageStore(client, generation)
        point = DocumentName("public.documents", "7").point(1)
        await store._client.set_payload(generation.name, {"tenant": "2"}, points=[point], wait=True)
    wrong = await semantic("verify")
    assert wrong.code == 1, wrong
    assert "1 outdated text" in wrong.out
