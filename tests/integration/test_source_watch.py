"""The source, watched for real: a connector that brings nothing shows no lag, and yet is seen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from freshline.cli.main import main
from freshline.lag.metrics import LagMetrics
from freshline.lag.watching import open_lag_watching
from freshline.source.connector import apply_connector, wanted_configuration
from freshline.source.database import prepare_database
from freshline.source.topics import apply_topics
from infra.connect.client import open_connect
from infra.connect.configuration import heartbeat_topic
from infra.kafka.observer import open_observer
from infra.local.stack import LocalStack
from infra.postgres.migrate import migrate
from infra.progress import Progress
from infra.settings import ConnectSettings, PostgresSettings, Settings
from schemas.voiceassist import VOICEASSIST
from tests.conftest import MakeSettings
from tests.integration.lag_ground import History, open_hands
from tests.integration.worker_ground import SIZES, WRITE_THROUGH, eventually

BEAT_S = 0.2
# A heartbeat that is older than this was the last for a while, also on a machine that has much else to do.
STALE_S = 20 * BEAT_S
WAL_BYTES = 10_000_000


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    made = make_settings(topics=SIZES)
    return made.model_copy(
        update={
            "connect": made.connect.model_copy(update={"heartbeat_interval_ms": round(BEAT_S * 1000)}),
            "lag": made.lag.model_copy(update={"every_s": 0.1, "lagging_s": STALE_S}),
        }
    )


async def follow(settings: Settings) -> None:
    await migrate(settings.postgres.connect_arguments())
    await prepare_database(settings.postgres, VOICEASSIST)
    await apply_topics(settings, VOICEASSIST)
    await apply_connector(settings, VOICEASSIST)


class Watcher:
    """What a running watcher exports."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = CollectorRegistry()

    def value(self, name: str, **labels: str) -> float | None:
        """Of one series; None where there is none."""
        return self.registry.get_sample_value(name, labels)

    @property
    def freshness_s(self) -> float | None:
        """How old the newest heartbeat is."""
        return self.value("freshline_source_freshness_seconds")

    @property
    def is_fresh(self) -> bool:
        """Whether a heartbeat came lately."""
        return self.freshness_s is not None and self.freshness_s < STALE_S

    def states(self, task: str = "") -> set[str]:
        """The states that a connector or a task is said to be in."""
        samples = [sample for metric in self.registry.collect() for sample in metric.samples]
        return {
            sample.labels["state"]
            for sample in samples
            if sample.name == "freshline_connector_state" and sample.labels["task"] == task and sample.value == 1
        }

    @property
    def held_bytes(self) -> float | None:
        """The log that the slot holds back."""
        return self.value("freshline_slot_held_wal_bytes", slot=self.settings.postgres.slot)

    @property
    def is_active(self) -> float | None:
        """Whether somebody reads the slot."""
        return self.value("freshline_slot_active", slot=self.settings.postgres.slot)

    @property
    def lag_messages(self) -> float | None:
        """Of the group of write-through."""
        return self.value("freshline_group_lag_messages", group=self.settings.group(WRITE_THROUGH))

    @property
    def rounds(self) -> float:
        """Those that found an answer."""
        return self.value("freshline_lag_rounds_total", outcome="done") or 0.0


@asynccontextmanager
async def watching(settings: Settings) -> AsyncIterator[Watcher]:
    watcher = Watcher(settings)
    async with open_lag_watching(settings, VOICEASSIST, LagMetrics(watcher.registry), Progress()) as lag:
        running = asyncio.create_task(lag.run())
        try:
            yield watcher
        finally:
            lag.stop()
            # It ends by itself, whatever is away.
            await asyncio.wait_for(running, 30)


async def seen(what: str, holds: Callable[[], bool]) -> None:
    """Wait until the watcher says so."""

    async def is_so() -> bool:
        return holds()

    await eventually(is_so, what)


async def asked(settings: Settings, statement: str, *arguments: object) -> Any:
    """The only value that a statement gives."""
    connection = await asyncpg.connect(**settings.postgres.connect_arguments())
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


async def test_a_connector_that_is_stopped_shows_no_lag_and_is_seen_all_the_same(settings: Settings) -> None:
    await follow(settings)
    async with watching(settings) as watcher, open_connect(settings.connect.url) as connect:
        await seen("heartbeats come", lambda: watcher.is_fresh)
        await seen("the connector and its task run", lambda: watcher.states() == watcher.states("0") == {"running"})
        rounds = watcher.rounds
        await seen("many rounds, all of them fresh", lambda: _still(watcher.is_fresh) and watcher.rounds > rounds + 20)
        assert watcher.is_active == 1
        assert watcher.held_bytes is not None
        assert watcher.value("freshline_slot_status", slot=settings.postgres.slot, status="reserved") == 1

        await connect.stop(settings.connect.connector)
        await seen("it is said to be stopped", lambda: watcher.states() == {"stopped"})
        await seen("nobody reads the slot", lambda: watcher.is_active == 0)
        held_bytes = watcher.held_bytes
        await asked(settings, "INSERT INTO users (email, name, password_hash) VALUES ('unseen', '', '')")
        await asked(settings, "SELECT pg_logical_emit_message(false, 'test', repeat('x', $1::int))", WAL_BYTES)
        await seen("the slot holds log back", lambda: (watcher.held_bytes or 0) >= held_bytes + WAL_BYTES)
        await seen("the newest heartbeat grows old", lambda: (watcher.freshness_s or 0) > STALE_S)
        assert watcher.lag_messages == 0

        await connect.resume(settings.connect.connector)
        await seen("heartbeats come again", lambda: watcher.is_fresh)
        await seen("the change came", lambda: watcher.lag_messages == 1)
        await seen("log is let go", lambda: (watcher.held_bytes or 0) < held_bytes + WAL_BYTES)


async def test_a_server_that_is_away_is_unknown_and_hides_no_other(settings: Settings, stack: LocalStack) -> None:
    await follow(settings)
    nowhere = settings.postgres.model_copy(update={"port": 1})
    without_postgres = settings.model_copy(update={"postgres": nowhere})
    async with watching(settings) as watcher, watching(without_postgres) as blind:
        await seen("the connector runs", lambda: watcher.states() == blind.states() == {"running"})
        await seen("heartbeats come", lambda: watcher.is_fresh and blind.is_fresh)
        assert watcher.is_active == 1
        assert blind.is_active is None
        assert blind.held_bytes is None

        await stack.connect.kill()
        try:
            await seen("the connector is unknown", lambda: watcher.states() == {"unknown"})
            assert watcher.states("0") == set()
            await seen("nobody reads the slot", lambda: watcher.is_active == 0)
            await seen("the newest heartbeat grows old", lambda: (watcher.freshness_s or 0) > STALE_S)
            rounds = watcher.rounds
            await seen("rounds go on", lambda: watcher.rounds > rounds + 5)
            assert watcher.lag_messages == 0
        finally:
            await stack.connect.start()
        await seen("the connector runs again", lambda: watcher.states() == {"running"})
        await seen("heartbeats come again", lambda: watcher.is_fresh)


async def test_what_postgres_keeps_to_itself_is_not_fresh_though_everything_runs(settings: Settings) -> None:
    await follow(settings)
    async with watching(settings) as watcher, open_observer(settings.kafka.client_arguments()) as observer:
        await seen("heartbeats come", lambda: watcher.is_fresh)
        sender = await asked(
            settings, "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1", settings.postgres.slot
        )
        os.kill(sender, signal.SIGSTOP)
        try:
            await seen("the newest heartbeat grows old", lambda: (watcher.freshness_s or 0) > STALE_S)
            assert watcher.states() == watcher.states("0") == {"running"}
            assert watcher.is_active == 1
            # Debezium itself takes no notice.
            own = json.loads(await observer.newest(heartbeat_topic(settings.topic_prefix)) or b"")
            assert time.time() - own["ts_ms"] / 1000 < STALE_S
        finally:
            os.kill(sender, signal.SIGCONT)
        await seen("heartbeats come again", lambda: watcher.is_fresh)


async def test_who_has_kafka_alone_is_told_nothing_of_a_source(settings: Settings) -> None:
    alone = settings.model_copy(update={"connect": ConnectSettings(), "postgres": PostgresSettings()})
    async with watching(alone) as watcher:
        await seen("rounds are made", lambda: watcher.rounds > 2)
        named = {s.name for metric in watcher.registry.collect() for s in metric.samples}
        assert not {name for name in named if "source" in name or "connector" in name or "slot" in name}


async def test_the_newest_record_is_found_behind_what_can_not_be_read(settings: Settings) -> None:
    async with open_hands(settings) as hands:
        history = History(hands)
        assert await hands.observer.newest(history.topic) is None
        await history.make(1)
        assert await hands.observer.newest(history.topic) is None
        await history.send(0, 2, size=3)
        assert await hands.observer.newest(history.topic) == b"xxx"
        # A transaction takes as many offsets as it has records, and one for its marker, which comes a little later.
        await history.transact(0, 5, "abort")
        await ends_at(history, 8)
        assert await hands.observer.newest(history.topic) == b"xxx"
        await history.transact(0, 1, "commit")
        await ends_at(history, 10)
        assert await hands.observer.newest(history.topic) == b"x"
        await history.retain(0, 10)
        assert await hands.observer.newest(history.topic) is None


async def ends_at(history: History, offset: int) -> None:
    async def is_so() -> bool:
        return (await history.bounds(0))[1] == offset

    await eventually(is_so, f"the partition ends at {offset}")


async def test_the_command_says_how_the_source_is_and_fails_with_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await follow(settings)
    for name, value in environment(settings).items():
        monkeypatch.setenv(f"FRESHLINE_{name}", value)

    async def ended(*arguments: str) -> int:
        return await asyncio.to_thread(main, ["lag", *arguments])

    assert await ended() == 0
    assert "source: connector running, newest heartbeat" in capsys.readouterr().out
    missing = {**wanted_configuration(settings, VOICEASSIST), "publication.name": "missing"}
    async with open_connect(settings.connect.url) as connect:
        await connect.put(settings.connect.connector, missing)

        async def has_failed() -> bool:
            status = await connect.status(settings.connect.connector)
            return status is not None and status.failed

        await eventually(has_failed, "the connector fails")
    assert await ended("--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert {group["status"] for group in found["groups"]} == {"ok"}
    assert found["source"]["connector"]["tasks"] == {"0": "failed"}
    assert await ended() == 1
    printed = capsys.readouterr().out
    assert "source: connector failed" in printed
    assert "mend that" in printed


def environment(settings: Settings) -> dict[str, str]:
    """What a command is told of these settings."""
    return {
        "NAMESPACE": settings.namespace,
        "TOPIC_PREFIX": settings.topic_prefix,
        "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "CONNECT__URL": settings.connect.url,
        "CONNECT__CONNECTOR": settings.connect.connector,
        "POSTGRES__DSN": settings.postgres.url(),
        "POSTGRES__SLOT": settings.postgres.slot,
    }


def _still(holds: bool) -> bool:
    assert holds
    return holds
