"""How the source is: whether changes come at all. Where nothing arrives nobody is behind, so lag can't say.

    Postgres ▸ slot ▸ connector ▸ heartbeats in the log ▸ how old is the newest?

What is not known is None or ``unknown``, never 0 and never well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast, get_args

import msgspec

from infra.connect.client import ConnectorStatus
from infra.postgres.observed import Slot
from infra.settings import Settings
from schemas.envelope import Source

ConnectorState = Literal["running", "failed", "paused", "stopped", "unassigned", "restarting", "absent", "unknown"]
"""In the words of Kafka Connect; absent where it knows no such connector, unknown where it does not answer."""

SlotStatus = Literal["reserved", "extended", "unreserved", "lost", "absent"]
"""In the words of Postgres; absent where it knows no such slot."""

_MS: Final = 1000


class ConnectorNow(msgspec.Struct, frozen=True):
    """A connector.

    Attributes:
        name: as Kafka Connect has it.
        state: its own.
        tasks: the states of its tasks, by their numbers.
        reason: why it failed; empty while it did not.
    """

    name: str
    state: ConnectorState = "unknown"
    tasks: Mapping[int, ConnectorState] = {}
    reason: str = ""

    @property
    def worst(self) -> ConnectorState:
        """Its own state, or that of a task which is not as well."""
        return next((each for each in (self.state, *self.tasks.values()) if each != "running"), self.state)

    @property
    def has_failed(self) -> bool:
        """Whether it or a task gave up."""
        return "failed" in {self.state, *self.tasks.values()}


class SlotNow(msgspec.Struct, frozen=True):
    """A replication slot.

    Attributes:
        name: as Postgres has it.
        active: whether somebody reads it.
        held_wal_bytes: the log that it holds back.
        status: what becomes of that log.
    """

    name: str
    active: bool | None = None
    held_wal_bytes: int | None = None
    status: SlotStatus | None = None


class SourceReport(msgspec.Struct, frozen=True):
    """The source.

    Attributes:
        freshness_s: the time since the database's commit of the newest heartbeat that has arrived.
        connector: None where the settings have no Kafka Connect.
        slot: None where the settings have no Postgres.
    """

    freshness_s: float | None = None
    connector: ConnectorNow | None = None
    slot: SlotNow | None = None

    def is_well(self, late_after_s: float) -> bool:
        """Whether nothing is known that keeps changes from coming.

        Args:
            late_after_s: a heartbeat that is older is late.
        """
        is_late = self.freshness_s is not None and self.freshness_s > late_after_s
        return not is_late and (self.connector is None or not self.connector.has_failed)


class _Beat(msgspec.Struct, frozen=True):
    """The event of a heartbeat, as far as it is looked at."""

    source: Source


def late_after_s(settings: Settings) -> float:
    """From what age on the newest heartbeat is late: the next is due, and late as any other record would be."""
    return settings.connect.heartbeat_interval_ms / _MS + settings.lag.lagging_s


def freshness_s(event: bytes | None, now_ms: float) -> float | None:
    """The time since the commit that this event of a heartbeat is of; None where it does not say.

    Args:
        event: the newest; None where there is none.
        now_ms: in milliseconds since 1970.
    """
    try:
        committed_ms = msgspec.json.decode(event or b"", type=_Beat).source.ts_ms
    except msgspec.MsgspecError:
        return None
    return max(0.0, now_ms - committed_ms) / _MS if committed_ms else None


def connector_now(name: str, status: ConnectorStatus | None) -> ConnectorNow:
    """The connector of this name, as Kafka Connect says that it is."""
    if status is None:
        return ConnectorNow(name, "absent")
    tasks = {task.id: _state(task.state) for task in status.tasks}
    return ConnectorNow(name, _state(status.state), tasks, status.reason)


def slot_now(name: str, slot: Slot | None) -> SlotNow:
    """The slot of this name, as Postgres says that it is."""
    if slot is None:
        return SlotNow(name, active=False, status="absent")
    status = cast("SlotStatus", slot.wal_status) if slot.wal_status in get_args(SlotStatus) else None
    return SlotNow(name, slot.active, slot.retained_bytes, status)


def _state(word: str) -> ConnectorState:
    lower = word.lower()
    return cast("ConnectorState", lower) if lower in get_args(ConnectorState) else "unknown"
