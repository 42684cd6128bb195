"""What is to be done about a connector, from how things are: pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from infra.connect.client import FAILED, RUNNING, STOPPED, ConnectorStatus
from infra.postgres.observed import Slot

LOST = "lost"
# A connector in another state was stopped or paused by someone, or was not shared out yet.
RUNS = frozenset({RUNNING, FAILED, "UNASSIGNED", "RESTARTING"})


class Action(Enum):
    """One thing to do, as it is told."""

    FORGET = "forget the slot's generation: the log that the copies were made from can't be continued"
    CREATE = "create the connector, stopped"
    RESET_OFFSETS = "stop the connector and delete its offsets: they point into a log that is gone"
    DROP_SLOT = "drop the slot, which does not continue where the connector stopped"
    CONFIGURE = "configure the connector"
    RESUME = "let the connector run"
    RESTART = "restart what failed of the connector"
    RECORD = "wait until Debezium streams and older transactions are over, then record the slot's generation"


class Situation(msgspec.Struct, frozen=True):
    """Connector, offsets, slot and generation as they are now."""

    config: Mapping[str, str] | None
    status: ConnectorStatus | None
    offsets: tuple[Mapping[str, Any], ...]
    slot: Slot | None
    recorded: bool

    @property
    def past_snapshot(self) -> bool:
        """Whether Debezium has committed a position in the stream: from there on no restart can leave a hole."""
        return any("snapshot" not in offset or offset.get("snapshot_completed") is True for offset in self.offsets)

    @property
    def stopped(self) -> bool:
        """Whether the connector is stopped, and its task gone."""
        return self.status is not None and self.status.state == STOPPED and not self.status.tasks

    @property
    def in_snapshot(self) -> bool:
        """Whether Debezium has begun and not finished its first snapshot."""
        return bool(self.offsets) and not self.past_snapshot

    @property
    def streaming(self) -> bool:
        """Whether changes arrive, and would after a crash at any time."""
        return (
            self.status is not None
            and self.status.running
            and self.slot is not None
            and self.slot.active
            and self.past_snapshot
        )

    @property
    def broken(self) -> bool:
        """Whether the log that the copies or the offsets belong to can't be continued."""
        if self.slot is None:
            return self.recorded or bool(self.offsets)
        if self.slot.wal_status == LOST:
            return True
        if not self.offsets:
            # A slot without the offsets of its connector: Debezium would go on from the log's end.
            return self.config is not None and self.recorded
        # A slot that begins after the place that the connector goes on from was made anew.
        reached = max(int(offset.get("lsn_proc", offset.get("lsn", 0))) for offset in self.offsets)
        return self.slot.restart_lsn is not None and self.slot.restart_lsn > reached

    @property
    def leftover_slot(self) -> bool:
        """Whether the slot is of a beginning that was given up: Debezium should make its own."""
        return self.slot is not None and self.stopped and not self.offsets


def decide(situation: Situation, *, drifted: bool) -> tuple[Action, ...]:
    """All that seems to be needed, in order. The first is sure; after it one has to look again."""
    actions: list[Action] = []
    broken = situation.broken
    if broken and situation.recorded:
        actions.append(Action.FORGET)
    if situation.config is None:
        actions.append(Action.CREATE)
    if broken and situation.offsets:
        actions.append(Action.RESET_OFFSETS)
    if situation.slot is not None and (broken or situation.leftover_slot):
        actions.append(Action.DROP_SLOT)
    if drifted:
        actions.append(Action.CONFIGURE)
    state = None if situation.status is None else situation.status.state
    if state not in RUNS or Action.RESET_OFFSETS in actions or Action.DROP_SLOT in actions:
        actions.append(Action.RESUME)
    elif situation.status is not None and situation.status.failed:
        actions.append(Action.RESTART)
    if broken or not situation.recorded:
        actions.append(Action.RECORD)
    return tuple(actions)
