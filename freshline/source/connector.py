"""The connector's side: Debezium registered, kept as it should be, and taken away without a trace.

The order of `apply`, each step only where it is needed; a crash anywhere leaves a state that the next run mends:

    forget the generation ─▶ create or stop the connector ─▶ delete its offsets, drop the slot        (a new beginning)
    configure ─▶ resume or restart ─▶ wait until it streams ─▶ wait for older transactions ─▶ record the generation

Debezium makes the slot itself, since only then is its snapshot of the rows exactly where the stream begins: given a
slot that exists, it starts from the log's end at that moment and skips what was committed between. It does so also when
it is restarted in the middle of its first snapshot, hence a generation only once it streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from freshline.source.situation import RUNS, Action, Situation, decide
from infra.connect.client import ConnectClient, ConnectorStatus, open_connect
from infra.connect.configuration import CONNECTOR_CLASS, ConnectorTuning, DatabaseAddress, connector_configuration
from infra.connect.drift import Difference, differences
from infra.postgres.names import SCHEMA
from infra.postgres.observed import Slot
from infra.postgres.pool import Connection, open_connection
from infra.postgres.slot import SlotRecord
from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.errors import FreshlineError, SettingsError

STREAMING_TIMEOUT_S = 180.0
_CHECK_EVERY_S = 0.1


class ConnectorFailedError(FreshlineError):
    """The connector gave up, or did not stream in time."""


class Applied(msgspec.Struct, frozen=True):
    """What `apply` did (or, in a dry run, would do): nothing where both are empty."""

    actions: tuple[Action, ...]
    drift: tuple[Difference, ...]


class ConnectorReport(msgspec.Struct, frozen=True):
    """How the connector and its slot are: None for what does not exist."""

    status: ConnectorStatus | None
    drift: tuple[Difference, ...]
    slot: Slot | None
    generation: str | None


def wanted_configuration(settings: Settings, catalog: Catalog) -> dict[str, str]:
    """The configuration that the connector should have."""
    postgres, connect = settings.postgres, settings.connect
    role = postgres.debezium_role
    host = connect.database_host or postgres.host
    if not host:
        raise SettingsError(
            "Kafka Connect reaches Postgres by TCP and no host is set: FRESHLINE_POSTGRES__HOST, or "
            "FRESHLINE_CONNECT__DATABASE_HOST where it has another name there."
        )
    root = connect.database_ssl_root_cert or postgres.ssl_root_cert
    address = DatabaseAddress(
        host=host,
        port=connect.database_port or postgres.port,
        database=postgres.database,
        user=role,
        password=connect.password_reference or postgres.role_passwords().get(role),
        sslmode=postgres.sslmode,
        ssl_root_cert=None if root is None else str(root),
    )
    tuning = ConnectorTuning(
        poll_interval_ms=connect.poll_interval_ms,
        heartbeat_interval_ms=connect.heartbeat_interval_ms,
        largest_record_bytes=settings.topics.largest_record_bytes,
    )
    return connector_configuration(
        catalog,
        address,
        topic_prefix=settings.topic_prefix,
        publication=postgres.publication,
        slot=postgres.slot,
        tuning=tuning,
        overrides=connect.overrides,
    )


async def apply_connector(
    settings: Settings,
    catalog: Catalog,
    *,
    dry_run: bool = False,
    timeout_s: float = STREAMING_TIMEOUT_S,
    done: Callable[[Action], None] = lambda _: None,
) -> Applied:
    """Register the connector or mend what drifted, and return once its changes arrive from a known beginning.

    Args:
        settings: where everything is, and what the connector is to be.
        catalog: the tables that are followed.
        dry_run: only say what would be done.
        timeout_s: how long to wait for Debezium to stream, and again for older transactions to end, in seconds.
        done: called for each action when it is in effect.

    Raises:
        ConnectorFailedError: Debezium gave up or did not stream in time.
        TransactionsRunningError: transactions from before go on for too long.
        SlotBusyError: someone else reads the slot.
        SettingsError: the database is not prepared, or a setting is missing.
        StoreUnavailableError: Postgres or Kafka Connect does not answer.
    """
    wanted = wanted_configuration(settings, catalog)
    async with _open(settings) as work:
        await work.require_prepared()
        before = await work.look()
        drift = () if before.config is None else differences(before.config, wanted)
        if dry_run:
            return Applied(decide(before, drifted=bool(drift)), drift)
        actions: list[Action] = []
        # What an absent connector would go on from is seen only once it is there, so look again after each action.
        while pending := decide(await work.look(), drifted=bool(await work.drift(wanted))):
            action = pending[0]
            if actions.count(action) > 1:
                raise ConnectorFailedError(f"'{action.value}' has no effect: {await work.complaint()}")
            await work.act(action, wanted, timeout_s)
            actions.append(action)
            done(action)
        await work.wait_for(lambda situation: situation.streaming, timeout_s)
        return Applied(tuple(actions), drift)


async def connector_report(settings: Settings, catalog: Catalog) -> ConnectorReport:
    """How the connector is: its state and its task's, how it drifted, and how much log its slot holds back."""
    wanted = wanted_configuration(settings, catalog)
    async with _open(settings) as work:
        recorded = await work.slot.recorded() if await work.has_schema() else None
        return ConnectorReport(
            status=await work.connect.status(work.name),
            drift=await work.drift(wanted),
            slot=await work.slot.find(),
            generation=None if recorded is None else str(recorded.generation),
        )


async def remove_connector(
    settings: Settings, *, dry_run: bool = False, timeout_s: float = 60.0, done: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Delete the connector, its offsets and its slot, so that nothing of ours holds log back; say what was there.

    Raises:
        SlotBusyError: someone else still reads the slot.
        StoreUnavailableError: Postgres or Kafka Connect does not answer.
    """
    async with _open(settings) as work:
        found = []
        prepared = await work.has_schema()
        if prepared and await work.slot.recorded() is not None:
            found.append("forgot the slot's generation")
            if not dry_run:
                await work.slot.forget()
                done(found[-1])
        if await work.connect.config(work.name) is not None:
            found.append(f"deleted connector {work.name!r} and its offsets")
            if not dry_run:
                await work.reset_offsets(timeout_s)
                await work.connect.delete(work.name)
                done(found[-1])
        if await work.slot.find() is not None:
            found.append(f"dropped slot {settings.postgres.slot!r}")
            if not dry_run:
                await work.slot.drop(timeout_s)
                done(found[-1])
        return found


class _Work:
    """The two servers that a connector lives between."""

    def __init__(self, settings: Settings, connect: ConnectClient, connection: Connection) -> None:
        self.name = settings.connect.connector
        self.connect = connect
        self.slot = SlotRecord(connection, settings.postgres.slot)
        self._settings = settings
        self._connection = connection

    async def has_schema(self) -> bool:
        return bool(await self._connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.slot"))

    async def require_prepared(self) -> None:
        publication = self._settings.postgres.publication
        known = await self._connection.fetchval("SELECT 1 FROM pg_publication WHERE pubname = $1", publication)
        if not known or not await self.has_schema():
            raise SettingsError(
                f"Database {self._settings.postgres.database!r} is not prepared: run `freshline db prepare` first."
            )
        if CONNECTOR_CLASS not in await self.connect.plugins():
            raise SettingsError(
                f"Kafka Connect at {self._settings.connect.url} has no {CONNECTOR_CLASS}: install Debezium's Postgres "
                "connector on its workers."
            )
        slot = await self.slot.find()
        if slot is not None and (slot.plugin, slot.database) != ("pgoutput", self._settings.postgres.database):
            raise SettingsError(
                f"Slot {slot.name!r} is another's: it decodes database {slot.database!r} by {slot.plugin!r}. "
                "Set FRESHLINE_POSTGRES__SLOT to a name of your own."
            )

    async def look(self) -> Situation:
        config = await self.connect.config(self.name)
        status = None if config is None else await self.connect.status(self.name)
        return Situation(
            config=config,
            status=status,
            offsets=tuple(await self.connect.offsets(self.name)) if config is not None else (),
            slot=await self.slot.find(),
            recorded=await self.slot.recorded() is not None,
        )

    async def drift(self, wanted: dict[str, str]) -> tuple[Difference, ...]:
        config = await self.connect.config(self.name)
        return () if config is None else differences(config, wanted)

    async def act(self, action: Action, wanted: dict[str, str], timeout_s: float) -> None:
        match action:
            case Action.FORGET:
                await self.slot.forget()
            case Action.CREATE:
                await self.connect.create_stopped(self.name, wanted)
            case Action.RESET_OFFSETS:
                await self.reset_offsets(timeout_s)
            case Action.DROP_SLOT:
                await self.connect.stop(self.name)
                await self.slot.drop(timeout_s)
            case Action.CONFIGURE:
                await self.connect.put(self.name, wanted)
            case Action.RESUME:
                await self.connect.resume(self.name)
                await self.wait_for(lambda s: s.status is not None and s.status.state in RUNS, timeout_s)
            case Action.RESTART:
                await self.connect.restart(self.name)
                await self.wait_for(lambda s: s.streaming, timeout_s)
            case Action.RECORD:
                await self.wait_for(lambda s: s.streaming, timeout_s)
                await self.slot.record(timeout_s)

    async def reset_offsets(self, timeout_s: float) -> None:
        await self.connect.stop(self.name)
        await self.wait_for(lambda s: s.stopped, timeout_s, tolerate_failure=True)
        await self.connect.delete_offsets(self.name)

    async def complaint(self) -> str:
        situation = await self.look()
        if situation.status is None:
            return "there is no such connector"
        if situation.in_snapshot and not situation.status.failed:
            return "it is still in its first snapshot of the tables, which goes on"
        return situation.status.reason or f"its state is {situation.status.state}"

    async def wait_for(
        self, condition: Callable[[Situation], bool], timeout_s: float, *, tolerate_failure: bool = False
    ) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                # Connect's REST interface has no event to wait for.
                while not await self._holds(condition, tolerate_failure=tolerate_failure):  # noqa: ASYNC110
                    await asyncio.sleep(_CHECK_EVERY_S)
        except TimeoutError as error:
            raise ConnectorFailedError(
                f"Connector {self.name!r} is not where it should be after {timeout_s:g} s: {await self.complaint()}. "
                "See the log of Kafka Connect, then run `freshline connector apply` again."
            ) from error

    async def _holds(self, condition: Callable[[Situation], bool], *, tolerate_failure: bool) -> bool:
        situation = await self.look()
        if condition(situation):
            return True
        if situation.status is not None and situation.status.failed and not tolerate_failure:
            raise ConnectorFailedError(
                f"Connector {self.name!r} failed: {situation.status.reason}. Mend that, then run "
                "`freshline connector apply` again."
            )
        return False


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[_Work]:
    settings.require(["postgres", "connect"])
    arguments: dict[str, Any] = settings.postgres.connect_arguments()
    async with (
        open_connection(arguments, application="freshline connector") as connection,
        open_connect(settings.connect.url) as connect,
    ):
        yield _Work(settings, connect, connection)
